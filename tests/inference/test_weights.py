"""Weights of the local model: their sources, and one sentence for each fault."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from chatfeedback.errors import SettingsError
from chatfeedback.inference.client import Sampling
from chatfeedback.inference.local import process
from chatfeedback.inference.local.process import LocalModel, find_weights
from inference.client_calls import asking, reply_from


def damaged(weights: Path, kind: str) -> bytes:
    with weights.open("rb") as file:
        start = file.read(2_000_000)
    return {
        "empty": b"",
        "some text": b"This is not a model.\n" * 100,
        "only the magic": b"GGUF",
        "of a version to come": start[:4] + b"\x63\0\0\0" + start[8:],
        "with a count out of bounds": start[:16] + b"\xff" * 8 + start[24:],
        "with an empty header": start[:16] + b"\0" * 8,
        "with garbled keys": start[:24] + bytes(reversed(start[24:4096])) + start[4096:],
        "cut off": start,
    }[kind]


# kind -> detected by us in the header, or by llama.cpp when it loads the file
DAMAGES = {
    "empty": "GGUF format",
    "some text": "GGUF format",
    "only the magic": "GGUF format",
    "of a version to come": "GGUF format",
    "with an empty header": "GGUF format",
    "with garbled keys": "GGUF format",
    "with a count out of bounds": "could not be loaded",
    "cut off": "could not be loaded",
}


@pytest.mark.process
@pytest.mark.parametrize(("kind", "message"), DAMAGES.items())
def test_local_model_reports_damaged_weights_in_one_sentence(tmp_path: Path, kind: str, message: str) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(damaged(find_weights(), kind))
    with pytest.raises(SettingsError, match=message) as caught:
        LocalModel.start(path)

    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["nowhere.gguf", "."])
def test_local_model_reports_unreadable_weights(tmp_path: Path, path: str) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        LocalModel.start(tmp_path / path)


@pytest.mark.process
async def test_local_model_is_named_after_own_file(tmp_path: Path) -> None:
    path = tmp_path / "my-model.Q4.gguf"
    path.symlink_to(find_weights())
    model = LocalModel.start(path, context_tokens=256, threads=1)
    try:
        assert model.endpoint.model == "my-model.Q4"
        assert (await reply_from(model.endpoint, asking(sampling=Sampling(0.0, 1.0, 8))))[0]
    finally:
        model.stop()


class FakeHub(BaseHTTPRequestHandler):
    """As much of the Hub as a download of one file needs."""

    content = b"GGUF weights"

    def do_HEAD(self) -> None:
        self._serve(body=False)

    def do_GET(self) -> None:
        self._serve(body=True)

    def log_message(self, *arguments: object) -> None:
        """Log nothing."""

    def _serve(self, *, body: bool) -> None:
        expected = f"/{process.HUB_REPOSITORY}/resolve/{process.HUB_REVISION}/{process.HUB_FILE}"
        content = self.content if self.path == expected else b""
        self.send_response(200 if content else 404)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"0123456789abcdef0123456789abcdef01234567"')
        self.send_header("X-Repo-Commit", process.HUB_REVISION)
        self.end_headers()
        if body:
            self.wfile.write(content)


@contextlib.contextmanager
def running_hub(content: bytes) -> Iterator[str]:
    """Run a Hub whose file has this content, or that has no such file, and yield its address."""
    handler = type("Hub", (FakeHub,), {"content": content})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{hub.server_port}"
        hub.shutdown()
        thread.join()


DOWNLOAD = """
import importlib.metadata as metadata
def files(name):
    raise metadata.PackageNotFoundError(name)
metadata.files = files  # as where the package is not installed
from chatfeedback.errors import SettingsError
from chatfeedback.inference.local.process import find_weights
try:
    print(find_weights().read_text())
except SettingsError as error:
    print("SettingsError:", error)
"""


def downloaded(hub: str, home: Path, **environment: str) -> str:
    """Return the content of the weights from `hub`, or the error, of a program without the package."""
    settings = {"HF_ENDPOINT": hub, "HF_HOME": str(home), "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "*"}
    ran = subprocess.run(
        [sys.executable, "-c", DOWNLOAD],
        env={**os.environ, **settings, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.mark.process
def test_find_weights_downloads_from_hub_once_without_package(tmp_path: Path) -> None:
    with running_hub(b"GGUF weights") as hub:
        first = downloaded(hub, tmp_path)
    again = downloaded(hub, tmp_path, HF_HUB_OFFLINE="1")

    assert (first, again) == ("GGUF weights", "GGUF weights")


@pytest.mark.process
def test_find_weights_explains_missing_weights_in_one_sentence(tmp_path: Path) -> None:
    with running_hub(b"") as hub:
        missing = downloaded(hub, tmp_path)
        offline = downloaded(hub, tmp_path, HF_HUB_OFFLINE="1")

    for message in (missing, offline):
        assert message.startswith("SettingsError:") and "\n" not in message
        assert process.WEIGHTS_PACKAGE in message
