"""Objects that last as long as the process, kept out of Python's search for those that nothing reaches any more.

The libraries and the pages are a great many. Each full search looks through all of them, up to a quarter of a second
in which no chat goes on, and several take place while the server starts. So what is made at the start is set aside.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def frozen_startup() -> Iterator[None]:
    """What is there at the end of the block is never looked through again; during the block nothing is."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
