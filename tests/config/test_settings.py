"""Settings: sources, their precedence, and one sentence for each value that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from chatfeedback.config.models import LOCAL_MODEL_NAME, ModelSettings
from chatfeedback.config.settings import Settings
from chatfeedback.errors import SettingsError
from chatfeedback.inference.local.process import DEFAULT_MODEL

Write = Callable[[str], Path]
SECRET = "hf_do_not_tell"


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write() -> Write:
    def write(text: str, name: str = "chatfeedback.toml") -> Path:
        path = Path(name)
        path.write_text(text, "utf-8")
        return path

    return write


def refusal(config: Path | None = None, **flags: object) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings.load(config, **flags)
    message = str(caught.value)
    assert "\n" not in message
    assert "pydantic" not in message
    return message


# Sources


def test_settings_have_defaults_without_sources() -> None:
    settings = Settings.load()
    assert settings.database_url == "sqlite+pysqlite:///chatfeedback.db"
    assert (settings.host, settings.port, settings.annotator) == ("127.0.0.1", 7860, "local")
    (model,) = settings.models
    assert model.local
    assert (model.system_prompt, model.temperature, model.top_p, model.max_tokens) == (
        "You are a friendly chatbot",
        0.95,
        0.9,
        512,
    )


def test_settings_prefer_flag_to_environment_and_environment_to_file(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("port = 1\nhost = 'file'\ntitle = 'file'\n")
    monkeypatch.setenv("CHATFEEDBACK_PORT", "2")
    monkeypatch.setenv("CHATFEEDBACK_HOST", "environment")
    settings = Settings.load(port=3)
    assert (settings.port, settings.host, settings.title) == (3, "environment", "file")


def test_settings_ignore_flag_that_is_none(write: Write) -> None:
    write("port = 1\n")
    assert Settings.load(port=None).port == 1


def test_settings_ignore_empty_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATFEEDBACK_PORT", "")
    assert Settings.load().port == 7860


def test_settings_merge_tables_of_file_and_environment(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("[local]\nthreads = 1\ncontext_tokens = 1000\n")
    monkeypatch.setenv("CHATFEEDBACK_LOCAL__THREADS", "2")
    local = Settings.load().local
    assert (local.threads, local.context_tokens) == (2, 1000)


def test_settings_replace_models_of_file_by_those_of_environment(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write('[[models]]\nmodel = "of-the-file"\n')
    monkeypatch.setenv("CHATFEEDBACK_MODELS", '[{"model": "a", "temperature": 0.1}, {"model": "b"}]')
    assert [(model.name, model.temperature) for model in Settings.load().models] == [("a", 0.1), ("b", 0.95)]


def test_settings_file_is_named_by_flag_or_else_by_environment(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("port = 1\n")
    by_variable, by_flag = write("port = 2\n", "variable.toml"), write("port = 3\n", "flag.toml")
    monkeypatch.setenv("CHATFEEDBACK_CONFIG", str(by_variable))
    assert Settings.load().port == 2
    assert Settings.load(by_flag).port == 3


def test_settings_constructor_reads_neither_environment_nor_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("port = 1\n")
    monkeypatch.setenv("CHATFEEDBACK_PORT", "2")
    assert Settings().port == 7860


def test_settings_are_immutable() -> None:
    settings = Settings.load()
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]
    with pytest.raises(ValidationError):
        settings.models[0].model = "other"  # type: ignore[misc]


# Databases


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///chat.db", "sqlite+pysqlite:///chat.db"),
        ("sqlite:////data/chat.db", "sqlite+pysqlite:////data/chat.db"),
        ("postgres://u@h/d", "postgresql+psycopg://u@h/d"),
        ("postgresql://u:p%40ss@h:5432/d?sslmode=require", "postgresql+psycopg://u:p%40ss@h:5432/d?sslmode=require"),
        ("postgresql+psycopg://u@h/d", "postgresql+psycopg://u@h/d"),
    ],
)
def test_database_url_gets_driver(url: str, expected: str) -> None:
    assert Settings.load(database_url=url).database_url == expected


@pytest.mark.parametrize(
    "url", ["chat.db", "sqlite://", "sqlite:///:memory:", "mysql://h/d", f"postgresql://u:{SECRET}@h:port/d", "://"]
)
def test_database_url_is_refused_without_its_password_when_unusable(url: str) -> None:
    message = refusal(database_url=url)
    assert message.startswith("The setting database_url (from the flag --database-url) cannot be used: ")
    assert "sqlite:///" in message
    assert SECRET not in message


# Models


def test_model_inherits_top_level_values_unless_it_sets_its_own(write: Write) -> None:
    write(
        'system_prompt = "Be brief"\ntemperature = 0.1\nmax_tokens = 9\n'
        '[[models]]\nmodel = "a"\n[[models]]\nmodel = "b"\ntemperature = 0.95\n'
    )
    a, b = Settings.load().models
    assert (a.system_prompt, a.temperature, a.max_tokens) == ("Be brief", 0.1, 9)
    assert (b.system_prompt, b.temperature, b.max_tokens) == ("Be brief", 0.95, 9)


def test_model_flags_replace_configured_models(write: Write) -> None:
    write('temperature = 0.1\n[[models]]\nmodel = "a"\n[[models]]\nmodel = "b"\n')
    (model,) = Settings.load(model="c", base_url="http://127.0.0.1:8000/v1").models
    assert (model.name, model.base_url, model.temperature) == ("c", "http://127.0.0.1:8000/v1", 0.1)


@pytest.mark.parametrize("entry", ["local = true", 'model = "local"', 'model = "local"\nlocal = true'])
def test_local_model_can_be_listed_beside_others(write: Write, entry: str) -> None:
    write(f'[[models]]\nmodel = "a"\n[[models]]\n{entry}\n[local]\ncontext_tokens = 4096\n')
    other, local = Settings.load().models
    assert (other.local, other.context_tokens) == (False, None)
    assert (local.local, local.name, local.context_tokens) == (True, LOCAL_MODEL_NAME, 4096)


def test_local_model_name_equals_name_of_default_weights() -> None:
    assert LOCAL_MODEL_NAME == DEFAULT_MODEL


def test_local_model_is_named_after_other_weights(write: Write) -> None:
    write('[local]\ngguf = "~/models/Qwen3-0.6B.gguf"\n')
    settings = Settings.load()
    assert settings.local.gguf == Path.home() / "models" / "Qwen3-0.6B.gguf"
    assert settings.models[0].name == "Qwen3-0.6B"


def test_api_key_is_read_from_named_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ModelSettings(model="a", api_key_env="SOME_KEY")
    with pytest.raises(SettingsError, match="'a' should be in the environment variable SOME_KEY, which is not set"):
        model.resolve_api_key()
    monkeypatch.setenv("SOME_KEY", SECRET)
    assert model.resolve_api_key() == SecretStr(SECRET)


def test_settings_do_not_show_secrets(write: Write) -> None:
    write(f'database_url = "postgresql://u:{SECRET}@h/d"\n[[models]]\nmodel = "a"\napi_key = "{SECRET}"\n')
    settings = Settings.load()
    assert settings.models[0].resolve_api_key() == SecretStr(SECRET)
    assert SECRET not in repr(settings) + str(settings)


# Refusals

FILE_REFUSALS = {
    "prot = 1": "There is no setting 'prot' (from the file chatfeedback.toml); did you mean 'port'?",
    "zzz = 1": "There is no setting 'zzz' (from the file chatfeedback.toml); docs/configuration.md lists "
    "what there is.",
    "port = 70000": "The setting port (from the file chatfeedback.toml) cannot be used: "
    "it should be less than or equal to 65535, not 70000.",
    "temperature = nan": "The setting temperature (from the file chatfeedback.toml) cannot be used: "
    "it should be a finite number, not nan.",
    "port 1": "The settings file chatfeedback.toml is not valid TOML: ",
    "[models]\nmodel = 'a'": "The setting models (from the file chatfeedback.toml) cannot be used: "
    "it should be a list of tables.",
    "[[models]]\nname = 'a'": "The setting models[0] (from the file chatfeedback.toml) cannot be used: "
    "a model needs `model`, its id at the endpoint, or `local = true`.",
    "[[models]]\nmodel = 'a'\n[[models]]\nmodel = 'a'": "two models are called 'a', give one of them another name.",
    "[[models]]\nmodel = 'a'\ntemprature = 1": "There is no setting 'models[0].temprature' "
    "(from the file chatfeedback.toml); did you mean 'temperature'?",
    "[[models]]\nmodel = 'a'\nprovider = 'groq'\nbase_url = 'http://h'": "leave it out beside base_url.",
    "[[models]]\nmodel = 'a'\nbase_url = 'ftp://h'": "URL scheme should be 'http' or 'https'.",
    "[[models]]\nlocal = true\nmodel = 'a'": '`local = true` goes with `model = "local"` or without `model`.',
    "[[models]]\nlocal = true\nprovider = 'groq'": "the local model has no provider, base_url, api_key or api_key_env.",
    "[[models]]\nlocal = true\ncontext_tokens = 9": "is set as context_tokens in the table [local].",
    "max_tokens = 90\n[[models]]\nmodel = 'a'\ncontext_tokens = 90": "context_tokens of 'a' (90) must be larger than "
    "max_tokens (90).",
    "[[reasons]]\ncode = 'Too Long'\nlabel = 'x'": "The setting reasons[0].code (from the file chatfeedback.toml) "
    "cannot be used: it should match pattern '^[a-z0-9_]+$', not 'Too Long'.",
    "[[reasons]]\ncode = 'a'": "The setting reasons[0].label (from the file chatfeedback.toml) cannot be used: "
    "it is missing.",
    "[[reasons]]\ncode = 'a'\nlabel = 'x'\npolarity = 'both'": "it should be 'like', 'dislike' or 'any', not 'both'.",
    "[[reasons]]\ncode = 'a'\nlabel = 'x'\n[[reasons]]\ncode = 'a'\nlabel = 'y'": "two reasons have the code 'a'.",
}


@pytest.mark.parametrize("text", FILE_REFUSALS)
def test_settings_explain_error_in_file(write: Write, text: str) -> None:
    write(text)
    assert FILE_REFUSALS[text] in refusal()


ENVIRONMENT_REFUSALS = {
    ("PORT", "abc"): "The setting port (from the environment variable CHATFEEDBACK_PORT) cannot be used: "
    "it should be a whole number, not 'abc'.",
    ("MIGRATE", "perhaps"): "it should be true or false, not 'perhaps'.",
    ("MODELS", "a, b"): "The environment variable CHATFEEDBACK_MODELS should be JSON, and is not.",
    ("MODELS", '[{"model": "a", "top_p": "x"}]'): "The setting models[0].top_p (from the environment variable "
    "CHATFEEDBACK_MODELS) cannot be used: it should be a number, not 'x'.",
    ("LOCAL__THREADS", "0"): "The setting local.threads (from the environment variable CHATFEEDBACK_LOCAL__THREADS) "
    "cannot be used: it should be greater than or equal to 1, not '0'.",
    ("LOCAL", '{"threads": 0}'): "The setting local.threads (from the environment variable CHATFEEDBACK_LOCAL) ",
    ("CONFIG", "missing.toml"): "The settings file missing.toml cannot be read: No such file or directory.",
}


@pytest.mark.parametrize(("variable", "value"), ENVIRONMENT_REFUSALS)
def test_settings_explain_error_in_environment(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(f"CHATFEEDBACK_{variable}", value)
    assert ENVIRONMENT_REFUSALS[variable, value] in refusal()


def test_settings_error_names_source_that_won(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("port = -1\n")
    assert "(from the file chatfeedback.toml)" in refusal()
    monkeypatch.setenv("CHATFEEDBACK_PORT", "-2")
    assert "(from the environment variable CHATFEEDBACK_PORT)" in refusal()
    assert "(from the flag --port)" in refusal(port=-3)


@pytest.mark.parametrize("flag", ["base_url", "provider", "api_key_env"])
def test_model_flag_is_refused_without_model(flag: str) -> None:
    assert refusal(**{flag: "x"}).startswith(f"The flag --{flag.replace('_', '-')} needs --model")


def test_base_url_with_password_is_refused_and_not_repeated() -> None:
    message = refusal(model="a", base_url=f"http://user:{SECRET}@h/v1")
    assert "(from the flag --base-url)" in message
    assert SECRET not in message


def test_settings_refuse_file_that_is_not_utf8(working_directory: Path) -> None:
    (working_directory / "chatfeedback.toml").write_bytes(b"title = '\xff'")
    assert refusal() == "The settings file chatfeedback.toml is not UTF-8 text."


@pytest.mark.parametrize(
    "text",
    [
        f"[[models]]\nmodel = 'a'\napikey = '{SECRET}'",
        f"[[models]]\nmodel = 'a'\napi_key = ['{SECRET}']",
        f"[[models]]\napi_key = '{SECRET}'",
        f"[[models]]\nmodel = 'a'\napi_key = '{SECRET}'\napi_key_env = 'X'",
        f"[[models]]\nmodel = 'a'\nbase_url = '{SECRET}'",
        f"models = '{SECRET}'",
        f"database_url = '{SECRET}'",
    ],
)
def test_settings_errors_do_not_repeat_secrets(write: Write, text: str) -> None:
    write(text)
    assert SECRET not in refusal()


@pytest.mark.parametrize("name", ["system_prompt", "annotator", "title"])
@pytest.mark.parametrize("text", ["Be\0brief", "Be \ud83d brief"])
def test_settings_refuse_text_that_cannot_be_stored(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match="no database stores"):
        Settings.load(**{name: text})


NAMES = sorted({*Settings.model_fields, *ModelSettings.model_fields, "code", "label", "unknown"})
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=6,
)


@given(flags=st.dictionaries(st.sampled_from(sorted(Settings.model_fields)), values, max_size=4))
def test_settings_load_or_raise_one_sentence_for_arbitrary_flags(flags: dict[str, object]) -> None:
    try:
        settings = Settings.load(**flags)  # type: ignore[arg-type]
    except SettingsError as error:
        assert str(error).endswith((".", "?"))
    else:
        assert settings.models


def test_settings_refuse_unknown_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATFEEDBACK_ANOTATOR", "bob")
    with pytest.raises(SettingsError, match=r"CHATFEEDBACK_ANOTATOR.*did you mean CHATFEEDBACK_ANNOTATOR"):
        Settings.load(None)
    monkeypatch.delenv("CHATFEEDBACK_ANOTATOR")
    monkeypatch.setenv("CHATFEEDBACK_SERVICE_HOST", "10.0.0.1")  # from Kubernetes
    monkeypatch.setenv("CHATFEEDBACK_PORT_7860_TCP", "tcp://10.0.0.1:7860")
    assert Settings.load(None).annotator == "local"
