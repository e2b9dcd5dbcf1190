"""The header of a GGUF file: enough of it to tell a model from a broken file, and to plan its memory.

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
_SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}  # type number -> format of struct
_STRING, _ARRAY = 8, 9
_HALF_FLOAT_BYTES = 2


@dataclass(frozen=True, slots=True)
class Header:
    """What the header says. `context_tokens`: the window that the model was trained with.

    `cache_bytes_per_token`: what llama.cpp keeps in memory for each token of a window, as 16-bit floats; 0 where the
    model keeps nothing of the kind.
    """

    context_tokens: int
    cache_bytes_per_token: int


def read_header(path: Path) -> Header:
    """Raises SettingsError when `path` cannot be read or is not a language model in GGUF format."""
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
    """Reads the key-value pairs from an open file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size

    def values(self) -> dict[str, Any]:
        """All pairs but the vocabulary, which is large and comes last."""
        if self._take(4) != _MAGIC or self._number("I") not in _VERSIONS:
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
            self._check(count)
            return [self._value(kind) for _ in range(count)]
        if kind not in _SCALARS:
            raise ValueError(f"unknown type {kind}")
        return self._number(_SCALARS[kind])

    def _number(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self._take(struct.calcsize(f"<{code}")))[0]

    def _string(self) -> str:
        return self._take(self._number("Q")).decode("utf-8", "replace")

    def _take(self, count: int) -> bytes:
        self._check(count)
        return self._file.read(count)

    def _check(self, count: int) -> None:
        """Nothing has more bytes, or elements, than the file: damage must not ask for all memory."""
        if count > self._size - self._file.tell():
            raise ValueError("the file ends too early")
