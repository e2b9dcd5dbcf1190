"""Proxy variables: those that HTTP clients can use, and the sentence about others."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfeedback.errors import SettingsError
from chatfeedback.server import proxy_variables
from serving import served

PROXIES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY")
ALL = [name for upper in (*PROXIES, "NO_PROXY") for name in (upper, upper.lower())]


@pytest.fixture(autouse=True)
def _none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ALL:
        monkeypatch.delenv(name, raising=False)


def make_clients() -> None:
    """Make a client of each library that reads the variables; without certificates, which take long to load."""
    httpx.Client(verify=False).close()  # noqa: S501 - it sends nothing
    httpx2.Client(verify=False).close()


@pytest.mark.parametrize("name", [name for upper in PROXIES for name in (upper, upper.lower())])
@pytest.mark.parametrize(
    "value",
    [
        "socks5h://127.0.0.1:1080",
        "socks5://user:word@proxy.example:1080",
        "http://127.0.0.1:3128",
        "https://proxy.example",
        "127.0.0.1:3128",
        "http://[::1]:3128",
        "",
    ],
)
def test_prepare_accepts_proxies_that_clients_can_use(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    proxy_variables.prepare()
    make_clients()
    assert os.environ[name] == value


@pytest.mark.parametrize("name", [name for upper in PROXIES for name in (upper, upper.lower())])
@pytest.mark.parametrize(
    "value", ["ftp://secret:1", "http://[::1", "http://secret:port", "socks4://secret:1", "://secret"]
)
def test_prepare_names_variable_of_unusable_proxy_without_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("NO_PROXY", "example.org")
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        proxy_variables.prepare()
    assert str(refused.value) == (
        f"The environment variable {name} is no address of a proxy that can be used here; correct it or unset it."
    )
    assert os.environ["NO_PROXY"] == "example.org"
    assert os.environ[name] == value


@pytest.mark.parametrize(
    ("value", "prepared"),
    [
        ("[::1]", "::1"),
        ("[::1]:8080, localhost ,.example.org", "::1,localhost,.example.org"),
        ("[fe80::1%eth0],10.0.0.0/8,*", "fe80::1,10.0.0.0/8,*"),
        ("::1", "::1"),
        ("localhost,127.0.0.1,example.org:8080", "localhost,127.0.0.1,example.org:8080"),
        ("", ""),
        (",,", ",,"),
    ],
)
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_prepare_takes_addresses_in_no_proxy_out_of_brackets(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, prepared: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:3128")
    monkeypatch.setenv(name, value)
    proxy_variables.prepare()
    make_clients()
    assert os.environ[name] == prepared


@pytest.mark.parametrize("value", ["[::1", "a:b:c", "example.org:port"])
def test_prepare_names_no_proxy_that_is_no_list_of_hosts(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("NO_PROXY", value)
    with pytest.raises(SettingsError, match=r"^The environment variable NO_PROXY is no list of hosts"):
        proxy_variables.prepare()


@given(st.text(st.sampled_from("[]:%.,/@ *-1afxsockhtp5"), max_size=24), st.sampled_from(ALL))
def test_prepare_raises_settings_error_or_leaves_usable_variables(value: str, name: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name, value)
        try:
            proxy_variables.prepare()
        except SettingsError as refused:
            assert f" {name} " in str(refused)
        else:
            make_clients()


@pytest.mark.process
def test_serve_starts_behind_socks_proxy_or_names_variable(tmp_path: Path) -> None:
    arguments = ("--model", "m", "--base-url", "http://127.0.0.1:9/v1", "--database-url", f"sqlite:///{tmp_path}/c.db")
    with served(*arguments, ALL_PROXY="socks5h://127.0.0.1:9", NO_PROXY="[::1]") as server:
        assert server.address, server.log
    with served(*arguments, ALL_PROXY="ftp://x") as server:
        assert server.ended() == 2
        assert server.log.count("\n") == 1
        assert server.log.startswith("chatfeedback: The environment variable ALL_PROXY is no address of a proxy")


@pytest.mark.process
def test_serve_starts_with_closed_stdout_and_logs_its_address(tmp_path: Path) -> None:
    command = f"exec {sys.executable} -m chatfeedback serve --model m --base-url http://127.0.0.1:9/v1 --port 0 >&-"
    command += f" --database-url sqlite:///{tmp_path}/chat.db"
    with subprocess.Popen(["/bin/sh", "-c", command], stderr=subprocess.PIPE, text=True) as process:
        impatient = threading.Timer(120, process.kill)
        impatient.start()
        assert process.stderr is not None
        line = process.stderr.readline()
        impatient.cancel()
        assert "chatfeedback is at http://127.0.0.1:" in line
        assert "the standard output cannot be written (Bad file descriptor)" in line
        address = line[line.index("http://127.0.0.1:") :].split()[0]
        assert httpx.get(f"{address}healthz", timeout=60).status_code == 200
        process.terminate()
        process.communicate()
    assert process.returncode in (0, -15)
