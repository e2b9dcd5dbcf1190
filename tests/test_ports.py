"""Ports that tests keep: no other process gets them."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

import ports


def test_free_port_returns_each_port_once_and_none_that_system_gives_out() -> None:
    with ThreadPoolExecutor(4) as threads:
        free = list(threads.map(lambda _: ports.free_port(), range(2 * ports.BLOCK)))
    assert len(set(free)) == len(free)
    assert all(ports.FIRST < port < ports.LAST for port in free)


def test_free_port_leaves_out_port_that_is_taken() -> None:
    with socket.create_server((ports.HOST, ports.free_port() + 1)) as taken:
        assert ports.free_port() != taken.getsockname()[1]


def test_block_is_held_by_one_process_only() -> None:
    taken = {ports.free_port() // ports.BLOCK, next(ports._blocks()).start // ports.BLOCK}
    assert next(ports._blocks()).start // ports.BLOCK not in taken


def test_blocks_raise_error_that_says_what_to_do_when_all_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "LAST", ports.FIRST)
    with pytest.raises(RuntimeError, match="end the test runs that are left over"):
        next(ports._blocks())
