"""A worker of its own process with a store of standings: does as it is told, one line at a time.

Takes the data folder and a seat. Each line of its input is an order, each line of its output the
answer as JSON. Its clock is held still and moved by orders, but for `hammer`.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from extproc.model.ports import CALM, Trouble
from extproc.stores.standing import StandingFile
from tests.kit import FakeClock
from tests.routing.health_kit import KEY, Worker, routing


def main(folder: Path, seat: str, now: float) -> None:
    clock = FakeClock(now)
    problems: list[str] = []
    file = StandingFile(folder, clock, problems.append)
    worker = Worker(routing(failures=1), file.seat(seat), clock)
    for line in sys.stdin:
        order, *rest = line.split()
        answer: object = None
        match order:
            case "open":
                file.open()
            case "bad":
                worker.bad()
            case "good":
                worker.good()
            case "left":
                worker.health.left(KEY)
            case "begin":
                worker.begin()
            case "advance":
                clock.advance(float(rest[0]))
            case "sync":
                worker.health.sync()
                answer = worker.state().value
            case "admits":
                answer = worker.health.admits(KEY)
            case "busy":
                answer = worker.health.busy(KEY)
            case "disk_full":
                resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
            case "problems":
                answer = problems
            case "hammer":
                hammer(file, seat)
            case _:
                raise ValueError(order)
        print(json.dumps(answer), flush=True)


def hammer(file: StandingFile, seat: str) -> None:
    """Changes rows without end, and says each time how often that was."""
    shared = file.seat(seat)
    times = 0

    def by(_: str, row: Trouble) -> Trouble:
        return CALM if row.good else Trouble(1.0, 1.0, 1, (f"{seat}:{times}" * (times % 50),))

    while True:
        if shared.change([f"target-{times % 20}"], by) is not None:
            times += 1
            print(times, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
