"""GGUF header parser: enough to tell a model from a broken file, and to plan its memory.

The format: github.com/ggml-org/ggml, docs/gguf.md. Everything is little-endian; a header of typed key-value pairs
comes before the tensors.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from chatfeedback.errors import SettingsError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}  # type number -> struct format
_STRING, _ARRAY = 8, 9
_HALF_FLOAT_BYTES = 2


@dataclass(frozen=True, slots=True)
class Header:
    """Header of a model.

    Attributes:
        context_tokens: The context window that the model was trained with.
        cache_bytes_per_token: The size of llama.cpp's KV cache for each token of a window, as 16-bit floats; 0 for a
            model without one.
    """

    context_tokens: int
    cache_bytes_per_token: int


def read_header(path: Path) -> Header:
    """Read the header of a GGUF file. Raises SettingsError if it cannot be read or is no language model."""
    try:
        with path.open("rb") as file:
            return _header(_Reader(file).values())
    except OSError as error:
        raise SettingsError(f"The weights {path} cannot be read: {error.strerror}.") from error
    except (ValueError, TypeError, struct.error, RecursionError, MemoryError) as error:
        raise SettingsError(f"The weights {path} are not a language model in GGUF format, or damaged.") from error


def _header(values: dict[str, Any]) -> Header:
    architecture = values["general.architecture"]

    def number(key: str) -> int:
        value = values.get(f"{architecture}.{key}", 0)
        return max(value, default=0) if isinstance(value, list) else int(value)  # a list has one for each block

    heads = number("attention.head_count") or 1
    head_size = number("embedding_length") // heads
    size = (number("attention.key_length") or head_size) + (number("attention.value_length") or head_size)
    kv_heads = number("attention.head_count_kv") or heads
    header = Header(number("context_length"), number("block_count") * kv_heads * size * _HALF_FLOAT_BYTES)
    if header.context_tokens <= 0:
        raise ValueError("no window")
    return header


class _Reader:
    """Reader of the key-value pairs of an open file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size

    def values(self) -> dict[str, Any]:
        """Return all pairs but the vocabulary, which is large and comes last."""
        if self._read(4) != _MAGIC or self._number("I") not in _VERSIONS:
            raise ValueError("no GGUF file of a known version")
        self._number("Q")  # tensors
        values: dict[str, Any] = {"general.architecture": None}
        for _ in range(self._number("Q")):
            key = self._string()
            if key.startswith("tokenizer."):
                break
            values[key] = self._value(self._number("I"))
        return values

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            kind, count = self._number("I"), self._number("Q")
            self._check_size(count)
            return [self._value(kind) for _ in range(count)]
        if kind not in _SCALARS:
            raise ValueError(f"unknown type {kind}")
        return self._number(_SCALARS[kind])

    def _number(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self._read(struct.calcsize(f"<{code}")))[0]

    def _string(self) -> str:
        return self._read(self._number("Q")).decode("utf-8", "replace")

    def _read(self, count: int) -> bytes:
        self._check_size(count)
        return self._file.read(count)

    def _check_size(self, count: int) -> None:
        """Check that the rest of the file has `count` bytes: a damaged count must not allocate all memory."""
        if count > self._size - self._file.tell():
            raise ValueError("the file ends too early")
