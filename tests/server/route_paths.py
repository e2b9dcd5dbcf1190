"""Paths of all routes of an application, those of included routers and of mounted applications too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi.routing import APIRoute
from starlette.routing import Mount, Route


def routes(listed: Any) -> Iterator[str]:
    """Yield the path of every route."""
    for route in listed:
        if isinstance(route, (Route, APIRoute)):
            yield route.path
        elif isinstance(route, Mount):
            yield from routes(route.routes)
        else:  # FastAPI's own way to include a router
            prefix = route.include_context.prefix
            yield from (f"{prefix}{path}" for path in routes(route.original_router.routes))
