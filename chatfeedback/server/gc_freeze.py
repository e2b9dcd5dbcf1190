"""Freeze startup objects (`gc.freeze`), so that full garbage collections do not rescan them.

Imported libraries and the pages live as long as the process. A full collection scans all of them, which stops every
chat for up to a quarter of a second. Several collections would also run while the server starts.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def frozen_startup() -> Iterator[None]:
    """Disable garbage collection during the block, and freeze all objects that exist at its end."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
