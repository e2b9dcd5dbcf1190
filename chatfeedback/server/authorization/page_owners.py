"""Page owners: which user an open page belongs to, bounded for each user and in all.

The browser chooses the name of a page, and its first call costs 250 KB of state. So a user has a limited number of
pages: with one more, the page that they used least recently is forgotten. It goes on as after a restart of the server.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

MAX_PAGES, MAX_PAGES_PER_USER = 2000, 50
"""Pages in all, as many as Gradio keeps the messages of, and of one user."""


class PageOwners:
    """Owners of pages. To be used from one event loop.

    Args:
        forget: Called with the user and the name of a page that is forgotten.
        max_pages: Pages in all.
        max_per_user: Pages of one user.
    """

    def __init__(
        self,
        forget: Callable[[str, str], None],
        *,
        max_pages: int = MAX_PAGES,
        max_per_user: int = MAX_PAGES_PER_USER,
    ) -> None:
        self._forget_page = forget
        self._max_pages, self._max_per_user = max_pages, max_per_user
        self._owners: OrderedDict[str, str] = OrderedDict()
        self._pages: dict[str, OrderedDict[str, None]] = {}

    def owner(self, page: str, user_id: str) -> str:
        """Return the owner of a page, which is now the most recently used one; a new page belongs to this user."""
        owner = self._owners.get(page)
        if owner is not None:
            self._owners.move_to_end(page)
            self._pages[owner].move_to_end(page)
            return owner
        own_pages = self._pages.get(user_id, OrderedDict())
        if len(own_pages) >= self._max_per_user:
            self._forget(next(iter(own_pages)))
        elif len(self._owners) >= self._max_pages:
            self._forget(next(iter(self._owners)))
        self._owners[page] = user_id
        self._pages.setdefault(user_id, OrderedDict())[page] = None
        return user_id

    def _forget(self, page: str) -> None:
        owner = self._owners.pop(page)
        del self._pages[owner][page]
        if not self._pages[owner]:
            del self._pages[owner]
        self._forget_page(owner, page)
