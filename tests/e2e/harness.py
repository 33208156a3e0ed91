"""A real `sluice up` below a test: its configuration, its life, its log, its clients.

Takes keyword blocks of the configuration and gives a running `Gateway`. Every
process that it starts is ended by its id, whatever the test did.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, BinaryIO

import httpx
import openai

from extproc.mock import MockProvider
from tests.e2e.processes import children, command_line, descendants, eventually, kill
from tests.ports import free_port

SLUICE = Path(sys.executable).with_name("sluice")
TRANSPORT = os.environ.get("SLUICE_TRANSPORT", "native")
"""how the workers of every gateway serve Envoy: `native` or `grpc`; `make e2e` plays all tests on both"""
START_TIMEOUT = 40.0
STOP_TIMEOUT = 20.0

PROVIDER_KEY = "provider-secret-5f1c0a7e"
ADMIN_KEY = "admin-key-b7c1f2d3e4a5"
ALICE_KEY = "alice-key-0d9e8f7a6b5c"
BOB_KEY = "bob-key-1a2b3c4d5e6f"
SECRETS = (PROVIDER_KEY, ADMIN_KEY, ALICE_KEY, BOB_KEY)

KEYS: Sequence[Mapping[str, object]] = (
    {"name": "root", "key": "${ADMIN_KEY}", "role": "admin"},
    {"name": "alice", "key": "${ALICE_KEY}", "models": ["*"]},
    {"name": "bob", "key": "${BOB_KEY}", "models": ["gpt-4o-mini", "fast"]},
)
Line = Mapping[str, Any]


def closed_port() -> int:
    """A port that is ours as long as this process lives, and where nobody listens."""
    return _CLOSED.getsockname()[1]


_CLOSED = socket.socket()
_CLOSED.bind(("127.0.0.1", 0))


def providers(mock: MockProvider) -> dict[str, Any]:
    """`acme` is the mock; `quick` is the mock for the impatient; `absent` refuses connections."""
    key = "${ACME_KEY}"
    return {
        "acme": {
            "dialect": "openai_chat",
            "endpoint": mock.base_url,
            "api_key": key,
            "models": ["gpt-4o", "gpt-4o-mini"],
            "security_level": "high",
            "cost_per_token": 0.001,
        },
        "quick": {
            "dialect": "openai_chat",
            "endpoint": mock.base_url,
            "api_key": key,
            "models": ["quick-model"],
            "timeout": "400ms",
        },
        "absent": {
            "dialect": "openai_chat",
            "endpoint": f"http://127.0.0.1:{closed_port()}/v1",
            "api_key": key,
            "models": ["absent-model"],
        },
    }


class Gateway:
    """One `sluice up`. `mock` is the provider behind it, `key` what its clients send."""

    def __init__(
        self,
        folder: Path,
        mock: MockProvider,
        *,
        key: str | None = None,
        env: Mapping[str, str] | None = None,
        stderr: Path | None = None,
        text: str | None = None,
        ca: Path | None = None,
        **blocks: object,
    ) -> None:
        """`blocks` are those of `sluice.yaml`. `stderr` is where its log goes instead of a file in
        `folder`, and is not read then. `text` is a whole configuration of the test's own; `ca` is whom its clients trust."""
        self.folder = folder
        self.mock = mock
        self.key = key
        self.data = folder / "data"
        self.log_path = stderr or folder / "log"
        self.port = 0 if stderr is None else free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.ca = ca
        self._seen: set[int] = set()
        self._collector: Thread | None = None
        config = folder / "sluice.yaml"
        # JSON is YAML.
        config.write_text(text or json.dumps(self._config(blocks)))
        if stderr is None:
            # A gateway that is started again begins a new log.
            self.log_path.unlink(missing_ok=True)
        log = self.log_path.open("ab", buffering=0) if stderr else self._collected()
        self.process = subprocess.Popen(
            [str(SLUICE), "up", "--config", str(config)],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "ACME_KEY": PROVIDER_KEY,
                "ADMIN_KEY": ADMIN_KEY,
                "ALICE_KEY": ALICE_KEY,
                "BOB_KEY": BOB_KEY,
                **(env or {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
        log.close()

    def _collected(self) -> BinaryIO:
        """A pipe into the log file: only a pipe keeps a line whole whose writer is killed meanwhile."""
        read, write = os.pipe()

        def collect() -> None:
            with os.fdopen(read, "rb", buffering=0) as source, self.log_path.open("ab", 0) as sink:
                while piece := source.read(1 << 16):
                    sink.write(piece)

        self._collector = Thread(target=collect, daemon=True)
        self._collector.start()
        return os.fdopen(write, "wb", buffering=0)

    def _config(self, blocks: Mapping[str, object]) -> Mapping[str, object]:
        return {
            "server": {"host": "127.0.0.1", "port": self.port},
            "workers": 2,
            "transport": TRANSPORT,
            "data": str(self.data),
            "providers": providers(self.mock),
            "models": {"fast": [{"provider": "acme", "model": "gpt-4o-mini"}]},
            "log": {"format": "json"},
            **blocks,
        }

    def wait_until_ready(self) -> None:
        """Returns once `/health/ready` says so."""
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            assert self.process.poll() is None, f"it ended: {self.log_text()}"
            assert time.monotonic() < deadline, f"not ready in time: {self.log_text()}"
            if self._found() and self.is_ready():
                return
            time.sleep(0.02)

    def is_ready(self) -> bool:
        """Whether an exchange can succeed now, by the gateway's own word."""
        try:
            with self.http() as client:
                return client.get("/health/ready", timeout=3.0).status_code == 200
        except httpx.HTTPError:
            return False

    def _found(self) -> bool:
        """Whether it is known where it listens; its log says so where it chose the port itself."""
        if not self.port:
            ready = [line for line in self.log_lines() if line["event"] == "ready"]
            if ready:
                self.url = ready[-1]["url"].replace("//0.0.0.0:", "//127.0.0.1:")
                self.port = httpx.URL(self.url).port or 0
        return self.port > 0

    # Clients.

    def http(self, key: str | None = None, **options: Any) -> httpx.Client:
        """A plain client; sends `key`, else nothing."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(
            base_url=self.url,
            headers={**headers, **options.pop("headers", {})},
            trust_env=False,
            timeout=10.0,
            verify=self.trust,
            **options,
        )

    @property
    def trust(self) -> ssl.SSLContext | bool:
        """What a client of it takes as `verify`."""
        return ssl.create_default_context(cafile=self.ca) if self.ca else True

    def openai(self, **options: Any) -> openai.OpenAI:
        """The stock SDK, without retries of its own."""
        return openai.OpenAI(
            **{
                "base_url": f"{self.url}/v1",
                "api_key": self.key or "none-needed",
                "max_retries": 0,
                "timeout": 10.0,
                "http_client": openai.DefaultHttpxClient(trust_env=False, verify=self.trust),
                **options,
            }
        )

    def async_openai(self, **options: Any) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            **{
                "base_url": f"{self.url}/v1",
                "api_key": self.key or "none-needed",
                "max_retries": 0,
                "timeout": 10.0,
                "http_client": openai.DefaultAsyncHttpxClient(trust_env=False, verify=self.trust),
                **options,
            }
        )

    @property
    def auth(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"} if self.key else {}

    # What can be seen of it.

    def log_text(self) -> str:
        if self._collector is not None and self.process.poll() is not None:
            self._collector.join(1)
        return self.log_path.read_text() if self.log_path.is_file() else "(no log)"

    def log_lines(self) -> list[Line]:
        """Every whole line so far. All of them are JSON, whatever happened."""
        whole, _, _ = self.log_text().rpartition("\n")
        return [self._line(line) for line in whole.splitlines()]

    @staticmethod
    def _line(text: str) -> Line:
        try:
            return json.loads(text)
        except ValueError:
            raise AssertionError(f"not a line of our log: {text[:5000]}") from None

    def wait_log(self, wanted: Callable[[Line], bool], timeout: float = 5.0) -> Line:
        """The first line that is wanted, as soon as it is there."""
        return eventually(
            lambda: next(filter(wanted, self.log_lines()), None) or {},
            timeout,
            "the wanted log line",
        )

    def wait_exchange(self, call_id: str) -> Line:
        """The log line of an exchange."""
        return self.wait_log(lambda line: line["event"] == "exchange" and line["call"] == call_id)

    def access_lines(self) -> list[Line]:
        """Envoy's access log."""
        path = self.data / "envoy" / "access.log"
        whole, _, _ = (path.read_text() if path.is_file() else "").rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def metric(self, name: str, **labels: str) -> float:
        """The sum over all series of this name that have these labels."""
        with self.http(ADMIN_KEY if self.key else None) as client:
            answer = client.get("/metrics", params={"format": "prometheus"})
        assert answer.status_code == 200, answer.text
        total = 0.0
        for line in answer.text.splitlines():
            series, _, value = line.rpartition(" ")
            if series.partition("{")[0] == name and all(
                f'{key}="{wanted}"' in series for key, wanted in labels.items()
            ):
                total += float(value)
        return total

    def pids(self) -> dict[str, int]:
        """The processes of its parts: `worker-1`, `worker-2`, `admin`, `envoy`."""
        found = children(self.process.pid)
        self._seen.update(found.values())
        return found

    def sockets(self) -> list[Path]:
        """Unix sockets below its data folder, links followed."""
        run = self.data / "run"
        return [path for path in run.iterdir() if path.is_socket()] if run.is_dir() else []

    # Its end.

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        """Asks it to stop, and gives its exit status."""
        self.pids()
        self.signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT)

    def destroy(self) -> None:
        """Ends whatever of it still runs: politely, so that it cleans up, and then by force."""
        below = descendants(self.process.pid) | self._seen
        ours = (str(self.folder), str((self.data / "run").resolve()))
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            for _ in range(2):
                self.signal(signal.SIGTERM)
            try:
                self.process.wait(5.0)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        # Every part has a path of this gateway's on its command line; a number may be taken again.
        lines = {pid: " ".join(command_line(pid)) for pid in below}
        kill({pid for pid, line in lines.items() if any(path in line for path in ours)})
        if self._collector is not None:
            self._collector.join(5)


@contextmanager
def running(folder: Path, mock: MockProvider, **options: Any) -> Iterator[Gateway]:
    """A gateway that is ready. Whatever clients and providers do, nothing of ours may fail over it:
    at the end its log has no errors."""
    gateway = Gateway(folder, mock, **options)
    try:
        gateway.wait_until_ready()
        yield gateway
        failed = [line for line in gateway.log_lines() if line["level"] == "error"]
        assert not failed, f"errors in its log: {failed[:3]}"
    finally:
        gateway.destroy()
