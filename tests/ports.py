"""Ports of 127.0.0.1 that a test run keeps, so that a server can leave its port and come back to it.

A port that the system gives for 0 is free for all once it is closed: another test, or any outgoing connection, may have
it a moment later. Ours lie below those. A process takes a block of them by listening on the block's first port for
as long as it lives, and gives out the others, each once.
"""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator

FIRST, LAST, BLOCK = 20_000, 32_000, 100
"""Systems give out ports from 32,768 (Linux) or 49,152 (others) on. A browser refuses none of these."""
HOST = "127.0.0.1"
_held: list[socket.socket] = []
_one_at_a_time = threading.Lock()


def free_port() -> int:
    """Return a port that no server listens on, and that no other call, in any process, returns meanwhile.

    Raises RuntimeError when all blocks are taken.
    """
    with _one_at_a_time:
        return next(port for port in _ports if _can_listen(port))


def _blocks() -> Iterator[range]:
    for first in range(FIRST, LAST, BLOCK):
        holder = socket.socket()  # without SO_REUSEADDR: two processes must not hold the same block
        try:
            holder.bind((HOST, first))
            holder.listen()
        except OSError:
            holder.close()
            continue
        _held.append(holder)
        yield range(first + 1, first + BLOCK)
    raise RuntimeError(f"All ports from {FIRST} to {LAST} are taken: end the test runs that are left over.")


def _can_listen(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen()
        except OSError:
            return False
    return True


_ports = itertools.chain.from_iterable(_blocks())
