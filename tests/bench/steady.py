"""`make soak`: a steady rate for long, and memory that stays flat.

By default 10,000 requests a minute for half an hour: a third of them 10 KB, a few
streams beside them. Prints a line for each part of the time, then the whole. Exit
status 1 when a request failed or a worker's memory grew in the second half.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from tests.bench.build import program
from tests.bench.measure import Clients, Load, machine, raise_file_limit, resident
from tests.bench.run import say
from tests.bench.systems import System, Yard
from tests.bench.traffic import Case, streamed, whole

PARTS = 10
CONNECTIONS = 32
STREAMS = 2
GROWTH = 1.05
"""by which a process may be larger at the end than in the middle"""
MB = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="(default 30)")
    parser.add_argument("--rate", type=float, default=10_000.0, help="a minute (default 10,000)")
    args = parser.parse_args()
    raise_file_limit()
    folder = Path(tempfile.mkdtemp(prefix="sluice-soak-"))
    clients = Clients(program("load"), folder)
    seconds = args.minutes * 60 / PARTS
    loads: list[Load] = []
    sizes: list[dict[str, int]] = []
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        print(machine())
        system = Yard(stack, folder).sluice("Sluice", workers=2)
        for part in range(PARTS):
            loads += _part(clients, system, seconds, args.rate / 60)
            sizes.append(_sizes(system))
            told = ", ".join(f"{name} {size / MB:.0f} MB" for name, size in sizes[-1].items())
            say(f"{(part + 1) * seconds / 60:.0f} min: {told}")
    failed = sum(load.failed for load in loads)
    steady = [load for load in loads if load.p99 and load.max]
    print(
        f"{sum(load.requests for load in loads):,} requests in {args.minutes:g} minutes,"
        f" {failed} failed; p99 at most {max(load.p99 for load in steady[::3]):.1f} ms (1 KB);"
        f" memory {_change(sizes[PARTS // 2 - 1], sizes[-1])}"
    )
    grown = any(sizes[-1][name] > size * GROWTH for name, size in sizes[PARTS // 2 - 1].items())
    sys.exit(failed > 0 or grown)


def _part(clients: Clients, system: System, seconds: float, rate: float) -> list[Load]:
    """1 KB, 10 KB and streams, side by side."""

    def run(case: Case, connections: int, rate: float) -> Load:
        return clients.run(
            system.port,
            case.request(),
            case.ending,
            connections=connections,
            seconds=seconds,
            rate=rate,
        )

    with ThreadPoolExecutor() as pool:
        small = pool.submit(run, whole(1), CONNECTIONS, rate * 2 / 3)
        large = pool.submit(run, whole(10), CONNECTIONS, rate / 3)
        streams = pool.submit(run, streamed(1), STREAMS, 0.0)
        return [small.result(), large.result(), streams.result()]


def _sizes(system: System) -> dict[str, int]:
    return {
        f"{part} {at}" if len(pids) > 1 else part: resident(pid)
        for part, pids in system.processes.items()
        if part != "rest"
        for at, pid in enumerate(pids, 1)
    }


def _change(before: dict[str, int], after: dict[str, int]) -> str:
    return ", ".join(
        f"{name} {size / MB:.0f} -> {after[name] / MB:.0f} MB" for name, size in before.items()
    )


if __name__ == "__main__":
    main()
