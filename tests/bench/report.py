"""The figures of one `make bench`, as Markdown: tables, targets met or missed, the peers beside them.

Takes a `Run`; measures nothing.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from tests.bench import peers
from tests.bench.measure import Load, Sample
from tests.bench.routing import KINDS, Figures
from tests.bench.traffic import Case, reply, streamed, translated, whole

MB = 1 << 20
MANY = 16
"""the concurrency at which rates and processor time are compared"""


@dataclass(frozen=True, slots=True)
class Point:
    system: str
    case: str
    concurrency: int


@dataclass(frozen=True, slots=True)
class Held:
    """Streams held open on one worker, opened within `seconds`; resident bytes before and after."""

    held: int
    failed: int
    seconds: float
    worker_before: int
    envoy_before: int
    worker: int
    envoy: int


@dataclass(frozen=True, slots=True)
class Decoding:
    """Microseconds of one streamed event in a dialect alone."""

    untouched: float
    translated: float


@dataclass(frozen=True, slots=True)
class Run:
    """All that was measured. `memory` is bytes of a process tree at rest and after the loads."""

    DIRECT: ClassVar = "upstream directly"
    BARE: ClassVar = "bare Envoy"
    NOOP_GRPC: ClassVar = "Envoy + no-op grpc.aio"
    NOOP: ClassVar = "Envoy + no-op native"
    SLUICE_GRPC: ClassVar = "Sluice on grpc.aio"
    SLUICE: ClassVar = "Sluice"

    about: str
    seconds: float
    rounds: int
    samples: Mapping[Point, Sequence[Sample]]
    memory: Mapping[str, tuple[int, int]]
    streams: Mapping[str, Held]
    scaling: Mapping[int, Sample]
    decoding: Decoding
    routing: Figures

    def load(self, system: str, case: Case, concurrency: int, of: Callable[[Load], float]) -> float:
        """The median of the rounds."""
        samples = self.samples[Point(system, case.name, concurrency)]
        return statistics.median(of(sample.load) for sample in samples)

    def cpu(self, system: str, case: Case, part: str, concurrency: int = MANY) -> float:
        """Microseconds an exchange; the median of the rounds."""
        samples = self.samples[Point(system, case.name, concurrency)]
        return statistics.median(sample.cpu[part] for sample in samples)


@dataclass(frozen=True, slots=True)
class Target:
    what: str
    measured: float
    limit: float
    unit: str
    at_least: bool = False

    def row(self) -> Sequence[str]:
        met = self.measured >= self.limit if self.at_least else self.measured <= self.limit
        by = abs(self.measured - self.limit)
        sign = ">=" if self.at_least else "<="
        wanted, found = (_figure(value, self.unit) for value in (self.limit, self.measured))
        verdict = "met" if met else f"missed by {_figure(by, self.unit)}"
        return self.what, f"{sign} {wanted}", found, verdict


def targets(run: Run) -> Sequence[Target]:
    one, ten, stream, other = whole(1), whole(10), streamed(1), translated(1)
    sluice, noop = Run.SLUICE, Run.NOOP

    def both(case: Case) -> float:
        return run.cpu(sluice, case, "Envoy") + run.cpu(sluice, case, "worker")

    def an_event(case: Case) -> float:
        beyond = run.cpu(sluice, case, "worker") - run.cpu(sluice, one, "worker")
        return beyond / len(reply(case))

    def added(of: Callable[[Load], float]) -> float:
        return run.load(sluice, one, 1, of) - run.load(Run.DIRECT, one, 1, of)

    rate = run.load(sluice, one, MANY, lambda load: load.rate)
    grpc = run.load(Run.NOOP_GRPC, one, MANY, lambda load: load.rate)
    held = run.streams[sluice]
    return (
        Target("no-op exchange, worker", run.cpu(noop, one, "worker"), 40, "us"),
        Target("whole pipeline, worker, 1 KB", run.cpu(sluice, one, "worker"), 100, "us"),
        Target("whole pipeline, worker, 10 KB", run.cpu(sluice, ten, "worker"), 150, "us"),
        Target(
            "Envoy + worker, 1 KB (Envoy's share with the no-op, + 100)",
            both(one),
            run.cpu(noop, one, "Envoy") + 100,
            "us",
        ),
        Target(
            "Envoy + worker, a stream of 50 events (Envoy's share with the no-op STREAMED, + 0.8)",
            both(stream) / 1e3,
            run.cpu(noop, stream, "Envoy") / 1e3 + 0.8,
            "ms",
        ),
        Target("an event untouched, decoding alone", run.decoding.untouched, 5, "us"),
        Target(
            "an event translated, decoding and encoding alone", run.decoding.translated, 15, "us"
        ),
        Target("an event untouched, worker with transport", an_event(stream), 12, "us"),
        Target("an event translated, worker with transport", an_event(other), 22, "us"),
        Target("requests per second, against the no-op on grpc.aio", rate / grpc, 2, "x", True),
        Target(
            "requests per second, against LiteLLM with one worker (quoted)",
            rate / peers.LITELLM_RATE,
            40,
            "x",
            True,
        ),
        Target("latency added at concurrency 1, p50", added(lambda load: load.p50), 0.6, "ms"),
        Target("latency added at concurrency 1, p99", added(lambda load: load.p99), 1.5, "ms"),
        Target("p99 at concurrency 64", run.load(sluice, one, 64, lambda load: load.p99), 25, "ms"),
        Target(f"{held.held:,} idle streams on one worker, resident", held.worker / MB, 150, "MB"),
        *_routing_targets(run.routing),
    )


def _routing_targets(found: Figures) -> Sequence[Target]:
    slowest = found.decisions[found.slowest]
    return (
        Target(f"a decision among 50 targets, by {found.slowest}", slowest, 15, "us"),
        Target("a condition of the model that is asked, more", found.condition, 10, "us"),
        Target("a failover after a 529, the failed attempt included", found.added, 3, "ms"),
        Target(f"lost of {found.failovers:,} failovers at concurrency 64", found.lost, 0, "calls"),
        Target("a reload under load, median", statistics.median(found.reloads), 1, "s"),
        Target(f"lost of {found.asked:,} calls during reloads", found.failed, 0, "calls"),
    )


def markdown(run: Run, took: float) -> str:
    figures = [target.row() for target in targets(run)]
    return "\n\n".join(
        [
            f"{run.about}; {run.rounds} rounds of {run.seconds:g} s; the whole took {took:.0f} s.",
            "CPU is microseconds an exchange; latencies are in ms and, but for p99, beyond the"
            " upstream directly. A streamed reply has an event each 5 ms.",
            _table(("what", "target", "measured", ""), figures),
            _exchanges(run),
            _table(
                ("system", "MB at rest", "MB after the loads"),
                [
                    (name, *(f"{size / MB:.0f}" for size in sizes))
                    for name, sizes in run.memory.items()
                ],
            ),
            _streams(run),
            _table(
                ("workers", "requests/s at 64", "p99 ms", "Envoy us", "worker us"),
                [
                    (str(n), f"{s.load.rate:,.0f}", f"{s.load.p99:.1f}", *_shares(s))
                    for n, s in run.scaling.items()
                ],
            ),
            _table(
                ("decision among 50 targets", *run.routing.decisions, "each condition"),
                [("us", *(f"{us:.1f}" for us in _decisions(run.routing)))],
            ),
            _table(
                ("through Envoy, concurrency 1", *KINDS),
                [("p50 ms", *(f"{run.routing.latencies[kind]:.2f}" for kind in KINDS))],
            ),
            peers.markdown(),
        ]
    )


def write_json(run: Run, path: Path) -> None:
    """Every round of every point, for those who want to compute something else."""
    whole_run = {
        "about": run.about,
        "samples": [
            {**asdict(point), "rounds": [asdict(sample) for sample in samples]}
            for point, samples in run.samples.items()
        ],
        "memory": {name: list(sizes) for name, sizes in run.memory.items()},
        "streams": {name: asdict(held) for name, held in run.streams.items()},
        "scaling": {str(n): asdict(sample) for n, sample in run.scaling.items()},
        "decoding": asdict(run.decoding),
        "routing": asdict(run.routing),
        "targets": [asdict(target) for target in targets(run)],
    }
    path.write_text(json.dumps(whole_run, indent=1))


def _decisions(found: Figures) -> Sequence[float]:
    return (*found.decisions.values(), found.condition)


def _exchanges(run: Run) -> str:
    rows: list[Sequence[str]] = []
    for point, samples in run.samples.items():
        middle = _middle(samples)
        base = _middle(run.samples.get(Point(Run.DIRECT, *_untranslated(point)), samples))
        rows.append(
            (
                point.case,
                str(point.concurrency),
                point.system,
                f"{middle['rate']:,.0f}",
                *(
                    f"{middle[part]:,.0f}" if part in middle else "-"
                    for part in ("Envoy", "worker")
                ),
                f"{middle['p50'] - base['p50']:+.2f}",
                f"{middle['p99']:.2f}",
                f"{middle['first_p50'] - base['first_p50']:+.2f}",
                str(sum(sample.load.failed for sample in samples)),
            )
        )
    header = ("case", "at once", "system", "requests/s", "Envoy us", "worker us")
    return _table((*header, "added p50", "p99", "first event added", "failed"), rows)


def _untranslated(point: Point) -> tuple[str, int]:
    return point.case.removesuffix(", translated"), point.concurrency


def _middle(samples: Sequence[Sample]) -> Mapping[str, float]:
    """The medians of the rounds, by name."""
    each = [
        {
            "rate": s.load.rate,
            **{k: getattr(s.load, k) for k in ("p50", "p99", "first_p50")},
            **s.cpu,
        }
        for s in samples
    ]
    return {name: statistics.median(one[name] for one in each) for name in each[0]}


def _streams(run: Run) -> str:
    rows = [
        (
            name,
            f"{held.held:,}",
            f"{held.seconds:.1f}",
            f"{held.worker_before / MB:.0f}",
            f"{held.worker / MB:.0f}",
            f"{(held.worker - held.worker_before) / max(1, held.held) / 1024:.1f}",
            f"{(held.envoy - held.envoy_before) / max(1, held.held) / 1024:.1f}",
            str(held.failed),
        )
        for name, held in run.streams.items()
    ]
    header = ("idle streams on one worker", "open", "within s", "worker MB before", "worker MB")
    return _table((*header, "worker KB a stream", "Envoy KB a stream", "failed"), rows)


def _shares(sample: Sample) -> Sequence[str]:
    return [f"{sample.cpu[part]:,.0f}" for part in ("Envoy", "worker")]


def _figure(value: float, unit: str) -> str:
    digits = 0 if abs(value) >= 100 or unit in ("MB", "calls") else 1 if unit in ("us", "x") else 2
    return f"{value:,.{digits}f} {unit}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
