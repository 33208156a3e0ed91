"""What routing costs, for `make bench`: a decision, a failover, a reload.

Decisions are made in this process; failovers and reloads go through a gateway of their own. A
failover's time is that of a call whose first target says 529, the failed attempt included,
beyond a call of a model that has one target. Takes half a minute.
"""

from __future__ import annotations

import json
import statistics
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace

from tests.bench.measure import Clients, Load
from tests.bench.systems import System, Yard, await_answer
from tests.bench.traffic import ILL, ILL_NAMES, KEY, Case, whole
from tests.routing import speed

ROUNDS = 3
SECONDS = 0.7
"""of one load: fewer failures in a row than open a breaker"""
MANY = 64
AT_LEAST = 300
RELOADS = 5
RELOAD_RATE = 200.0
"""calls a second meanwhile"""
_LOGGED_WITHIN = 10
"""seconds"""
_ADMIN = "bench-admin-0123456789abcdef"
KINDS = ("one target", "two targets, the first is well", "one failover", "two failovers")


@dataclass(frozen=True, slots=True)
class Figures:
    """`decisions` are microseconds, by strategy; `condition` is one more of them for each.

    `latencies` are medians in ms, by kind. Of `failovers`, at concurrency 64, so many were
    `lost`. `reloads` are seconds each, while so many `asked` of which so many `failed`.
    """

    decisions: Mapping[str, float]
    condition: float
    latencies: Mapping[str, float]
    failovers: int
    lost: int
    reloads: Sequence[float]
    asked: int
    failed: int

    @property
    def added(self) -> float:
        """Milliseconds."""
        one, _, failover, _ = (self.latencies[kind] for kind in KINDS)
        return failover - one

    @property
    def slowest(self) -> str:
        """The strategy."""
        return max(self.decisions, key=self.decisions.__getitem__)


def measure(yard: Yard, clients: Clients) -> Figures:
    """Blocks. Raises AssertionError where a call did not fail over that should have."""
    with ExitStack() as stack:
        names = _names()
        gateway = yard.within(stack).sluice("routing", blocks=_blocks(yard.endpoint("/v1")))
        await_answer(gateway.port, replace(whole(1), model="sound"))
        latencies = _latencies(gateway, clients, names)
        crowd = _failovers(gateway, clients, _failing(next(names)), 2, MANY)
        assert crowd.requests + crowd.failed >= AT_LEAST, crowd
        reloads, load = _reloads(gateway, clients)
    return Figures(
        decisions=speed.decisions(),
        condition=speed.condition(),
        latencies=latencies,
        failovers=crowd.requests + crowd.failed,
        lost=crowd.failed,
        reloads=reloads,
        asked=load.requests + load.failed,
        failed=load.failed,
    )


def _names() -> Iterator[str]:
    """Each stands for targets that nobody knows yet: what fails here opens no breaker there."""
    return (f"{ILL}-{number}" for number in range(ILL_NAMES))


def _blocks(endpoint: str) -> dict[str, object]:
    serves = {"acme": "*", "spare": "*", "ill": f"{ILL}-*", "worse": f"{ILL}-*"}
    common = {"dialect": "openai_chat", "endpoint": endpoint, "api_key": "provider-secret"}
    acme = "acme/whole-1"
    return {
        "providers": {name: {**common, "models": [models]} for name, models in serves.items()},
        "keys": [
            {"name": "bench", "key": KEY},
            {"name": "root", "key": _ADMIN, "role": "admin"},
        ],
        "models": {
            "single": acme,
            "sound": [acme, "spare/whole-1"],
            "once-*": ["ill/*", acme],
            "twice-*": ["ill/*", "worse/*", acme],
        },
        "routing": {
            "breaker": {"failures": 100_000, "minimum": 100_000},
            "budget": {"percent": 100, "minimum": 1_000_000},
        },
    }


def _failing(name: str, times: str = "once") -> Case:
    return replace(whole(1), model=f"{times}-{name}")


def _latencies(gateway: System, clients: Clients, names: Iterator[str]) -> Mapping[str, float]:
    """The kinds take turns."""
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(ROUNDS):
        cases = (
            replace(whole(1), model="single"),
            replace(whole(1), model="sound"),
            _failing(next(names)),
            _failing(next(names), "twice"),
        )
        for attempts, kind, case in zip((1, 1, 2, 3), KINDS, cases, strict=True):
            found[kind].append(_failovers(gateway, clients, case, attempts, 1).p50)
    return {kind: statistics.median(times) for kind, times in found.items()}


def _failovers(
    gateway: System, clients: Clients, case: Case, attempts: int, connections: int
) -> Load:
    """A load of which each call took so many attempts, by the log."""
    assert gateway.log is not None
    load = clients.run(
        gateway.port, case.request(), case.ending, connections=connections, seconds=SECONDS
    )
    asked = f'"asked":"{case.model}"'
    deadline = time.monotonic() + _LOGGED_WITHIN
    lines: list[str] = []
    while len(lines) < load.requests:
        assert time.monotonic() < deadline, "the log has fewer calls than there were"
        whole_lines = gateway.log.read_text().rpartition("\n")[0].splitlines()
        lines = [line for line in whole_lines if asked in line]
    seen = {json.loads(line)["attempts"] for line in lines}
    assert seen == {attempts}, f"{case.model} took {seen} attempts"
    return load


def _reloads(gateway: System, clients: Clients) -> tuple[Sequence[float], Load]:
    """Each changes where a name leads, while calls of that name go on."""
    assert gateway.config is not None
    config = json.loads(gateway.config.read_text())
    case = replace(whole(1), model="single")
    request = urllib.request.Request(
        f"http://127.0.0.1:{gateway.port}/admin/reload",
        method="POST",
        headers={"authorization": f"Bearer {_ADMIN}"},
    )
    took: list[float] = []
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(
            clients.run,
            gateway.port,
            case.request(),
            case.ending,
            connections=8,
            seconds=RELOADS * 1.5,
            rate=RELOAD_RATE,
        )
        for number in range(RELOADS):
            targets = ("spare/whole-1", "acme/whole-1")[number % 2]
            changed = {**config, "models": {**config["models"], "single": targets}}
            gateway.config.write_text(json.dumps(changed))
            began = time.monotonic()
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert json.load(answer)["result"] == "applied"
            took.append(time.monotonic() - began)
        assert not load.done(), "there was a load all the time"
        return took, load.result()
