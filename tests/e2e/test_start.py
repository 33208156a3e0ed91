"""Where and how a gateway starts: deep folders, taken ports, the service's own configuration."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from extproc.mock import MockProvider
from tests.e2e.harness import SLUICE, Gateway
from tests.ports import free_port

SERVICE_CONFIG = Path(__file__).with_name("service_config.yaml")


def test_a_data_folder_that_lies_deep(make_gateway: Callable[..., Gateway], tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    gateway = make_gateway(workers=1, data=str(deep))
    gateway.data = deep
    with gateway.http() as client:
        assert client.post("/query", json={"prompt": "hi"}).status_code == 200
    run = (deep / "run").resolve()
    assert len(str(run)) < 80
    assert gateway.sockets()
    assert gateway.stop() == 0
    assert not run.exists()
    assert not (deep / "run").is_symlink()


def test_the_other_loopback(make_gateway: Callable[..., Gateway]) -> None:
    """IPv6: the peer `::1` is this machine too."""
    if not has_ipv6():
        pytest.skip("this machine has no ::1")
    gateway = make_gateway(workers=1, server={"host": "::1", "port": 0})
    assert gateway.url.startswith("http://[::1]:")
    with gateway.http() as client:
        answer = client.post("/query", json={"prompt": "hi"})
        assert answer.status_code == 200
        assert client.get("/metrics").status_code == 200
    assert gateway.wait_exchange(answer.headers["x-sluice-call-id"])["peer"] == "::1"


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_a_port_that_is_taken(keyless: Gateway, tmp_path: Path) -> None:
    config = tmp_path / "sluice.yaml"
    config.write_text(f"data: {tmp_path}/data\nlog: {{format: json}}\n")
    done = subprocess.run(
        [SLUICE, "up", "--config", config, "--port", str(keyless.port)],
        capture_output=True,
        text=True,
        timeout=30,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 1
    assert f"port {keyless.port}" in done.stderr
    assert "server.port" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_services_own_configuration_works_as_it_stands(
    mock: MockProvider, tmp_path: Path
) -> None:
    """No provider can be used without its key, so the built-in mock answers, and says so."""
    port = free_port()
    gateway = Gateway(
        tmp_path,
        mock,
        text=SERVICE_CONFIG.read_text(),
        env={"LLM_GATEWAY_PORT": str(port), "LLM_GATEWAY_HOST": "127.0.0.1"},
    )
    gateway.port, gateway.url = port, f"http://127.0.0.1:{port}"
    try:
        gateway.wait_until_ready()
        with gateway.http() as client:
            answer = client.post("/query", json={"prompt": "Hello, world!"}).json()
        assert answer["provider"] == "mock"
        said = [line for line in gateway.log_lines() if line["level"] == "warning"]
        assert any("OPENAI_API_KEY" in json.dumps(line) for line in said)
        assert {line["block"] for line in said if line["event"] == "no effect yet"} == {
            "rate_limiting",
            "security",
            "cache",
            "metrics",
        }
        assert "mock" in gateway.pids()
        assert gateway.stop() == 0
    finally:
        gateway.destroy()
