"""Run the endpoint: one process, one port, until a signal; pending requests finish first."""

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
from medtune.serving.app import build_app
from medtune.serving.connections import Connection, ConnectionLimits
from medtune.serving.dependencies import Services
from medtune.serving.middleware import SafeStream

BACKLOG = 2048
"""Connections that the system queues until they are accepted."""
ACCEPT_BATCH_SIZE = 64
"""Connections accepted before other events are handled."""
RESERVED_FILES = 128
"""Open files besides connections: the store, the model, connections being accepted."""
SWITCH_INTERVAL_S = 0.0005
"""Interpreter switch interval in seconds; Python's default is 5 ms."""
DRAIN_S = 60
"""Longest that a stop waits for pending replies."""


class _Server(uvicorn.Server):
    """A uvicorn server that accepts connections in small batches and logs little under load."""

    def __init__(self, config: uvicorn.Config, limits: ConnectionLimits) -> None:
        super().__init__(config)
        self._limits = limits

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening."""
        asyncio.get_running_loop().set_exception_handler(self._handle_loop_error)
        await super().startup(sockets)
        for place in sockets or ():
            place.listen(BACKLOG)

    def _handle_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # asyncio retries every second; a traceback for each retry would fill the disk.
        if "out of system resource" in context["message"]:
            self._limits.count_event("no file left")
        else:
            loop.default_exception_handler(context)


def run_server(
    services: Services, host: str, port: int, limits: ConnectionLimits | None = None
) -> None:
    """Serve requests until SIGTERM or SIGINT.

    Raises:
        InputError: The port is not available.
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
    # The model's thread needs the interpreter between any two products.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    # Anybody can send invalid HTTP; that does not fill the log.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    bounded = _raise_file_limit(limits or ConnectionLimits())
    config = uvicorn.Config(
        build_app(services),
        host=host,
        port=port,
        http=type("Connection", (Connection,), {"limits": bounded}),
        ws="none",  # unused, and an upgraded connection would not release its slot
        log_config=None,
        access_log=False,  # it would write addresses and paths
        server_header=False,
        proxy_headers=False,  # anybody could claim to be this machine
        backlog=ACCEPT_BATCH_SIZE,
        timeout_graceful_shutdown=DRAIN_S,
    )
    # uvicorn re-raises a signal once it has stopped: this lets the process exit with 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    with _bind_socket(host, port) as place:
        _Server(config, bounded).run(sockets=[place])


def _raise_file_limit(limits: ConnectionLimits) -> ConnectionLimits:
    """Raise the limit of open files to what the connections need; if it cannot, allow fewer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.max_connections + RESERVED_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        most = max(1, min(limits.max_connections, soft - RESERVED_FILES))
        limits = replace(
            limits, max_connections=most, max_per_address=min(most, limits.max_per_address)
        )
    return limits


def check_port(host: str, port: int) -> None:
    """Check that a port is available, before anything is loaded.

    Raises:
        InputError: It is not.
    """
    _bind_socket(host, port).close()


def _bind_socket(host: str, port: int) -> socket.socket:
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
