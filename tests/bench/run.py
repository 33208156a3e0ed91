"""`make bench`: Sluice beside what it stands on, all in one run.

Systems take turns within each round, so that a slow moment of the machine hits
all of them. Ratios and differences between rows of one run mean something,
single figures do not. Prints Markdown, and leaves it with the raw figures in
`build/bench/` (`report.md`, `report.json`).
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from extproc.supervisor.cores import cores
from tests.bench import dialects, routing
from tests.bench.build import FOLDER, program
from tests.bench.measure import (
    MICRO,
    Clients,
    Sample,
    cpu_seconds,
    machine,
    proportional,
    raise_file_limit,
    resident,
)
from tests.bench.report import Decoding, Held, Point, Run, markdown, write_json
from tests.bench.systems import System, Yard, await_answer
from tests.bench.traffic import SIZES, Case, held, streamed, translated, whole

SLUICE = Run.SLUICE
STREAMS = 5_000
FILES_A_STREAM = 2
"""of Envoy: to the client and to the provider"""
WARM_SECONDS = 0.4

SHORT = (
    *((whole(1), c) for c in (1, 16, 64)),
    *((whole(kb), 16) for kb in SIZES[1:]),
    *((streamed(1), c) for c in (1, 16)),
    *((translated(1), c) for c in (1, 16)),
)
GRID = tuple(
    (kind(kb), c)
    for kind in (whole, streamed, translated)
    for kb in SIZES
    for c in (1, 16, 64, 256)
)


@dataclass(frozen=True, slots=True)
class Bench:
    clients: Clients
    seconds: float
    rounds: int

    def sample(self, system: System, case: Case, concurrency: int, seconds: float) -> Sample:
        """One load on one system, and the processor time that it took there."""
        before = self._spent(system)
        load = self.clients.run(
            system.port, case.request(), case.ending, connections=concurrency, seconds=seconds
        )
        answered = max(1, load.requests)
        spent = {
            p: (after - before[p]) / answered * MICRO for p, after in self._spent(system).items()
        }
        return Sample(load, spent)

    def grid(
        self, systems: Sequence[System], points: Sequence[tuple[Case, int]]
    ) -> dict[Point, list[Sample]]:
        found: dict[Point, list[Sample]] = {}
        for case, concurrency in points:
            able = [s for s in systems if s.translates or not case.translated]
            for system in able:
                await_answer(system.port, case)
                self.sample(system, case, concurrency, WARM_SECONDS)
            for _ in range(self.rounds):
                for system in able:
                    got = self.sample(system, case, concurrency, self.seconds)
                    found.setdefault(Point(system.name, case.name, concurrency), []).append(got)
            say(f"{case.name}, concurrency {concurrency}")
        return found

    def scaling(self, yard: Yard, most: int) -> dict[int, Sample]:
        """The rate of one gateway after another, with ever more workers, at concurrency 64."""
        found: dict[int, Sample] = {}
        for workers in range(1, most + 1):
            with ExitStack() as stack:
                system = yard.within(stack).sluice(f"{workers} workers", workers=workers)
                self.sample(system, whole(1), 64, WARM_SECONDS)
                found[workers] = self.sample(system, whole(1), 64, self.seconds)
        say("scaling")
        return found

    def idle_streams(self, system: System, count: int) -> Held:
        """Streams that began and are silent, `count` of them at once."""
        (worker,), (envoy,) = system.processes["worker"], system.processes["Envoy"]
        with self.clients.hold(system.port, held().request(), 50):
            pass
        before = resident(worker), resident(envoy)
        with self.clients.hold(system.port, held().request(), count) as load:
            after = resident(worker), resident(envoy)
        return Held(load.held, load.failed, load.seconds, *before, *after)

    @staticmethod
    def _spent(system: System) -> dict[str, float]:
        return {p: sum(map(cpu_seconds, pids)) for p, pids in system.processes.items()}


def say(what: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {what}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="every size, kind and concurrency")
    parser.add_argument("--seconds", type=float, default=2.0, help="of one load (default 2)")
    parser.add_argument("--rounds", type=int, default=2, help="(default 2)")
    parser.add_argument("--streams", type=int, default=STREAMS, help="held open (default 5000)")
    parser.add_argument("--workers", type=int, default=cores(), help="at most, for the scaling")
    args = parser.parse_args()
    begun, about = time.monotonic(), machine()
    streams = min(args.streams, raise_file_limit() // FILES_A_STREAM - 500)
    folder = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    bench = Bench(Clients(program("load"), folder), args.seconds, args.rounds)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yard = Yard(stack, folder)
        systems = [yard.direct(), yard.bare()]
        systems.append(yard.noop(Run.NOOP_GRPC, "tests.bench.noop"))
        systems.append(yard.noop(Run.NOOP, "tests.bench.noop_native"))
        systems.append(yard.sluice(Run.SLUICE_GRPC, transport="grpc"))
        systems.append(yard.sluice(SLUICE))
        say("all systems answer")
        with_worker = {s.name for s in systems if "worker" in s.processes}
        holders = with_worker if args.full else {Run.NOOP, SLUICE}
        rest = {s.name: _memory(s) for s in systems}
        samples = bench.grid(systems, GRID if args.full else SHORT)
        run = Run(
            about=about,
            seconds=args.seconds,
            rounds=args.rounds,
            samples=samples,
            memory={s.name: (rest[s.name], _memory(s)) for s in systems},
            streams={s.name: bench.idle_streams(s, streams) for s in systems if s.name in holders},
            scaling=bench.scaling(yard, args.workers),
            decoding=Decoding(*dialects.per_event("openai_chat", "anthropic_messages")),
            routing=routing.measure(yard, bench.clients),
        )
    FOLDER.mkdir(parents=True, exist_ok=True)
    text = markdown(run, time.monotonic() - begun)
    (FOLDER / "report.md").write_text(text)
    write_json(run, FOLDER / "report.json")
    print(text)


def _memory(system: System) -> int:
    """Bytes of the whole process tree, shared pages in proportion."""
    return proportional([pid for pids in system.processes.values() for pid in pids])


if __name__ == "__main__":
    main()
