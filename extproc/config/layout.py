"""Where things lie below the data folder. Paths only: nothing here touches the disk.

.sluice/                 0700
  envoy/bootstrap.json   what Envoy is started with
  envoy/xds/<type>/      one folder a type, so that a rename re-reads only that type
  envoy/access.log
  memory/                what conversations said, for the stage of that name
  metrics/               counters that outlive a worker, shared by mmap
  standing/              how targets stand, shared by the workers
  run/                   unix sockets and links to them (elsewhere when the path would be too long)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SOCKET_PATH_MAX = 107
"""bytes in a unix socket's path, `sockaddr_un` of Linux less its final NUL"""


@dataclass(frozen=True, slots=True)
class Layout:
    """`run` is where sockets live; the supervisor chooses it, short enough for SOCKET_PATH_MAX."""

    data: Path
    run: Path

    @property
    def envoy(self) -> Path:
        return self.data / "envoy"

    @property
    def bootstrap(self) -> Path:
        return self.envoy / "bootstrap.json"

    def xds(self, kind: str) -> Path:
        """The folder of one xDS type: lds, cds, rds, ecds, eds (workers) and eds_admin (the admin process)."""
        return self.envoy / "xds" / kind

    @property
    def access_log(self) -> Path:
        return self.envoy / "access.log"

    @property
    def memory(self) -> Path:
        return self.data / "memory"

    @property
    def metrics(self) -> Path:
        return self.data / "metrics"

    @property
    def standing(self) -> Path:
        return self.data / "standing"

    @property
    def envoy_admin_socket(self) -> Path:
        return self.run / "envoy.sock"

    @property
    def copies_socket(self) -> Path:
        """Where Envoy takes our own requests."""
        return self.run / "copies.sock"

    def worker_socket(self, number: int, generation: int) -> Path:
        """A new generation never reuses a path: a server unlinks its own when it stops."""
        return self.run / f"w{number}-{generation}.sock"

    def cuts_socket(self, number: int) -> Path:
        """A link to the socket of the worker that has this number now."""
        return self.run / f"cuts-{number}.sock"

    def admin_socket(self, generation: int) -> Path:
        return self.run / f"admin-{generation}.sock"
