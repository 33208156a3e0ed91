"""What a transport costs: a no-op worker on grpc.aio and on our own, behind one Envoy each.

`python -m tests.bench.transports [--seconds 2] [--rounds 2]` prints the processor
time of Envoy and of the worker for one exchange, by case and transport.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.bench.measure import cpu_seconds, wrk
from tests.bench.run import (
    CASES,
    MICRO,
    await_answer,
    free_port,
    noop,
    process,
    table,
)

MODULES = {"grpc.aio": "tests.bench.noop", "native": "tests.bench.noop_native"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--cases", type=int, nargs="*", default=[0, 2])
    parser.add_argument("--only", default="")
    parser.add_argument("--concurrency", type=int, default=16)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    rows: list[list[str]] = []
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        port = free_port()
        program = Path(sys.executable).with_name("sluice")
        command = [str(program), "mock", "--port", str(port), "--no-record", "--quiet"]
        stack.enter_context(process(command, log=folder / "mock.log"))
        systems = {}
        for name, module in MODULES.items():
            if args.only in name:
                (folder / name).mkdir()
                systems[name] = noop(stack, folder / name, port, module)
        for system in systems.values():
            await_answer(system.url, CASES[0].body(), system.key)
        for case in [CASES[i] for i in args.cases]:
            found: dict[str, list[tuple[float, float, float, float]]] = {n: [] for n in systems}
            for _ in range(args.rounds):
                for name, system in systems.items():
                    before = {p: cpu_seconds(pid) for p, pid in system.processes.items()}
                    load = wrk(system.url, case.body(), args.concurrency, args.seconds, None)
                    spent = {
                        p: (cpu_seconds(pid) - before[p]) / load.requests * MICRO
                        for p, pid in system.processes.items()
                    }
                    found[name].append((load.rate, spent["envoy"], spent["worker"], load.failed))
            for name, rounds in found.items():
                middle = [statistics.median(column) for column in zip(*rounds, strict=True)]
                rows.append([case.name, name, *(f"{value:,.0f}" for value in middle)])
    print(table(["case", "transport", "req/s", "Envoy us", "worker us", "failed"], rows))


if __name__ == "__main__":
    main()
