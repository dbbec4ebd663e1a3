"""Run the endpoint: one process, one port, until a signal; what waits is answered first."""

from __future__ import annotations

import errno
import signal
import socket
import sys
from typing import TextIO, cast

import structlog
import uvicorn

from medtune.core.errors import InputError
from medtune.serving.app import create_app
from medtune.serving.services import Services
from medtune.serving.unhandled import Unfailing

BACKLOG = 2048
SWITCH_S = 0.0005
"""How long one thread may keep the interpreter from another; Python's own are 5 ms."""
DRAIN_S = 60
"""Longest that a stop waits for answers under way."""


def listen(parts: Services, host: str, port: int) -> None:
    """Answer requests until SIGTERM or SIGINT.

    Raises:
        InputError: The port cannot be had.
    """
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.EventRenamer("what"),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, Unfailing())),
        cache_logger_on_first_use=True,
    )
    # The model's thread asks for the interpreter between any two products.
    sys.setswitchinterval(SWITCH_S)
    config = uvicorn.Config(
        create_app(parts),
        host=host,
        port=port,
        log_config=None,
        access_log=False,  # it would write addresses and paths
        server_header=False,
        proxy_headers=False,  # anybody could claim to be this machine
        backlog=BACKLOG,
        timeout_graceful_shutdown=DRAIN_S,
    )
    # uvicorn passes a signal on once it has stopped: then the process ends as it should, with 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    with _bound(host, port) as place:
        uvicorn.Server(config).run(sockets=[place])


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
