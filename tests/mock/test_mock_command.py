"""`sluice mock` as a process."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from extproc.mock import MockProvider

PROGRAM = """
import argparse, sys
from extproc.mock import add_arguments, run
parser = argparse.ArgumentParser()
add_arguments(parser)
sys.exit(run(parser.parse_args()))
"""


@contextmanager
def started(*args: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PROGRAM, *args]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline()


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_serves_until_told_to_stop(told: signal.Signals) -> None:
    with started("--port", "0") as process:
        line = first_line(process)
        assert line.startswith("mock provider on http://127.0.0.1:")
        assert line.endswith("/v1\n")
        base = line.split()[-1]
        with urlopen(f"{base}/models", timeout=5) as reply:
            assert reply.status == 200
        process.send_signal(told)
        out, err = process.communicate(timeout=5)
        assert (process.returncode, out, err) == (0, "", "")


def test_a_taken_port() -> None:
    with MockProvider.running() as mock:
        port = mock.url.rpartition(":")[2]
        with started("--port", port) as process:
            _, err = process.communicate(timeout=10)
        assert process.returncode == 1
        assert f"cannot listen on 127.0.0.1:{port}: " in err
        assert "Traceback" not in err


def test_a_replay_file_that_is_not_there(tmp_path: Path) -> None:
    with started("--replay", str(tmp_path / "none.jsonl")) as process:
        _, err = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "none.jsonl" in err
    assert "Traceback" not in err
