"""Documentation: it has every setting, variable, flag and command of the program, with its default.

The tables of docs/configuration.md are compared as a whole with those made here from the code; a failing test
shows the table that belongs there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from chatfeedback.cli import app
from chatfeedback.config.auth import AccessSettings, ConsentSettings, OidcSettings, StudySettings
from chatfeedback.config.models import LocalSettings, ModelSettings, RequestSettings
from chatfeedback.config.operations import OperationSettings
from chatfeedback.config.settings import DEFAULT_REASONS, ReasonSettings, Settings
from chatfeedback.config.sources import ENV_PREFIX
from chatfeedback.domain.roles import PERMISSIONS, ROLES, Open, Requirement
from chatfeedback.server.app import build_app
from chatfeedback.server.authorization.policy import ROUTES
from chatfeedback.ui.gradio_internals import actions_in
from users import UNUSED_MODELS, blocks_in

ROOT = Path(__file__).parent.parent
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text("utf-8")
MODEL_FLAGS = {"model", "base_url", "provider", "api_key_env"}


def commands(group: Any = None, path: str = "chatfeedback") -> dict[str, Any]:
    """Return every command by how it is called, `chatfeedback db check` for example."""
    result: dict[str, Any] = {}
    for name, command in (group or typer.main.get_command(app)).commands.items():
        called = f"{path} {name}"
        result |= commands(command, called) if hasattr(command, "commands") else {called: command}
    return result


SERVE_FLAGS = {option.name: option.opts[0] for option in commands()["chatfeedback serve"].params}


PARTS = (AccessSettings, OperationSettings)


def table(*rows: tuple[str, ...]) -> str:
    header, *body = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, ("---",) * len(header), *body)) + "\n"


def fields(model: type[BaseModel]) -> dict[str, Any]:
    """Return the settings of a table: its own first, then those that a model may have in place of the top level's."""
    shared = RequestSettings.model_fields
    return dict(sorted(model.model_fields.items(), key=lambda item: item[0] in shared))


def default(field: Any) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if not field.default or isinstance(field.default, BaseModel):
        return "`false`" if field.default is False else "–"
    if isinstance(field.default, tuple):
        return "–" if isinstance(field.default[0], BaseModel) else f"`{json.dumps(field.default)}`"
    return f"`{json.dumps(field.default)}`"


def settings_table(part: type[BaseModel] | None) -> str:
    """Return the table of top-level settings of one part, or of those that are in no part."""
    rows = []
    for name, field in fields(Settings).items():
        if next((one for one in PARTS if name in one.model_fields), None) is not part:
            continue
        flag = f"`{SERVE_FLAGS[name]}`" if name in SERVE_FLAGS else "–"
        rows.append((f"`{name}`", f"`{ENV_PREFIX}{name.upper()}`", flag, default(field), field.description or ""))
    return table(("Setting", "Environment variable", "Flag", "Default", "What it is"), *rows)


def one_table(called: str, model: type[BaseModel]) -> str:
    rows = [
        (f"`{name}`", f"`{ENV_PREFIX}{called}__{name.upper()}`", default(field), field.description or "")
        for name, field in fields(model).items()
    ]
    return table(("Setting", "Environment variable", "Default", "What it is"), *rows)


def models_table() -> str:
    rows = []
    for name, field in fields(ModelSettings).items():
        # Their defaults depend on other settings, and are described in words.
        shown = "the top level's" if name in RequestSettings.model_fields else default(field)
        shown = "–" if name in ("name", "model") else shown
        flag = f"`{SERVE_FLAGS[name]}`" if name in MODEL_FLAGS else "–"
        rows.append((f"`{name}`", flag, shown, field.description or ""))
    return table(("Setting", "Flag", "Default", "What it is"), *rows)


def reasons_table() -> str:
    rows = [(f"`{name}`", default(field), field.description or "") for name, field in fields(ReasonSettings).items()]
    return table(("Setting", "Default", "What it is"), *rows)


def default_reasons_table() -> str:
    rows = [(f"`{reason.code}`", reason.label, f"`{reason.polarity}`") for reason in DEFAULT_REASONS]
    return table(("code", "label", "polarity"), *rows)


