"""What all exchanges of a worker share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from extproc.flow.copying import Copying, Probe, Shadow
from extproc.flow.live import Live
from extproc.flow.snapshot import Snapshot
from extproc.model.call import CallId
from extproc.model.errors import Unauthenticated
from extproc.model.ports import Clock
from extproc.routing.health import Health
from extproc.telemetry.log import Log

if TYPE_CHECKING:
    from extproc.flow.exchange import Exchange

Mark: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(slots=True, eq=False)
class Machine:
    """`snapshot` is pinned by an exchange when it begins; a reload makes another machine, with the
    same of all else."""

    snapshot: Snapshot
    live: Live
    clock: Clock
    log: Log
    address: str = ""
    """the socket at which the hop reaches this worker, as Envoy knows it"""
    known: Health | None = None
    running: dict[CallId, Exchange] = field(default_factory=dict[CallId, "Exchange"])
    """exchanges whose attempts come through the hop"""
    copying: Copying | None = None
    """where shadow copies go, and how what is ours is known again; without one, none is made"""
    mark: Mark = ()
    """what a plan says of this worker, so that Envoy's log finds it"""

    @property
    def health(self) -> Health:
        """How targets stand. Without one that lasts, it begins with nothing known."""
        if self.known is None:
            self.known = Health(self.snapshot.settings.routing, self.clock)
        return self.known

    def known_by(self, token: str) -> Shadow | Probe:
        """What a request of ours is that came back. Raises Unauthenticated."""
        if self.copying is None:
            raise Unauthenticated("No request of the gateway's own is expected.")
        return self.copying.known(token)
