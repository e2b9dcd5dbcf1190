"""The real local model: it answers, it stops, and nothing that is wrong with its file takes the program down."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from chatfeedback.errors import ContextExceeded, KeyRefused, SettingsError
from chatfeedback.inference import local
from chatfeedback.inference.client import ChatMessage, Delta, Endpoint, Finish, ModelClient, ReplyRequest, Sampling
from chatfeedback.inference.local import LocalModel, find_weights
from chatfeedback.inference.window import estimate_tokens

SAMPLING = Sampling(temperature=0.0, top_p=1.0, max_tokens=24)

PROSE = {
    "English": "The harbour was rebuilt before the winter, though nobody could say where the money had come from.",
    "short words": "I am as I am, so do as you do, or let it be if it is to be so.",
    "German": "Wegen der schlechten Straßenverhältnisse mussten wir über die Überlandstrecke zurückfahren.",
    "Finnish": "Kokous siirrettiin kevääseen, koska sääolosuhteet olivat huonot eikä kukaan päässyt paikalle.",
    "Welsh": "Penderfynodd y pwyllgor ohirio'r cyfarfod tan y gwanwyn oherwydd y tywydd garw.",
    "Swahili": "Tulirudi nyumbani kabla ya giza kuingia kwa sababu barabara haikuwa na taa za kutosha.",
    "Vietnamese": "Chúng tôi quyết định đi bộ đến trường vào buổi sáng sớm vì trời mát.",
    "Russian": "Мы вернулись домой до темноты, потому что дорога была плохо освещена.",
    "Greek": "Η συνεδρίαση αναβλήθηκε για την άνοιξη λόγω κακοκαιρίας.",
    "Armenian": "Հանձնաժողովը որոշեց հետաձգել նիստը մինչև գարուն։",
    "Arabic": "تأجل الاجتماع حتى الربيع القادم بسبب سوء الأحوال الجوية.",
    "Hebrew": "הפגישה נדחתה עד האביב בגלל מזג האוויר.",
    "Hindi": "बैठक को वसंत तक टाल दिया गया क्योंकि मौसम बहुत ख़राब था।",
    "Thai": "การประชุมถูกเลื่อนออกไปจนถึงฤดูใบไม้ผลิเพราะอากาศไม่ดี",
    "Burmese": "ရာသီဥတုဆိုးသောကြောင့် အစည်းအဝေးကို နွေဦးအထိ ရွှေ့ဆိုင်းခဲ့သည်။",
    "Amharic": "ስብሰባው በአየሩ ጠባይ ምክንያት እስከ ጸደይ ተላለፈ።",
    "Chinese": "因为天气太糟糕了，会议被推迟到春天再开。",
    "Japanese": "天候が悪かったため、会議は春まで延期されました。",
    "Korean": "날씨가 나빠서 회의는 봄까지 연기되었습니다.",
    "emoji": "😀🎉👩‍👩‍👧‍👦🏳️‍🌈🇩🇪👍🏽🔥💯",
    "JavaScript": "for (let i = 0; i < rows.length; i++) {\n    if (!seen.has(rows[i].id)) out.push({...rows[i], n: 1});\n}\n",
    "Python": "def mean(xs: list[float]) -> float:\n    return sum(xs) / len(xs) if xs else 0.0\n",
    "JSON": '{"users": [{"id": 17, "name": "Ann", "tags": ["a", "b"]}, {"id": 18, "name": null}]}',
    "LaTeX": r"\frac{-b \pm \sqrt{b^2 - 4ac}}{2a} = \sum_{k=0}^{\infty} \frac{x^k}{k!}",
    "table": "| name | score |\n|---|---|\n| alpha | 0.25 |\n| beta | 0.75 |\n",
}


@pytest.fixture(scope="module")
def model() -> Iterator[LocalModel]:
    started = LocalModel.start()
    yield started
    started.stop()


def asking(text: str, sampling: Sampling = SAMPLING) -> ReplyRequest:
    return ReplyRequest((ChatMessage("user", text),), sampling, seed=5)


async def reply(endpoint: Endpoint, request: ReplyRequest) -> tuple[str, Finish]:
    client = ModelClient(endpoint)
    *deltas, finish = [piece async for piece in client.stream(request)]
    await client.aclose()
    assert isinstance(finish, Finish)
    return "".join(piece.text for piece in deltas if isinstance(piece, Delta)), finish


def posted(model: LocalModel, path: str, body: dict[str, object]) -> dict[str, list[int]]:
    """What llama.cpp's own API answers."""
    assert model.endpoint.base_url
    request = urllib.request.Request(
        model.endpoint.base_url.removesuffix("/v1") + path,
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {model.endpoint.api_key}", "Content-Type": "application/json"},
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=60) as response:
        answer: dict[str, list[int]] = json.load(response)
        return answer


