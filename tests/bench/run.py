"""`make bench`: Sluice beside what it stands on, in one run.

Five systems, an Envoy thread for each core and one worker each:
the mock provider alone, a bare Envoy, Envoy with an ext_proc server that decides
nothing (on grpc.aio, and on our own transport), and Sluice with its whole default pipeline. Prints Markdown; ratios and
differences between rows of one run mean something, single figures do not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from extproc.config.layout import Layout
from extproc.config.names import provider_cluster
from extproc.config.schema import Provider, Server, Settings
from extproc.envoygen.binary import envoy_binary
from extproc.envoygen.render import render
from extproc.envoygen.static import static
from extproc.supervisor.cores import cores
from tests.bench import dialects
from tests.bench.measure import Load, cpu_seconds, hold_open, resident, wrk
from tests.ports import free_port

KEY = "bench-key-0123456789abcdef"
MODEL = "gpt-4o-mini"
EVENTS = 50
READY_SECONDS = 20
MICRO = 1e6
NOOP = "Envoy + no-op grpc.aio"
NATIVE = "Envoy + no-op native"
SLUICE = "Sluice"


@dataclass
class System:
    """Something that answers at `url`. Processes whose time is counted, by part."""

    name: str
    url: str
    key: str | None = None
    processes: dict[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True)
class Case:
    name: str
    prompt: int
    stream: bool

    def body(self, directive: str = f"[[mock events={EVENTS}]]") -> bytes:
        text = ("lorem ipsum dolor " * (self.prompt // 18 + 1))[: self.prompt] + directive
        request: dict[str, object] = {
            "model": MODEL,
            "messages": [{"role": "user", "content": text}],
        }
        if self.stream:
            request["stream"] = True
        return json.dumps(request, separators=(",", ":")).encode()


CASES = [
    Case("1 KB whole", 1 << 10, stream=False),
    Case("10 KB whole", 10 << 10, stream=False),
    Case("1 KB stream", 1 << 10, stream=True),
    Case("10 KB stream", 10 << 10, stream=True),
]


@contextmanager
def process(command: list[str], *, log: Path, **options: object) -> Iterator[subprocess.Popen[str]]:
    with log.open("a") as sink:
        running = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=sink,
            text=True,
            **options,  # type: ignore[call-overload]
        )
        try:
            yield running
        finally:
            running.send_signal(signal.SIGTERM)
            try:
                running.wait(10)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


def await_answer(url: str, body: bytes, key: str | None) -> None:
    """Returns once `url` answers 200, or raises TimeoutError."""
    deadline = time.monotonic() + READY_SECONDS
    headers = {"content-type": "application/json", "authorization": f"Bearer {key or 'none'}"}
    while True:
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, body, headers), timeout=5
            ) as got:
                got.read()
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def envoy(stack: ExitStack, folder: Path, bootstrap: dict[str, object], name: str) -> int:
    config = folder / f"{name}.json"
    config.write_text(json.dumps(bootstrap))
    command = [str(envoy_binary()), "-c", str(config), "--disable-hot-restart"]
    command += ["--concurrency", str(cores()), "-l", "error"]
    return stack.enter_context(process(command, log=folder / f"{name}.log")).pid


def bare(stack: ExitStack, folder: Path, upstream: int) -> System:
    """Envoy as a plain HTTP proxy."""
    port = free_port()
    types = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{types}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bare",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {"match": {"prefix": "/"}, "route": {"cluster": "mock", "timeout": "0s"}}
                    ],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{types}.http.router.v3.Router"},
            }
        ],
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": upstream}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    bootstrap: dict[str, object] = {
        "static_resources": {
            "listeners": [
                {
                    "name": "bare",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                    "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
                }
            ],
            "clusters": [
                {
                    "name": "mock",
                    "type": "STATIC",
                    "load_assignment": {"cluster_name": "mock", "endpoints": endpoints},
                }
            ],
        }
    }
    pid = envoy(stack, folder, bootstrap, "bare")
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    return System("bare Envoy", url, processes={"envoy": pid})


def noop(stack: ExitStack, folder: Path, upstream: int, name: str, module: str) -> System:
    """Sluice's own Envoy configuration, with a worker that decides nothing."""
    port = free_port()
    folder = folder / module
    folder.mkdir()
    worker_socket = folder / "noop.sock"
    command = [
        sys.executable,
        "-m",
        module,
        str(worker_socket),
        provider_cluster("acme"),
    ]
    worker = stack.enter_context(process(command, log=folder / "noop-worker.log"))
    assert worker.stdout is not None
    worker.stdout.readline()
    settings = Settings(
        server=Server(port=port),
        providers={
            "acme": Provider(
                name="acme",
                dialect="openai_chat",
                endpoint=f"http://127.0.0.1:{upstream}/v1",
                models=("*",),
            )
        },
    )
    layout = Layout(folder / "noop", folder / "noop-run")
    layout.envoy.mkdir(parents=True)
    layout.run.mkdir()
    bootstrap = static(render(settings, layout, [worker_socket], None, ()))
    pid = envoy(stack, folder, bootstrap, "noop")
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    return System(name, url, processes={"envoy": pid, "worker": worker.pid})


