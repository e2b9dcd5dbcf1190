"""Access settings: valid combinations, and one sentence for each invalid one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError
from typer.testing import CliRunner

from chatfeedback.cli import app
from chatfeedback.config.settings import Settings
from chatfeedback.errors import SettingsError

SECRET = "do-not-tell"
OIDC = f'[oidc]\nissuer = "https://one.example"\nclient_id = "chat"\nclient_secret = "{SECRET}"\n'
PUBLIC = 'public_url = "https://chat.example.org"\n'


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(text: str = "", **flags: object) -> Settings:
    Path("chatfeedback.toml").write_text(text, "utf-8")
    return Settings.load(**flags)


def refusal(text: str = "", **flags: object) -> str:
    with pytest.raises(SettingsError) as refused:
        load(text, **flags)
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert SECRET not in sentence
    assert "pydantic" not in sentence
    return sentence


def test_settings_default_to_one_local_user_on_loopback() -> None:
    settings = Settings()
    assert (settings.auth, settings.host, settings.annotator, settings.sign_up) == ("none", "127.0.0.1", "local", False)
    assert (settings.trusted_proxies, settings.public_url, settings.oidc, settings.consent) == ((), None, None, None)


# Combinations


def test_auth_accepts_each_method_with_its_required_settings() -> None:
    assert load('auth = "password"').auth == "password"
    assert load('auth = "proxy"\ntrusted_proxies = ["127.0.0.1"]').auth == "proxy"
    assert load(f'auth = "oidc"\n{PUBLIC}{OIDC}').auth == "oidc"
    assert load(f'auth = "password"\n{OIDC}').auth == "password"  # a table for later


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('auth = "passwords"', ["auth", "'password'"]),
        ('auth = ""', ["auth"]),
        ('auth = "oidc"', ["[oidc]", "public_url"]),
        (f'auth = "oidc"\n{OIDC}', ["[oidc]", "public_url"]),
        (f'auth = "oidc"\n{PUBLIC}', ["[oidc]", "public_url"]),
        ('auth = "proxy"', ["trusted_proxies"]),
        ('auth = "proxy"\ntrusted_proxies = []', ["trusted_proxies"]),
        ('trusted_proxies = ["10.0.0.1/8"]', ["trusted_proxies", "an address or a network"]),
        ('trusted_proxies = ["proxy.example"]', ["trusted_proxies", "an address or a network"]),
        ('trusted_proxies = ["*"]', ["trusted_proxies", "an address or a network"]),
        ('proxy_header = "X Forwarded User"', ["proxy_header"]),
        ('proxy_header = "Remote_User"', ["proxy_header"]),
        ('proxy_header = "Remote-User: ada"', ["proxy_header"]),
        ("session_hours = 0", ["session_hours"]),
        ("session_hours = -1", ["session_hours"]),
        ("session_hours = 1e300", ["session_hours", "9600"]),
        ("session_idle_hours = 1e300", ["session_idle_hours", "9600"]),
        ("session_hours = nan", ["session_hours"]),
        ("messages_per_minute = 0", ["messages_per_minute"]),
        ("streams_at_once = 0", ["streams_at_once"]),
        ("max_request_bytes = 10", ["max_request_bytes", "10000"]),
        ('annotator = ""', ["annotator"]),
        ('sign_up = "perhaps"', ["sign_up"]),
        ('[consent]\nversion = "1"', ["consent", "either text or file"]),
        ('[consent]\nversion = "1"\ntext = "a"\nfile = "b"', ["consent", "either text or file"]),
        ('[consent]\ntext = "a"', ["version"]),
        ('[consent]\nversion = ""\ntext = "a"', ["version"]),
        ('[oidc]\nclient_id = "chat"', ["issuer"]),
        ('[oidc]\nissuer = "https://one.example"', ["client_id"]),
        (f'{OIDC}client_secret_env = "SECRET_OF_CHAT"', ["either client_secret or client_secret_env"]),
        (f'{OIDC}scopes = ["profile"]', ["`openid`"]),
        (f'{OIDC}secret = "{SECRET}"', ["secret"]),
        (f'[oidc]\nissuer = "https://u:{SECRET}@one.example"\nclient_id = "chat"', ["issuer"]),
        (f'[oidc]\nissuer = "ftp://one.example/{SECRET}"\nclient_id = "chat"', ["issuer"]),
        ('auth = "none"\npasswords = true', ["passwords"]),
    ],
)
def test_settings_name_invalid_combination_or_value_in_one_sentence(text: str, named: list[str]) -> None:
    sentence = refusal(text)
    assert [word for word in named if word not in sentence] == [], sentence


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://chat.example.org", "https://chat.example.org"),
        ("https://chat.example.org/", "https://chat.example.org"),
        ("HTTPS://Chat.Example.ORG", "https://chat.example.org"),
        ("https://chat.example.org:443", "https://chat.example.org"),
        ("http://chat.example.org:80/", "http://chat.example.org"),
        ("http://chat.example.org:443", "http://chat.example.org:443"),
        ("https://chat.example.org:8443", "https://chat.example.org:8443"),
        ("http://[2001:DB8::1]:7860", "http://[2001:db8::1]:7860"),
        ("http://127.0.0.1:7860", "http://127.0.0.1:7860"),
    ],
)
def test_public_url_is_normalized_to_origin_as_browsers_write_it(url: str, origin: str) -> None:
    assert load(public_url=url).public_url == origin


@pytest.mark.parametrize(
    "address",
    [
        "chat.example.org",
        "https://",
        "ftp://chat.example.org",
        "https://chat.example.org/chat",
        "https://chat.example.org?a=b",
        "https://chat.example.org#a",
        f"https://ada:{SECRET}@chat.example.org",
        "https://@chat.example.org",
        "https://chat.example.org:port",
        "https://chat.example.org:99999",
        "https://[::1",
        "https://bücher.example",
        "https://a b.example",
        "https://evil.example\\@chat.example.org",
        "javascript:alert(1)",
        "//chat.example.org",
    ],
)
def test_public_url_is_refused_when_it_is_no_origin(address: str) -> None:
    assert "public_url" in refusal(public_url=address)


@pytest.mark.parametrize("rest", ["/chat", "/chat/", "/a/b?c=d", "?a=b", "#a"])
def test_public_url_with_path_is_refused_with_reason(rest: str) -> None:
    sentence = refusal(public_url=f"https://chat.example.org{rest}")
    assert "chatfeedback cannot be served below a path; give it a host name or a port of its own" in sentence


@given(st.text(max_size=40))
def test_public_url_is_origin_or_refused_for_arbitrary_text(text: str) -> None:
    try:
        origin = Settings(public_url=f"https://{text}").public_url
    except ValidationError:
        return
    assert origin is not None
    assert origin.isascii()
    assert origin.count("/") == 2
    assert Settings(public_url=origin).public_url == origin


def test_trusted_proxies_accept_list_or_string(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = ("127.0.0.1/32", "10.0.0.0/8", "2001:db8::/32")
    assert load('trusted_proxies = ["127.0.0.1", "10.0.0.0/8", "2001:db8::/32"]').trusted_proxies == networks
    monkeypatch.setenv("CHATFEEDBACK_TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8 2001:db8::/32")
    assert load().trusted_proxies == networks


# Secrets


def test_oidc_secret_is_in_no_representation() -> None:
    settings = load(OIDC)
    assert settings.oidc is not None
    for shown in (repr(settings), str(settings), repr(settings.oidc), str(settings.oidc), settings.model_dump_json()):
        assert SECRET not in shown
    assert settings.oidc.resolve_secret() == SecretStr(SECRET)


def test_oidc_secret_is_read_from_named_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    oidc = load(OIDC.replace(f'client_secret = "{SECRET}"', 'client_secret_env = "SECRET_OF_CHAT"')).oidc
    assert oidc is not None
    monkeypatch.delenv("SECRET_OF_CHAT", raising=False)
    with pytest.raises(SettingsError, match=r"environment variable SECRET_OF_CHAT, which is not set\.$"):
        oidc.resolve_secret()
    monkeypatch.setenv("SECRET_OF_CHAT", SECRET)
    assert oidc.resolve_secret() == SecretStr(SECRET)
    assert SECRET not in repr(oidc)


def test_consent_text_is_read_on_demand() -> None:
    settings = load('[consent]\nversion = "1"\nfile = "consent.txt"')
    assert settings.consent is not None
    with pytest.raises(SettingsError, match=r"The consent text consent\.txt cannot be read"):
        settings.consent.read()
    Path("consent.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"The consent text consent\.txt cannot be read"):
        settings.consent.read()
    Path("consent.txt").write_text("Wir fragen Sie …", "utf-8")
    assert settings.consent.read() == "Wir fragen Sie …"


# Without sign-in


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "chat.example.org", "127.0.0.1.example", "128.0.0.1"])
def test_serve_refuses_host_other_than_loopback_without_auth(working_directory: Path, host: str) -> None:
    ended = CliRunner().invoke(app, ["serve", "--auth", "none", "--host", host, "--port", "0"], catch_exceptions=False)
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert ended.stderr == (
        f"chatfeedback: Without sign-in, chatfeedback listens on this machine only, and not on {host}; choose how "
        "people sign in with --auth (docs/security.md), or leave out --host.\n"
    )
    assert list(working_directory.iterdir()) == [], "not even a database was made"


def test_settings_and_consent_text_may_begin_with_byte_order_mark() -> None:
    Path("consent.txt").write_text("Read this.", "utf-8-sig")
    text = 'title = "Colours"\n[consent]\nversion = "1"\nfile = "consent.txt"\n'
    Path("chatfeedback.toml").write_text(text, "utf-8-sig")
    settings = Settings.load()
    assert settings.title == "Colours"
    assert settings.consent is not None
    assert settings.consent.read() == "Read this."
