"""A whole gateway through the real Envoy: who may start, what is left, what is told."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import SLUICE
from tests.e2e.processes import children, descendants, eventually, is_alive, kill

pytestmark = pytest.mark.e2e

START = 30.0
SECRET = "provider-secret-9a8b7c"


class Up:
    """A `sluice up` without any provider, so with the built-in mock."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.data = folder / ".sluice"
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(SLUICE), "up", "--port", "0", "--workers", "1", *arguments],
                cwd=folder,
                env={"PATH": os.environ["PATH"], "SOME_SECRET": SECRET},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )

    def lines(self) -> list[dict[str, str]]:
        whole, _, _ = self._log.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def said(self, event: str) -> dict[str, str]:
        return next((line for line in self.lines() if line["event"] == event), {})

    def wait_ready(self) -> int:
        """Returns the port."""
        ready = eventually(lambda: self.said("ready"), START, "ready")
        return int(ready["url"].rpartition(":")[2])

    def parts(self) -> dict[str, int]:
        return children(self.process.pid)

    def destroy(self) -> None:
        below = descendants(self.process.pid)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        kill(below)
        run = self.data / "run"
        if run.is_symlink():
            # Sockets lie elsewhere where the test's folder lies deep, and a killed gateway left them.
            shutil.rmtree(run.resolve(), ignore_errors=True)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    started: list[Up] = []

    def start(name: str = "one", *arguments: str) -> Up:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        started.append(Up(folder, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.destroy()


def test_life_and_end(up: Callable[..., Up]) -> None:
    gateway = up()
    gateway.wait_ready()
    assert set(gateway.parts()) == {"worker-1", "admin", "mock", "envoy"}
    assert gateway.said("no keys: serving loopback peers only")
    assert gateway.said("no provider can be used: the built-in mock answers, and it only pretends")
    assert stat.S_IMODE(gateway.data.stat().st_mode) == 0o700
    parts = descendants(gateway.process.pid)
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(15) == 0
    assert not [pid for pid in parts if is_alive(pid)]
    assert not (gateway.data / "run").exists()
    assert not [line for line in gateway.lines() if line["level"] == "error"]


def test_no_secret_is_where_others_can_read_it(up: Callable[..., Up]) -> None:
    gateway = up()
    gateway.wait_ready()
    pids = gateway.parts()
    environment = Path(f"/proc/{pids['envoy']}/environ").read_bytes()
    assert SECRET.encode() not in environment
    for pid in pids.values():
        assert SECRET.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_signal_while_it_starts(up: Callable[..., Up]) -> None:
    gateway = up()
    eventually(lambda: "worker-1" in gateway.parts(), START)
    gateway.process.send_signal(signal.SIGINT)
    assert gateway.process.wait(15) == 0
    assert not (gateway.data / "run").exists()
    assert not gateway.said("ready")


def test_sighup_reads_the_environment_where_there_is_no_file(up: Callable[..., Up]) -> None:
    gateway = up()
    gateway.wait_ready()
    before = gateway.parts()
    gateway.process.send_signal(signal.SIGHUP)
    eventually(lambda: gateway.said("configuration unchanged"))
    assert gateway.parts() == before


def test_a_signal_before_it_is_ready_is_kept(up: Callable[..., Up]) -> None:
    gateway = up()
    eventually(lambda: "worker-1" in gateway.parts(), START)
    gateway.process.send_signal(signal.SIGHUP)
    gateway.wait_ready()
    eventually(lambda: gateway.said("configuration unchanged"))


def test_a_stop_in_the_middle_of_a_reload(up: Callable[..., Up]) -> None:
    gateway = up()
    gateway.wait_ready()
    (gateway.folder / "sluice.yaml").write_text("limits: {idle_timeout: 7s}\n")
    gateway.process.send_signal(signal.SIGHUP)
    candidate = gateway.data / "envoy" / "candidate.json"
    eventually(candidate.exists)
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(15) == 0
    assert not candidate.exists()
    assert not gateway.said("configuration applied")
    assert not [line for line in gateway.lines() if line["level"] == "error"]


def test_a_file_that_appears_is_read(up: Callable[..., Up]) -> None:
    gateway = up()
    gateway.wait_ready()
    (gateway.folder / "sluice.yaml").write_text("models: {fast: mock/any}\n")
    refused = eventually(lambda: gateway.said("configuration refused"))
    assert refused["why"] == "a file changed"
    (gateway.folder / "sluice.yaml").write_text("limits: {idle_timeout: 7s}\n")
    applied = eventually(lambda: gateway.said("configuration applied"))
    assert "limits.idle_timeout" in applied["changes"]


def test_two_gateways_on_one_data_folder(up: Callable[..., Up]) -> None:
    first = up()
    first.wait_ready()
    done = subprocess.run(
        [str(SLUICE), "up", "--port", "0"],
        cwd=first.folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.returncode == 1
    assert f"another gateway (process {first.process.pid}) uses the data folder" in done.stderr
    assert first.process.poll() is None
    assert (first.data / "run" / "envoy.sock").is_socket()


def test_the_port_stays_ours_while_envoy_is_away(up: Callable[..., Up]) -> None:
    gateway = up()
    port = gateway.wait_ready()
    old = gateway.parts()["envoy"]
    os.kill(old, signal.SIGSTOP)
    os.kill(old, signal.SIGKILL)
    with socket.socket() as thief, pytest.raises(OSError, match="Address already in use"):
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", port))
    eventually(lambda: gateway.parts().get("envoy", old) != old)

    def accepts() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    eventually(accepts)


def test_every_part_comes_back(up: Callable[..., Up]) -> None:
    gateway = up()
    gateway.wait_ready()
    for name, old in gateway.parts().items():
        os.kill(old, signal.SIGKILL)
        eventually(lambda name=name, old=old: gateway.parts().get(name, old) != old, wanted=name)


def test_killed_supervisor_then_the_same_folder_again(up: Callable[..., Up]) -> None:
    gateway = up()
    port = gateway.wait_ready()
    parts = descendants(gateway.process.pid)
    gateway.process.kill()
    gateway.process.wait()
    again = up("one", "--port", str(port))
    assert again.wait_ready() == port
    assert not [pid for pid in parts if is_alive(pid)]
