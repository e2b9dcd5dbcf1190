"""Command `serve`."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from chatfeedback.cli.options import (
    Config,
    DatabaseUrl,
    optional,
)
from chatfeedback.server.gc_freeze import frozen_startup


def serve(
    model: Annotated[
        str | None,
        optional("--model", "ID", "Serve this one model instead of those configured; `local` is the local one."),
    ] = None,
    base_url: Annotated[
        str | None,
        optional("--base-url", "URL", "The OpenAI-compatible server of --model; by default the Hugging Face Hub."),
    ] = None,
    provider: Annotated[
        str | None,
        optional("--provider", "NAME", "The Hub's inference provider for --model; by default the Hub chooses."),
    ] = None,
    api_key_env: Annotated[
        str | None,
        optional("--api-key-env", "NAME", "The environment variable that holds the key for --model."),
    ] = None,
    host: Annotated[str | None, optional("--host", "ADDRESS", "Listen here; by default 127.0.0.1.")] = None,
    port: Annotated[
        int | None, optional("--port", "PORT", "Listen on this port, 0 takes a free one; by default 7860.")
    ] = None,
    title: Annotated[str | None, optional("--title", "TEXT", "The title of the page; by default chatfeedback.")] = None,
    auth: Annotated[
        Literal["none", "password", "oidc", "proxy"] | None,
        typer.Option(
            "--auth",
            help="How people sign in; by default none: one local person, on this machine only.",
            show_default=False,
        ),
    ] = None,
    public_url: Annotated[
        str | None,
        optional("--public-url", "URL", "The address that people use, such as https://chat.example.org."),
    ] = None,
    annotator: Annotated[
        str | None,
        optional("--annotator", "NAME", "The name of the one local person, without sign-in; by default local."),
    ] = None,
    migrate: Annotated[
        bool | None,
        typer.Option(
            "--migrate/--no-migrate",
            help="Bring a Postgres database up to date first; by default not. A SQLite file always is.",
            show_default=False,
        ),
    ] = None,
    open_browser: Annotated[
        bool | None,
        typer.Option(
            "--open/--no-open",
            help="Open the page in a browser; by default where this is started from a terminal.",
            show_default=False,
        ),
    ] = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Open the chat and its analytics in the browser."""
    from chatfeedback.config.settings import Settings

    settings = Settings.load(
        config,
        model=model,
        base_url=base_url,
        provider=provider,
        api_key_env=api_key_env,
        host=host,
        port=port,
        title=title,
        auth=auth,
        public_url=public_url,
        annotator=annotator,
        migrate=migrate,
        database_url=database_url,
    )
    from chatfeedback.server import proxy_variables

    proxy_variables.prepare()  # Gradio reads them at import
    with frozen_startup():
        from chatfeedback.server import run

    run.serve(settings, open_browser=sys.stdout.isatty() if open_browser is None else open_browser)