def command_table(command: Any) -> str:
    """Return the table of what `command` takes: its arguments, then its flags."""
    rows = []
    for parameter in command.params:
        names = [parameter.metavar or parameter.name.upper()]
        if parameter.param_type_name == "option":
            names = [*parameter.opts, *parameter.secondary_opts]
            names[-1] += f" {parameter.metavar}" if parameter.metavar else ""
        standard = f" Default: `{parameter.default}`." if parameter.show_default and parameter.default else ""
        rows.append((", ".join(f"`{name}`" for name in names), f"{parameter.help}{standard}"))
    return table(("Argument or flag", "What it does"), *rows)


TABLES = {
    "settings": settings_table(None),
    "access": settings_table(AccessSettings),
    "operation": settings_table(OperationSettings),
    "oidc": one_table("OIDC", OidcSettings),
    "consent": one_table("CONSENT", ConsentSettings),
    "study": one_table("STUDY", StudySettings),
    "local": one_table("LOCAL", LocalSettings),
    "models": models_table(),
    "reasons": reasons_table(),
    "default reasons": default_reasons_table(),
}


@pytest.mark.parametrize("name", TABLES)
def test_configuration_page_has_tables_of_settings(name: str) -> None:
    assert TABLES[name] in CONFIGURATION, f"docs/configuration.md should have this table:\n{TABLES[name]}"


SECURITY = (ROOT / "docs" / "security.md").read_text("utf-8")


def may(needs: Requirement) -> tuple[str, ...]:
    """Return for nobody, an annotator, a researcher and an admin whether they may."""
    if isinstance(needs, Open):
        return ("yes" if needs is Open.PUBLIC else "–", *["yes"] * len(ROLES))
    return ("–", *("yes" if needs in PERMISSIONS[role] else "–" for role in ROLES))


def routes_table() -> str:
    rows = [(f"`{'`, `'.join(sorted(rule.methods))}`", f"`{rule.address}`", *may(rule.requirement)) for rule in ROUTES]
    return table(("Method", "Address", "nobody", *ROLES), *rows)


def test_security_page_has_routes_of_policy() -> None:
    assert routes_table() in SECURITY, f"docs/security.md should have this table:\n{routes_table()}"


async def test_security_page_has_actions_that_handlers_declare(new_sqlite: Callable[[], str]) -> None:
    app = build_app(Settings(database_url=new_sqlite(), models=UNUSED_MODELS))
    async with app.router.lifespan_context(app):
        actions = {action.name: action for action in actions_in(blocks_in(app)).values()}
    rows = [(f"`{name}`", *may(action.requirement)[1:]) for name, action in sorted(actions.items())]
    expected = table(("Function", *ROLES), *rows)
    assert expected in SECURITY, f"docs/security.md should have this table:\n{expected}"


@pytest.mark.parametrize("called", commands())
def test_configuration_page_has_every_command_and_flag(called: str) -> None:
    command = commands()[called]
    expected = f"### `{called}`\n\n{command.help}\n\n{command_table(command)}"
    assert expected in CONFIGURATION, f"docs/configuration.md should have this section:\n{expected}"


def example() -> str:
    match = re.search(r"```toml\n# chatfeedback\.toml\n(.*?)```", CONFIGURATION, re.DOTALL)
    assert match
    return match[1]


def test_example_file_loads(tmp_path: Path) -> None:
    file = tmp_path / "chatfeedback.toml"
    file.write_text(example(), "utf-8")
    settings = Settings.load(file)
    assert [model.local for model in settings.models] == [False, False, True]
    assert settings.models[1].temperature != settings.temperature


@pytest.mark.parametrize("name", Settings.model_fields)
def test_example_file_has_every_setting(name: str) -> None:
    assert re.search(rf"^(\[+{name}\]+|{name} = )", example(), re.MULTILINE)


def test_ci_runs_test_command_of_readme() -> None:
    *_, command = (ROOT / ".ci" / "run").read_text("utf-8").strip().splitlines()
    assert command == "uv run scripts/test"
    assert f"pip install uv && {command}" in (ROOT / "README.md").read_text("utf-8")


def test_links_between_pages_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in pages
        for link in re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", page.read_text("utf-8"))
        if not (page.parent / link).exists()
    ]
    assert broken == []
