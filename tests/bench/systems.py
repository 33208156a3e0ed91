"""What `make bench` compares, started and ended: all of it real processes on the loopback.

Each system has an Envoy thread for each core; every worker is a process.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from extproc.config.layout import Layout
from extproc.config.names import provider_cluster
from extproc.config.schema import Provider, Server, Settings
from extproc.envoygen.binary import envoy_binary
from extproc.envoygen.render import render
from extproc.envoygen.static import static
from extproc.supervisor.cores import cores
from tests.bench.build import program
from tests.bench.traffic import CLAUDE, KEY, PATH, Case, whole, write_replies
from tests.e2e.processes import children
from tests.ports import free_port

READY_SECONDS = 30
PACE_MS = 5
"""between the events of a stream"""


@dataclass(frozen=True, slots=True)
class System:
    """What listens on `port`. `processes` are those whose time and memory count, by part."""

    name: str
    port: int
    processes: Mapping[str, Sequence[int]] = field(default_factory=dict[str, Sequence[int]])
    translates: bool = False
    log: Path | None = None
    """of the whole gateway, where it is one"""
    config: Path | None = None
    """its file"""


class Yard:
    """Where systems stand: a folder, and a stack that ends what it started."""

    def __init__(self, stack: ExitStack, folder: Path, upstream: int | None = None) -> None:
        """`upstream` is the port of one that runs; None starts one."""
        self._stack = stack
        self._folder = folder
        self._upstream = upstream or self._start_upstream()

    def within(self, stack: ExitStack) -> Yard:
        """The same upstream, for systems that end earlier."""
        return Yard(stack, self._folder, self._upstream)

    def direct(self) -> System:
        return System("upstream directly", self._upstream)

    def bare(self) -> System:
        """Envoy as a plain HTTP proxy."""
        port = free_port()
        return System(
            "bare Envoy", port, {"Envoy": [self._envoy("bare", _bare(port, self._upstream))]}
        )

    def noop(self, name: str, module: str) -> System:
        """Sluice's own Envoy configuration, with a worker that decides nothing.

        Its bodies take the modes of Sluice's: requests and whole replies BUFFERED, streams STREAMED.
        """
        port = free_port()
        folder = self._folder / module
        folder.mkdir()
        socket = folder / "noop.sock"
        command = [sys.executable, "-m", module, str(socket), provider_cluster("acme")]
        worker = self._enter(command, folder / "worker.log")
        assert worker.stdout is not None
        worker.stdout.readline()
        acme = Provider(
            name="acme", dialect="openai_chat", endpoint=self.endpoint("/v1"), models=("*",)
        )
        settings = Settings(server=Server(port=port), providers={"acme": acme})
        layout = Layout(folder / "data", folder / "run")
        layout.envoy.mkdir(parents=True)
        layout.run.mkdir()
        bootstrap = static(render(settings, layout, [socket], None, ()))
        envoy = self._envoy(module, bootstrap)
        return System(name, port, {"Envoy": [envoy], "worker": [worker.pid]})

    def sluice(
        self,
        name: str,
        *,
        transport: str = "native",
        workers: int = 1,
        blocks: Mapping[str, object] | None = None,
    ) -> System:
        """The whole gateway: a key to check, routing, metrics, a log line for each exchange.
        `blocks` of its configuration stand in place of the usual ones."""
        port = free_port()
        folder = self._folder / f"sluice-{port}"
        folder.mkdir()
        config = folder / "sluice.yaml"
        settings = {**self._config(port, folder, transport, workers), **(blocks or {})}
        config.write_text(json.dumps(settings))
        command = [str(Path(sys.executable).with_name("sluice")), "up", "--config", str(config)]
        log = folder / "log"
        running = self._enter(command, log)
        await_answer(port, whole(1))
        found = children(running.pid)
        crew = [pid for part, pid in found.items() if part.startswith("worker")]
        rest = [running.pid, found["admin"]]
        parts = {"Envoy": [found["envoy"]], "worker": crew, "rest": rest}
        return System(name, port, parts, translates=True, log=log, config=config)

    def _config(
        self, port: int, folder: Path, transport: str, workers: int
    ) -> Mapping[str, object]:
        acme = {"dialect": "openai_chat", "endpoint": self.endpoint("/v1"), "models": ["*"]}
        claude = {
            "dialect": "anthropic_messages",
            "endpoint": self.endpoint("/v1"),
            "models": [CLAUDE],
        }
        key = {"api_key": "provider-secret"}
        return {
            "server": {"port": port},
            "workers": workers,
            "transport": transport,
            "data": str(folder / "data"),
            "providers": {"acme": {**acme, **key}, "claude": {**claude, **key}},
            "keys": [{"name": "bench", "key": KEY}],
            "limits": {"connections": 20_000},
            "log": {"access": False, "format": "json"},
        }

    def endpoint(self, path: str) -> str:
        """Of the upstream, as a provider's configuration has it."""
        return f"http://127.0.0.1:{self._upstream}{path}"

    def _start_upstream(self) -> int:
        replies = self._folder / "replies"
        replies.mkdir()
        write_replies(replies)
        command = [str(program("upstream")), str(replies), str(PACE_MS)]
        running = self._enter(command, self._folder / "upstream.log")
        assert running.stdout is not None
        return int(running.stdout.readline())

    def _envoy(self, name: str, bootstrap: Mapping[str, object]) -> int:
        config = self._folder / f"{name}.json"
        config.write_text(json.dumps(bootstrap))
        command = [str(envoy_binary()), "-c", str(config), "--disable-hot-restart"]
        command += ["--concurrency", str(cores()), "-l", "error"]
        return self._enter(command, self._folder / f"{name}.log").pid

    def _enter(self, command: Sequence[str], log: Path) -> subprocess.Popen[str]:
        return self._stack.enter_context(_process(command, log))


@contextmanager
def _process(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[str]]:
    with log.open("a") as sink:
        running = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink, text=True
        )
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(15)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def await_answer(port: int, case: Case) -> None:
    """Returns once `case` is answered as it should be, or raises the last error."""
    head, _, body = case.request().partition(b"\r\n\r\n")
    lines = (line.partition(": ") for line in head.decode().split("\r\n")[1:])
    headers = {name: value for name, _, value in lines if name != "host"}
    url = f"http://127.0.0.1:{port}{PATH}"
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, body, headers), timeout=5
            ) as got:
                reply = got.read()
                assert case.ending.encode() in reply[-32:], reply
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _bare(port: int, upstream: int) -> Mapping[str, object]:
    types = "type.googleapis.com/envoy.extensions.filters"
    route = {"match": {"prefix": "/"}, "route": {"cluster": "upstream", "timeout": "0s"}}
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{types}.http.router.v3.Router"},
    }
    manager = {
        "@type": f"{types}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bare",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [router],
    }
    listener = {
        "name": "bare",
        "address": _address(port),
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": _address(upstream)}}]}]
    cluster = {
        "name": "upstream",
        "type": "STATIC",
        "circuit_breakers": {"thresholds": [{"max_connections": 1 << 20, "max_requests": 1 << 20}]},
        "load_assignment": {"cluster_name": "upstream", "endpoints": endpoints},
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _address(port: int) -> Mapping[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