# The default model


async def test_the_default_model_answers_in_a_stream(model: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    text, finish = await reply(model.endpoint, asking("What is the capital of France?"))

    assert "Paris" in text
    assert finish.finish_reason in ("stop", "length")
    assert finish.prompt_tokens and finish.completion_tokens


async def test_another_seed_gives_another_reply(model: LocalModel) -> None:
    lively = Sampling(temperature=1.2, top_p=1.0, max_tokens=40)
    request = ReplyRequest((ChatMessage("user", "Invent a name for a ship, and its story."),), lively, seed=0)
    replies = {(await reply(model.endpoint, ReplyRequest(request.messages, lively, seed=seed)))[0] for seed in range(4)}

    assert len(replies) > 1


def test_it_is_called_what_it_is_and_one_chat_has_the_whole_window_it_was_trained_with(model: LocalModel) -> None:
    assert model.endpoint.model == "SmolLM2-135M-Instruct"
    assert model.context_tokens == 8192


async def test_a_conversation_that_fills_the_window_is_answered_and_a_longer_one_is_refused() -> None:
    small = LocalModel.start(context_tokens=256)
    try:
        assert small.context_tokens == 256
        _, finish = await reply(small.endpoint, asking("word " * 180))
        with pytest.raises(ContextExceeded):
            await reply(small.endpoint, asking("word " * 300))
    finally:
        small.stop()

    assert finish.prompt_tokens and finish.prompt_tokens > 180


async def test_it_listens_on_this_machine_only_and_to_nobody_without_its_key(model: LocalModel) -> None:
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", model.endpoint.base_url or "")
    with pytest.raises(KeyRefused):
        await reply(Endpoint(model.endpoint.model, base_url=model.endpoint.base_url), asking("Hello?"))


async def test_a_reply_that_nobody_reads_any_more_makes_room_for_the_next(model: LocalModel) -> None:
    long = Sampling(temperature=1.0, top_p=1.0, max_tokens=8000)
    client = ModelClient(model.endpoint)
    streams = [client.stream(asking(f"Count to {number}.", long)) for number in range(100, 112)]
    for stream in streams[:4]:  # as many as are answered at once
        await anext(stream)
        await stream.aclose()
    text, _ = await reply(model.endpoint, asking("What is the capital of France?"))
    await client.aclose()

    assert "Paris" in text


@pytest.mark.parametrize("language", PROSE)
def test_no_text_has_more_tokens_than_the_window_estimates(model: LocalModel, language: str) -> None:
    text = PROSE[language]
    counted = len(posted(model, "/tokenize", {"content": text})["tokens"])

    assert counted <= estimate_tokens(text) <= 3 * counted


async def test_after_the_stop_nothing_is_left_running() -> None:
    stopped = LocalModel.start(context_tokens=256)
    process = stopped._process
    stopped.stop()
    stopped.stop()

    assert process.poll() is not None


# How the program around it ends


PROGRAM = """
import sys, threading, urllib.request, json
from chatfeedback.inference.local import LocalModel
model = LocalModel.start(context_tokens=512)
print(model._process.pid, flush=True)
def read():
    body = {"messages": [{"role": "user", "content": "Tell a long story."}], "max_tokens": 400, "stream": True}
    headers = {"Authorization": "Bearer " + model.endpoint.api_key, "Content-Type": "application/json"}
    request = urllib.request.Request(model.endpoint.base_url + "/chat/completions", json.dumps(body).encode(), headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for line in opener.open(request):
        print(line.decode().strip(), flush=True)
threading.Thread(target=read, daemon=True).start()
if sys.argv[1] == "waits":
    threading.Event().wait()
sys.stdin.readline()
"""


@pytest.mark.parametrize("end", ["by itself", "Ctrl-C", "SIGTERM", "SIGKILL"])
def test_a_program_that_ends_during_a_reply_takes_the_model_with_it(end: str) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "ends" if end == "by itself" else "waits"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Ctrl-C reaches a whole group of processes; and a shell may have told its children to ignore it.
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert program.stdin and program.stdout
    model_pid = int(program.stdout.readline())
    while not program.stdout.readline().startswith("data:"):
        assert program.poll() is None
    if end == "Ctrl-C":
        os.killpg(program.pid, signal.SIGINT)
    elif end == "by itself":
        program.stdin.write("\n")
        program.stdin.flush()
    else:
        program.send_signal(getattr(signal, end))
    _, errors = program.communicate(timeout=30)

    expected = {"by itself": 0, "Ctrl-C": -signal.SIGINT, "SIGTERM": -signal.SIGTERM, "SIGKILL": -signal.SIGKILL}
    assert program.returncode == expected[end]
    assert "KeyboardInterrupt" in errors if end == "Ctrl-C" else errors == ""
    wait_until_gone(model_pid)


def wait_until_gone(pid: int) -> None:
    """Returns when the process has ended, whoever its parent is now."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        import select

        assert select.select([descriptor], [], [], 30)[0], "the model outlived its program"
    finally:
        os.close(descriptor)


def test_importing_it_loads_neither_llama_cpp_nor_huggingface_hub() -> None:
    code = (
        "import sys, chatfeedback.inference.local, chatfeedback.inference.window;"
        "print({'xllamacpp', 'huggingface_hub', 'httpx2'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


# Weights


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


DAMAGES = [
    "empty",
    "some text",
    "only the magic",
    "of a version to come",
    "with a count out of bounds",
    "with an empty header",
    "with garbled keys",
    "cut off",
]


@pytest.mark.parametrize("kind", DAMAGES)
def test_weights_that_are_damaged_are_one_sentence(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(damaged(find_weights(), kind))
    with pytest.raises(SettingsError) as caught:
        LocalModel.start(path)

    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["nowhere.gguf", "."])
def test_weights_that_are_not_there_are_one_sentence(tmp_path: Path, path: str) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        LocalModel.start(tmp_path / path)


async def test_a_file_of_ones_own_is_called_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "my-model.Q4.gguf"
    path.symlink_to(find_weights())
    model = LocalModel.start(path, context_tokens=256, threads=1)
    try:
        assert model.endpoint.model == "my-model.Q4"
        assert (await reply(model.endpoint, asking("Hello?")))[0]
    finally:
        model.stop()


class FakeHub(BaseHTTPRequestHandler):
    """As much of the Hub as a download of one file needs."""

    def do_HEAD(self) -> None:
        self._serve(body=False)

    def do_GET(self) -> None:
        self._serve(body=True)

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""

    def _serve(self, *, body: bool) -> None:
        wanted = f"/{local.HUB_REPOSITORY}/resolve/{local.HUB_REVISION}/{local.HUB_FILE}"
        content = b"GGUF weights" if self.path == wanted else b""
        self.send_response(200 if content else 404)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"0123456789abcdef0123456789abcdef01234567"')
        self.send_header("X-Repo-Commit", local.HUB_REVISION)
        self.end_headers()
        if body:
            self.wfile.write(content)


DOWNLOAD = """
import importlib.metadata as metadata
def files(name):
    raise metadata.PackageNotFoundError(name)
metadata.files = files  # as where the package is not installed
from chatfeedback.errors import SettingsError
from chatfeedback.inference.local import find_weights
try:
    print(find_weights().read_text())
except SettingsError as error:
    print("SettingsError:", error)
"""


def downloaded(hub: str, home: Path, **environment: str) -> str:
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


def test_without_the_package_the_weights_are_fetched_from_the_hub_once(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), FakeHub) as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.05,))
        thread.start()
        first = downloaded(f"http://127.0.0.1:{hub.server_port}", tmp_path)
        hub.shutdown()
        thread.join()
    again = downloaded(f"http://127.0.0.1:{hub.server_port}", tmp_path)

    assert (first, again) == ("GGUF weights", "GGUF weights")


def test_without_package_and_network_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    said = downloaded("http://127.0.0.1:9", tmp_path)

    assert said.startswith("SettingsError:") and "\n" not in said
    assert local.WEIGHTS_PACKAGE in said
    assert downloaded("http://127.0.0.1:9", tmp_path, HF_HUB_OFFLINE="1").startswith("SettingsError:")
