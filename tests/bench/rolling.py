"""`make bench-rolling`: workers are replaced under load, and no request may fail.

Finds the capacity of a gateway with two workers (the highest rate at which p99
stays within 25 ms), then asks for 60 % of it, with a few streams beside it, while
its workers are rolled (SIGUSR2) again and again. Exit status 1 when a request
failed, or when fewer workers were replaced than was asked.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from tests.bench.build import program
from tests.bench.measure import Clients, Load, machine, raise_file_limit
from tests.bench.run import say
from tests.bench.systems import System, Yard
from tests.bench.traffic import streamed, whole

WORKERS = 2
CONNECTIONS = 64
STREAMS = 4
P99_MS = 25.0
SHARE = 0.6
KEPT_UP = 0.98
"""of the requests that were due, so many must be answered in time for a rate to count"""
_POLL = 0.05
_ROLL_SECONDS = 60.0


def capacity(clients: Clients, system: System, seconds: float, steps: int) -> float:
    """Requests a second, by halving between nothing and what closed loops reach."""

    def holds(rate: float) -> bool:
        load = clients.run(
            system.port,
            case.request(),
            case.ending,
            connections=CONNECTIONS,
            seconds=seconds,
            rate=rate,
        )
        kept_up = load.in_time >= KEPT_UP * rate * seconds
        say(f"{rate:,.0f}/s: p99 {load.p99:.1f} ms{'' if kept_up else ', cannot keep up'}")
        return kept_up and not load.failed and load.p99 <= P99_MS

    case = whole(1)
    most = clients.run(
        system.port, case.request(), case.ending, connections=CONNECTIONS, seconds=seconds
    )
    low, high = 0.0, most.rate * 1.1
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def replaced(system: System) -> int:
    """How many workers were replaced so far, by the gateway's own word."""
    assert system.log is not None
    lines = (line for line in system.log.read_text().splitlines() if line.startswith("{"))
    return sum(json.loads(line)["event"] == "replaced" for line in lines)


def roll(system: System, wanted: int, seconds: float) -> None:
    """Asks for `wanted` replacements, spread over `seconds`; each roll replaces every worker once."""
    (supervisor, _) = system.processes["rest"]
    rolls = -(-wanted // WORKERS)
    begun = time.monotonic()
    for number in range(rolls):
        time.sleep(max(0.0, begun + seconds * number / rolls - time.monotonic()))
        before = replaced(system)
        os.kill(supervisor, signal.SIGUSR2)
        deadline = time.monotonic() + _ROLL_SECONDS
        while replaced(system) < before + WORKERS and time.monotonic() < deadline:
            time.sleep(_POLL)
        say(f"{replaced(system)} workers replaced")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="(default 120)")
    parser.add_argument("--restarts", type=int, default=6, help="of workers (default 6)")
    parser.add_argument(
        "--rate", type=float, help="requests a second, instead of 60 %% of capacity"
    )
    parser.add_argument("--step", type=float, default=3.0, help="seconds of one try of a rate")
    args = parser.parse_args()
    raise_file_limit()
    folder = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    clients = Clients(program("load"), folder)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        print(machine())
        system = Yard(stack, folder).sluice("Sluice", workers=WORKERS)
        rate = args.rate
        if rate is None:
            most = capacity(clients, system, args.step, steps=6)
            rate = SHARE * most
            print(f"capacity: {most:,.0f} requests/s with p99 within {P99_MS:g} ms")
        with ThreadPoolExecutor() as pool:
            loads = [
                pool.submit(_load, clients, system, args.seconds, rate),
                pool.submit(_streams, clients, system, args.seconds),
            ]
            roll(system, args.restarts, args.seconds)
            requests, streams = (load.result() for load in loads)
        restarts = replaced(system)
    failed = requests.failed + streams.failed
    print(
        f"{args.seconds:g} s at {rate:,.0f} requests/s, {restarts} workers replaced:"
        f" {requests.requests:,} of the {rate * args.seconds:,.0f} requests due and"
        f" {streams.requests:,} streams were served, {failed} failed;"
        f" p50 {requests.p50:.1f}, p99 {requests.p99:.1f}, longest {requests.max:.0f} ms"
    )
    sys.exit(failed > 0 or restarts < args.restarts)


def _load(clients: Clients, system: System, seconds: float, rate: float) -> Load:
    case = whole(1)
    return clients.run(
        system.port,
        case.request(),
        case.ending,
        connections=CONNECTIONS,
        seconds=seconds,
        rate=rate,
    )


def _streams(clients: Clients, system: System, seconds: float) -> Load:
    case = streamed(1)
    return clients.run(
        system.port, case.request(), case.ending, connections=STREAMS, seconds=seconds
    )


if __name__ == "__main__":
    main()
