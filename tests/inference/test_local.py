"""Local model: real replies, token counts within the estimate, and its end with the program."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest

from chatfeedback.domain.conversation.events import Provenance
from chatfeedback.errors import ContextExceeded, KeyRefused
from chatfeedback.inference.client import Endpoint, Finish, ModelClient, Sampling
from chatfeedback.inference.context_window import estimate_tokens
from chatfeedback.inference.local.process import LocalModel, find_weights
from inference.client_calls import asking, reply_from

SHORT = Sampling(temperature=0.0, top_p=1.0, max_tokens=24)

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
    "JavaScript": "for (let i = 0; i < n; i++) {\n    if (!seen.has(rows[i].id)) out.push({...rows[i], n: 1});\n}\n",
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


def posted(model: LocalModel, path: str, body: dict[str, object]) -> dict[str, list[int]]:
    """Post to the API of llama.cpp, and return its answer."""
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


@pytest.mark.usefixtures("dead_proxies")
async def test_local_model_streams_reply(model: LocalModel) -> None:
    text, finish = await reply_from(model.endpoint, asking("What can you help me with?", sampling=SHORT))

    assert re.search(r"\w+ \w+", text)
    assert finish.finish_reason in ("stop", "length")
    assert finish.prompt_tokens and finish.completion_tokens


async def test_local_model_reports_checksum_of_its_weights(model: LocalModel) -> None:
    reports: list[Provenance] = []
    client = ModelClient(model.endpoint)
    async for _piece in client.stream(asking(sampling=SHORT), on_provenance=reports.append):
        pass
    await client.aclose()

    assert reports[-1].weights_sha256 == hashlib.sha256(find_weights().read_bytes()).hexdigest()
    assert reports[-1].sent_max_tokens == SHORT.max_tokens


async def test_local_model_varies_reply_with_seed(model: LocalModel) -> None:
    lively = Sampling(temperature=1.2, top_p=1.0, max_tokens=40)
    replies = set()
    for seed in range(4):
        request = asking("Invent a name for a ship, and its story.", sampling=lively, seed=seed)
        replies.add((await reply_from(model.endpoint, request))[0])

    assert len(replies) > 1


def test_local_model_has_name_of_its_weights_and_full_context_window(model: LocalModel) -> None:
    assert model.endpoint.model == "SmolLM2-135M-Instruct"
    assert model.context_tokens == 8192


@pytest.mark.process
async def test_local_model_answers_within_window_and_refuses_longer_conversation() -> None:
    small = LocalModel.start(context_tokens=768)
    try:
        assert small.context_tokens == 768
        _, finish = await reply_from(small.endpoint, asking("word " * 600, sampling=SHORT))
        with pytest.raises(ContextExceeded):
            await reply_from(small.endpoint, asking("word " * 800, sampling=SHORT))
    finally:
        small.stop()

    assert finish.prompt_tokens and finish.prompt_tokens > 600


async def test_local_model_listens_on_loopback_and_requires_its_key(model: LocalModel) -> None:
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", model.endpoint.base_url or "")
    with pytest.raises(KeyRefused):
        await reply_from(Endpoint(model.endpoint.model, base_url=model.endpoint.base_url))


async def test_local_model_frees_slots_of_closed_streams(model: LocalModel) -> None:
    long = Sampling(temperature=1.0, top_p=1.0, max_tokens=8000)
    client = ModelClient(dataclasses.replace(model.endpoint, first_token_seconds=60, timeout_seconds=60))
    streams = [client.stream(asking(f"Count to {number}.", sampling=long)) for number in range(100, 104)]
    for stream in streams:  # as many as are answered at once; together they would take minutes
        await anext(stream)
    for stream in streams:
        await stream.aclose()
    pieces = [piece async for piece in client.stream(asking("Hello?", sampling=SHORT))]
    await client.aclose()

    assert isinstance(pieces[-1], Finish)


@pytest.mark.parametrize("language", PROSE)
def test_estimate_tokens_is_between_real_count_and_three_times_that(model: LocalModel, language: str) -> None:
    text = PROSE[language]
    counted = len(posted(model, "/tokenize", {"content": text})["tokens"])

    assert counted <= estimate_tokens(text) <= 3 * counted


@pytest.mark.process
async def test_local_model_process_ends_at_stop() -> None:
    stopped = LocalModel.start(context_tokens=256)
    process = stopped._process
    stopped.stop()
    stopped.stop()

    assert process.poll() is not None


# The end of its program


@pytest.mark.process
async def test_local_model_survives_ctrl_c() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have told us to ignore it
    model = LocalModel.start(context_tokens=256)
    signal.signal(signal.SIGINT, before)
    try:
        os.kill(model._process.pid, signal.SIGINT)
        text, _ = await reply_from(model.endpoint, asking("Hello?", sampling=SHORT))
    finally:
        model.stop()

    assert text


PROGRAM = """
import contextlib, gc, json, signal, sys, threading, urllib.request
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have told its children to ignore it
from chatfeedback.inference.local.process import LocalModel, find_weights
model = LocalModel.start(context_tokens=512)
print(model._process.pid, flush=True)
endpoint = model.endpoint
del model  # it runs on until the program ends
gc.collect()
body = {"messages": [{"role": "user", "content": "Tell a long story."}], "max_tokens": 400, "stream": True}
headers = {"Authorization": "Bearer " + endpoint.api_key, "Content-Type": "application/json"}
request = urllib.request.Request(endpoint.base_url + "/chat/completions", json.dumps(body).encode(), headers)
answer = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request)
print(answer.readline().decode().strip(), flush=True)
def read():
    with contextlib.suppress(Exception):
        answer.read()
threading.Thread(target=read, daemon=True).start()
if sys.argv[1] == "waits":
    threading.Event().wait()
sys.stdin.readline()
"""


@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits for a process that is not its child")
@pytest.mark.parametrize("end", ["by itself", "Ctrl-C", "SIGTERM", "SIGKILL"])
def test_local_model_ends_with_its_program_during_reply(end: str) -> None:
    program = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, "ends" if end == "by itself" else "waits"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C reaches a whole group of processes
    )
    assert program.stdin and program.stdout
    model_pid = int(program.stdout.readline())
    assert program.stdout.readline().startswith("data:")
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
    """Wait until the process has ended, which need not be a child of ours."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], 30)[0], "the model outlived its program"
    finally:
        os.close(descriptor)


@pytest.mark.process
def test_local_process_module_imports_neither_llama_cpp_nor_huggingface_hub() -> None:
    code = (
        "import sys, chatfeedback.inference.local.process, chatfeedback.inference.context_window;"
        "print({'xllamacpp', 'huggingface_hub', 'httpx2'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
