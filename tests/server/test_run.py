"""The socket that the server listens on."""

from __future__ import annotations

import asyncio
import socket

import pytest

from chatfeedback.server.run import _listen


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_listen_opens_socket_whose_connections_send_at_once(host: str) -> None:
    """The head and the body of an answer are two packets; the second must not wait until the first is acknowledged."""
    connected: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def note(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        connected.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    listening = _listen(host, 0)
    async with await asyncio.start_server(note, sock=listening):
        _reader, writer = await asyncio.open_connection(*listening.getsockname()[:2])
        assert await connected == 1
        writer.close()
        await writer.wait_closed()
