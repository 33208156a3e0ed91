"""What the workers agree on about a target, as a test says."""

from __future__ import annotations

from extproc.routing.breaker import State
from extproc.routing.health import View


def seen(state: State, *, until: float = 0.0, since: float = 0.0, busy: int = 0) -> View:
    return View(
        state=state,
        until=until,
        since=since,
        busy=busy,
        trials=0,
        attempts=5,
        failed=4,
        slow=0,
        failed_in_a_row=3,
        latency=0.25,
        throughput=None,
    )
