"""HTTP within bounds: time, idle time and size of an answer, whose end is checked; redirects stay on their host."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPHandler, HTTPRedirectHandler, HTTPSHandler, Request, build_opener

IDLE_SECONDS = 60.0  # without a byte
PIECE = 2**16


class BrokenAnswer(Exception):
    """An answer that ends too early or takes too long."""


class RefusedAnswer(Exception):
    """An answer that is too large, or leads to another host: asking again would not help."""


@contextmanager
def opened(request: Request, *, seconds: float) -> Iterator[Any]:
    """The answer to a request, which is cut off after so many seconds, headers and body together.

    Raises HTTPError, OSError, BrokenAnswer, RefusedAnswer and http.client.HTTPException, the latter for what is no HTTP.
    """
    watch = _Watch(seconds)
    opener = build_opener(_PlainHandler(watch), _SecureHandler(watch), _SameHost)
    try:
        with watch, opener.open(request, timeout=IDLE_SECONDS) as response:
            watch.check()
            yield response
            watch.check()
    except HTTPError:
        raise
    except (OSError, HTTPException, BrokenAnswer, ValueError):
        watch.check()
        raise


def body_of(response: HTTPResponse, most: int) -> Iterator[bytes]:
    """The body of an answer in pieces. Raises RefusedAnswer where it is larger than `most`, BrokenAnswer where it ends too early."""
    announced, received = response.length, 0
    if announced is not None and announced > most:
        raise RefusedAnswer(f"the answer has {announced:,} bytes, at most {most:,} are read")
    while piece := response.read1(PIECE):
        received += len(piece)
        if received > most:
            raise RefusedAnswer(f"the answer has more than {most:,} bytes")
        yield piece
    if announced is not None and received < announced:
        raise BrokenAnswer(f"the answer ends after {received:,} of {announced:,} bytes")


class _Watch:
    """Ends the connections of a request when its time is over."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._late = seconds, False
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> _Watch:
        self._timer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()

    def add(self, connected: socket.socket) -> None:
        """Watch this connection too."""
        self._sockets.append(connected)

    def check(self) -> None:
        """Raises BrokenAnswer where the time is over: an answer that was cut off may look like one that has ended."""
        if self._late:
            raise BrokenAnswer(f"the answer takes more than {self._seconds:g} s")

    def _end(self) -> None:
        self._late = True
        for connected in self._sockets:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)


class _PlainHandler(HTTPHandler):
    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self._watch = watch

    def http_open(self, request: Request) -> HTTPResponse:
        """As urllib does it, on a connection that is watched."""
        return self.do_open(partial(_watched, HTTPConnection, self._watch), request)


class _SecureHandler(HTTPSHandler):
    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self._watch = watch

    def https_open(self, request: Request) -> HTTPResponse:
        """As urllib does it, on a connection that is watched."""
        return self.do_open(partial(_watched, HTTPSConnection, self._watch), request)


def _watched(kind: Callable[..., Any], watch: _Watch, host: str, **options: Any) -> Any:
    """A connection of urllib's whose socket the watch gets as soon as it is connected."""
    connection = kind(host, **options)
    connect = connection.connect

    def connect_and_tell() -> None:
        connect()
        watch.add(connection.sock)

    connection.connect = connect_and_tell
    return connection


class _SameHost(HTTPRedirectHandler):
    """Follows redirects to the same host alone, such as from http to https."""

    def redirect_request(self, *answer: Any, **named: Any) -> Request | None:
        """The next request, from the one before and the answer to it; raises RefusedAnswer for another host."""
        before, target = answer[0], str(answer[-1])
        if urlsplit(target).hostname != urlsplit(before.full_url).hostname:
            raise RefusedAnswer(f"it redirects to another host, {urlsplit(target).hostname}")
        return super().redirect_request(*answer, **named)
