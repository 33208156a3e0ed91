"""Without keys nobody but this machine is served, whatever the gateway is bound to."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NAMESPACE = ["unshare", "-Urn"]


def can_make_a_network() -> bool:
    if not shutil.which("unshare") or not shutil.which("ip"):
        return False
    return subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode == 0


def test_a_peer_that_is_not_loopback_is_refused(tmp_path: Path) -> None:
    if not can_make_a_network():
        pytest.skip("this user may not make a network namespace")
    done = subprocess.run(
        [*NAMESPACE, sys.executable, "-m", "tests.e2e.foreign_peer", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=90,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    for asked in ("/v1/models", "/metrics", "/query", "lies", "lies to management"):
        status, text = answers[asked]
        assert status == 401, (asked, status, text)
        assert "sluice keys create" in text
    assert answers["/health"][0] == 200
    assert answers["loopback"][0] == 200
    assert answers["provider saw"] == 0
    assert "no keys" in answers["said"]
