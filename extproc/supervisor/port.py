"""Makes sure of the port before anything starts, and keeps it while the gateway lives.

The kept socket is bound but never listens, so it takes no connection; Envoy
binds beside it with SO_REUSEPORT. While Envoy restarts nobody else can take
the port.
"""

from __future__ import annotations

import errno
import socket
import time

from extproc.supervisor.errors import CannotStart

_PATIENCE = 1.0
"""seconds: the Envoy of a gateway that was killed needs a moment to go"""


def take(host: str, port: int) -> socket.socket:
    """Binds `host:port` (0: any free one). The socket's own name says which it is.

    Raises `CannotStart` when the port is taken, not allowed or not ours.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise CannotStart(f"cannot resolve server.host {host!r}: {error.strerror}.") from error
    try:
        if port:
            _probe(family, address)
        keeper = socket.socket(family, socket.SOCK_STREAM)
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        keeper.bind(address)
    except OSError as error:
        raise CannotStart(_explain(error, host, port)) from error
    return keeper


def _probe(family: socket.AddressFamily, address: tuple[object, ...]) -> None:
    """Binds without SO_REUSEPORT, which would share the port with another gateway of ours."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or time.monotonic() >= deadline:
                    raise
            else:
                return
        time.sleep(0.05)


def _explain(error: OSError, host: str, port: int) -> str:
    how = "Choose another with `server.port` in the config file, LLM_GATEWAY_PORT or `--port`."
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {port} on {host} is taken by another program. {how}"
        case errno.EACCES:
            return f"port {port} on {host} may not be opened by this user. {how}"
        case errno.EADDRNOTAVAIL:
            return f"{host} is not an address of this machine. Change `server.host`."
        case _:
            return f"cannot open port {port} on {host}: {error.strerror}. {how}"
