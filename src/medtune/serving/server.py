"""Run the endpoint: one process, one port, until a signal; what waits is answered first."""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import signal
import socket
import sys
from dataclasses import replace
from typing import Any, TextIO, cast

import structlog
import uvicorn

from medtune.core.errors import InputError
from medtune.serving.api.unhandled import SafeStream
from medtune.serving.app import create_app
from medtune.serving.connections import Connection, ConnectionLimits
from medtune.serving.dependencies import Services

BACKLOG = 2048
"""Connections that the system keeps until they are taken in."""
AT_ONCE = 64
"""Connections that are taken in before others have their turn."""
OTHER_FILES = 128
"""Open files beside connections: the store, the model, what is taken in at once."""
SWITCH_S = 0.0005
"""How long one thread may keep the interpreter from another; Python's own are 5 ms."""
DRAIN_S = 60
"""Longest that a stop waits for answers under way."""


class _Server(uvicorn.Server):
    """uvicorn, which takes connections in by small numbers and is quiet when it cannot."""

    def __init__(self, config: uvicorn.Config, room: ConnectionLimits) -> None:
        super().__init__(config)
        self._room = room

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin."""
        asyncio.get_running_loop().set_exception_handler(self._fault)
        await super().startup(sockets)
        for place in sockets or ():
            place.listen(BACKLOG)

    def _fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # asyncio tries again after a second; a traceback for each try fills disks.
        if "out of system resource" in context["message"]:
            self._room.tell("no file left")
        else:
            loop.default_exception_handler(context)


def listen(parts: Services, host: str, port: int, room: ConnectionLimits | None = None) -> None:
    """Answer requests until SIGTERM or SIGINT.

    Args:
        parts: What is served.
        host: Name or address to listen on.
        port: Of TCP.
        room: For how many connections there is room, and their deadlines; None is the usual one.

    Raises:
        InputError: The port cannot be had.
    """
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.EventRenamer("what"),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, SafeStream())),
        cache_logger_on_first_use=True,
    )
    # The model's thread asks for the interpreter between any two products.
    sys.setswitchinterval(SWITCH_S)
    # Anybody can send what is no HTTP; each time is no line in the log.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    bounded = _with_files(room or ConnectionLimits())
    config = uvicorn.Config(
        create_app(parts),
        host=host,
        port=port,
        http=type("Connection", (Connection,), {"room": bounded}),
        ws="none",  # nothing here speaks it, and it would leave the room without a word
        log_config=None,
        access_log=False,  # it would write addresses and paths
        server_header=False,
        proxy_headers=False,  # anybody could claim to be this machine
        backlog=AT_ONCE,
        timeout_graceful_shutdown=DRAIN_S,
    )
    # uvicorn passes a signal on once it has stopped: then the process ends as it should, with 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    with _bound(host, port) as place:
        _Server(config, bounded).run(sockets=[place])


def _with_files(room: ConnectionLimits) -> ConnectionLimits:
    """Ask the system for as many open files as connections need; make do with fewer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = room.most + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        most = max(1, min(room.most, soft - OTHER_FILES))
        room = replace(room, most=most, most_of_one=min(most, room.most_of_one))
    return room


def check_port(host: str, port: int) -> None:
    """Check that a port can be had, before anything is loaded for it.

    Raises:
        InputError: It cannot.
    """
    _bound(host, port).close()


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    place = socket.socket(family, socket.SOCK_STREAM)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        place.bind((host, port))
    except OSError as error:
        place.close()
        taken = error.errno == errno.EADDRINUSE
        raise InputError(
            f"port {port} on {host}: {'in use' if taken else error.strerror}",
            fix="choose another with --port" if taken else "choose another with --host or --port",
        ) from error
    return place
