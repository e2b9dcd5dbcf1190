"""Encodings of Postgres: only UTF-8 can store every text; others are refused, and no text is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from chatfeedback.errors import StoreError
from chatfeedback.store.database import migrate
from chatfeedback.store.maintenance import check
from clusters import Cluster

pytestmark = pytest.mark.postgres


@pytest.fixture(params=["LATIN1", "SQL_ASCII", "EUC_JP", "WIN1252"])
def narrow(request: pytest.FixtureRequest, postgres_server: Cluster) -> Iterator[tuple[str, str]]:
    """Return the address of an empty database and its encoding."""
    name = f"narrow_{request.param.lower()}"
    with psycopg.connect(postgres_server.url().replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING '{request.param}' LOCALE 'C' TEMPLATE template0")
    yield postgres_server.url(name), request.param
    postgres_server.drop_database(name)


@pytest.mark.parametrize(
    "command",
    [
        migrate.upgrade,
        lambda url: migrate.ensure_ready(url, migrate=True),
        lambda url: migrate.ensure_ready(url, migrate=False),
        check,
    ],
    ids=["upgrade", "serve --migrate", "serve", "check"],
)
def test_commands_refuse_database_that_cannot_store_every_text(
    narrow: tuple[str, str], command: Callable[[str], object]
) -> None:
    url, encoding = narrow
    with pytest.raises(StoreError, match=f"Its encoding is {encoding}, in which not every text can be stored; make a"):
        command(url)
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
