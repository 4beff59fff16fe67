"""The server process: a listening socket, and an end that loses no accepted request."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from shortlist.deploy.serving.app import State
from shortlist.errors import InvalidInput

_ATTACH_FILTER = 26  # SO_ATTACH_FILTER of Linux
_RETURN = 0x06  # BPF_RET | BPF_K: the instruction that keeps so many bytes of a packet, here none
QUIET = 0.3  # seconds after the last new connection until the open ones are taken to be idle


def listening(host: str, port: int) -> socket.socket:
    """Returns a socket that is bound; port 0 is any free one.

    Raises:
        InvalidInput: the address cannot be used.
    """
    bound: socket.socket | None = None
    try:
        if not 0 <= port < 2**16:  # getaddrinfo takes others for their remainder
            raise OSError(0, "a port is a number from 0 to 65,535")
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        if bound is not None:
            bound.close()
        raise InvalidInput(
            f"--host {host} --port {port}: expected a free address of this machine, found: "
            f"{error.strerror or error}; choose another"
        ) from error
    return bound


def take_no_more(bound: socket.socket) -> None:
    """Lets no further connection into the queue of a listening socket; those in it can be accepted.

    Closing the socket resets what came into the queue since the last look. On Linux a filter drops
    all packets that ask for a connection; elsewhere the queue becomes short, which leaves a moment
    in which a connection is lost.
    """
    if not sys.platform.startswith("linux"):
        bound.listen(0)
        return
    drop = ctypes.create_string_buffer(struct.pack("HBBI", _RETURN, 0, 0, 0))
    bound.setsockopt(
        socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(drop))
    )


def serve(
    app: Any,
    state: State,
    bound: socket.socket,
    *,
    timeout: float,
    drain: float,
    started: Callable[[], None],
) -> None:
    """Serves until SIGTERM or SIGINT.

    After the first signal `/health` says so and requests are answered for `drain` seconds more,
    each answer with `Connection: close`; then no connections are taken, and what has been accepted
    is answered. A second signal ends at once.

    Args:
        app: the application.
        state: its state.
        bound: the socket.
        timeout: seconds that an answer may take.
        drain: as above.
        started: called when requests are taken.
    """
    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        server_header=False,
        ws="none",
        http="h11",
        lifespan="on",
        timeout_graceful_shutdown=int(2 * timeout) + 5,
    )
    _Server(config, state, bound, drain, started).run(sockets=[bound])


class _Server(uvicorn.Server):
    def __init__(
        self,
        config: uvicorn.Config,
        state: State,
        bound: socket.socket,
        drain: float,
        started: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._state, self._bound, self._drain, self._on_start = state, bound, drain, started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._state.ending:
            self.should_exit = self.force_exit = True
        self._state.ending = True

    async def main_loop(self) -> None:
        """Runs until the first signal, then ends in order."""
        counter = 0
        while not self._state.ending:
            await self.on_tick(counter)
            counter = (counter + 1) % 864_000
            await asyncio.sleep(0.1)
        until = time.monotonic() + self._drain
        while time.monotonic() < until and not self.force_exit:
            await asyncio.sleep(0.02)
        take_no_more(self._bound)
        await asyncio.sleep(0.05)  # what is in the queue is accepted
        for server in self.servers:
            server.close()
        # A connection that was accepted last gets the time to send its request.
        until = time.monotonic() + QUIET
        while self.server_state.connections and time.monotonic() < until and not self.force_exit:
            await asyncio.sleep(0.02)