def sluice(stack: ExitStack, folder: Path, upstream: int) -> System:
    """The whole gateway: a key to check, metrics, a log line for each exchange."""
    port = free_port()
    config = folder / "sluice.yaml"
    config.write_text(
        f"server: {{port: {port}}}\nworkers: 1\ndata: {folder / 'data'}\n"
        f"providers:\n  acme:\n    dialect: openai_chat\n"
        f"    endpoint: http://127.0.0.1:{upstream}/v1\n    api_key: provider-secret\n"
        f'    models: ["*"]\nkeys:\n  - {{name: bench, key: {KEY}}}\n'
        "log: {access: false, format: json}\n"
    )
    program = Path(sys.executable).with_name("sluice")
    command = [str(program), "up", "--config", str(config)]
    running = stack.enter_context(process(command, log=folder / "sluice.log"))
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    await_answer(url, CASES[0].body(), KEY)
    parts: dict[str, int] = {}
    for pid in children(running.pid):
        line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        if b" worker 1" in line:
            parts["worker"] = pid
        elif b"envoy" in line and b"--concurrency" in line:
            parts["envoy"] = pid
    return System(SLUICE, url, key=KEY, processes=parts)


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *children(int(child))]
    return found


@dataclass
class Result:
    """Rounds of one case on one system. `cpu` is microseconds of processor time an exchange, by part."""

    loads: list[Load] = field(default_factory=list[Load])
    alone: list[Load] = field(default_factory=list[Load])
    cpu: list[dict[str, float]] = field(default_factory=list[dict[str, float]])

    def micros(self, part: str) -> float:
        return statistics.median(round_[part] for round_ in self.cpu)

    @property
    def failed(self) -> int:
        return sum(load.failed for load in (*self.loads, *self.alone))


def measure(system: System, case: Case, seconds: float, result: Result) -> None:
    """One round: a short warm-up, then concurrency 16, then concurrency 1."""
    body = case.body()
    wrk(system.url, body, 16, 1, system.key)
    before = {part: cpu_seconds(pid) for part, pid in system.processes.items()}
    load = wrk(system.url, body, 16, seconds, system.key)
    after = {part: cpu_seconds(pid) for part, pid in system.processes.items()}
    result.loads.append(load)
    result.cpu.append({p: (after[p] - before[p]) / load.requests * MICRO for p in before})
    result.alone.append(wrk(system.url, body, 1, 1, system.key))


Results: TypeAlias = "dict[tuple[str, str], Result]"
"""by the names of system and case"""


def measure_all(systems: list[System], rounds: int, seconds: float) -> Results:
    """Systems take turns within each round, so that a slow minute of the machine hits all of them."""
    results: Results = {(s.name, c.name): Result() for s in systems for c in CASES}
    for case in CASES:
        for _ in range(rounds):
            for system in systems:
                measure(system, case, seconds, results[system.name, case.name])
    return results


