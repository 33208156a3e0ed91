"""Ports for tests, from below the range that the system hands out by itself.

Envoy shares a port with whoever else asks to share it, so a port that the system
gives to two tests at once would mix their traffic instead of failing.
"""

from __future__ import annotations

import secrets
import socket

_FIRST, _COUNT = 15_000, 15_000
_TRIES = 100


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    for _ in range(_TRIES):
        port = _FIRST + secrets.randbelow(_COUNT)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")