def held_streams(system: System, count: int) -> float:
    """Bytes of a worker's memory that one open stream keeps."""
    body = Case("", 1 << 10, stream=True).body("[[mock stall=forever@1]]")

    async def run() -> float:
        worker = system.processes["worker"]
        for writer in await hold_open(system.url, body, 50, system.key):
            writer.close()
        await asyncio.sleep(0.5)
        before = resident(worker)
        writers = await hold_open(system.url, body, count, system.key)
        held = resident(worker) - before
        for writer in writers:
            writer.close()
        return held / count

    return asyncio.run(run())


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def report(results: Results, systems: list[System]) -> str:
    rows: list[list[str]] = []
    for case in CASES:
        direct = results[systems[0].name, case.name]
        for system in systems:
            got = results[system.name, case.name]
            rate = statistics.median(load.rate for load in got.loads)
            row = [case.name, system.name, f"{rate:,.0f}"]
            row += [
                f"{got.micros(part):,.0f}" if part in system.processes else "-"
                for part in ("envoy", "worker")
            ]
            for name in ("p50", "p99"):
                mine = statistics.median(getattr(load, name) for load in got.alone)
                base = statistics.median(getattr(load, name) for load in direct.alone)
                row.append(f"{mine - base:+.2f}")
            rows.append([*row, str(got.failed)])
    header = ["case", "system", "req/s c16", "Envoy us", "worker us"]
    return table([*header, "added p50 ms c1", "added p99 ms c1", "failed"], rows)


def ours(results: Results, case: str, nothing: str = NOOP) -> float:
    """Microseconds of the worker's time that are ours: beyond the no-op's, round by round."""
    pairs = zip(results[SLUICE, case].cpu, results[nothing, case].cpu, strict=True)
    return statistics.median(mine["worker"] - theirs["worker"] for mine, theirs in pairs)


def need_wrk() -> None:
    if shutil.which("wrk"):
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "wrk"]):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return
    sys.exit("make bench needs wrk: install the package `wrk` of your system.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3, help="of load a round (default 3)")
    parser.add_argument("--rounds", type=int, default=2, help="(default 2)")
    parser.add_argument("--streams", type=int, default=400, help="held open for the memory figure")
    args = parser.parse_args()
    need_wrk()
    folder = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        port = free_port()
        program = Path(sys.executable).with_name("sluice")
        command = [str(program), "mock", "--port", str(port), "--no-record", "--quiet"]
        stack.enter_context(process(command, log=folder / "mock.log"))
        direct = System("mock directly", f"http://127.0.0.1:{port}/v1/chat/completions")
        systems = [direct, bare(stack, folder, port)]
        systems.append(noop(stack, folder, port, NOOP, "tests.bench.noop"))
        systems.append(noop(stack, folder, port, NATIVE, "tests.bench.noop_native"))
        systems.append(sluice(stack, folder, port))
        for system in systems:
            await_answer(system.url, CASES[0].body(), system.key)
        rest = {s.name: resident(s.processes["worker"]) for s in systems if "worker" in s.processes}
        results = measure_all(systems, args.rounds, args.seconds)
        held = {s.name: held_streams(s, args.streams) for s in systems if "worker" in s.processes}
        print(report(results, systems))
        print()
        per_event = (
            ours(results, "1 KB stream", NATIVE) - ours(results, "1 KB whole", NATIVE)
        ) / stream_events(direct)
        print(
            table(
                ["figure", "measured", "target"],
                [
                    [
                        "our CPU beyond the no-op on grpc.aio, 1 KB whole",
                        f"{ours(results, '1 KB whole'):.0f} us",
                        "< 120 us",
                    ],
                    [
                        "our CPU beyond the no-op on our transport, 1 KB whole",
                        f"{ours(results, '1 KB whole', NATIVE):.0f} us",
                        "",
                    ],
                    [
                        "the same, 10 KB whole",
                        f"{ours(results, '10 KB whole', NATIVE):.0f} us",
                        "",
                    ],
                    [
                        "our CPU, an untouched event, beyond the no-op",
                        f"{per_event:.1f} us",
                        "< 8 us",
                    ],
                    ["worker at rest", f"{rest[SLUICE] / 2**20:.0f} MB", "< 80 MB"],
                    [
                        "an open stream beyond the no-op's",
                        f"{(held[SLUICE] - held[NATIVE]) / 1024:.1f} KB",
                        "< 15 KB",
                    ],
                ],
            )
        )
        print()
        print(dialects.report())


def stream_events(system: System) -> int:
    """How many events the mock's stream has, so that a cost can be told for one."""
    request = urllib.request.Request(
        system.url, CASES[2].body(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as got:
        return got.read().count(b"data:")


if __name__ == "__main__":
    main()
