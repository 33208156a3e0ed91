"""docker-compose.yml: a valid compose file, confined, and true to the files that it mounts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from extproc.config.load import load

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads(Path(__file__).with_name("compose.schema.json").read_text())
KEY = "0123456789abcdef0123456789abcdef"


def yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path)  # pyright: ignore[reportUnknownMemberType]


@pytest.fixture
def compose() -> dict[str, Any]:
    return yaml(ROOT / "docker-compose.yml")


@pytest.fixture
def gateway(compose: dict[str, Any]) -> dict[str, Any]:
    return compose["services"]["llm-gateway"]


def problems(compose: object) -> list[str]:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    return [error.json_path for error in validator.iter_errors(compose)]  # pyright: ignore


def test_it_fits_the_schema(compose: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert problems(compose) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("readonly", True),
        ("ports", ["5055-to-5055"]),
        ("healthcheck", {"test": ["CMD", "true"], "interval": 30}),
        ("depends_on", {"redis": {"condition": "ready"}}),
        ("environment", ["NOT A NAME=1"]),
    ],
)
def test_the_schema_refuses(gateway: dict[str, Any], key: str, value: object) -> None:
    found = problems({"services": {"llm-gateway": {**gateway, key: value}}})
    assert found
    assert all(where.startswith("$.services['llm-gateway']") for where in found)


def test_services_are_confined(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["user"].split(":")[0].isdecimal(), name
        assert service["user"].split(":")[0] != "0", name


def test_the_gateway_keeps_its_contract(gateway: dict[str, Any]) -> None:
    assert gateway["ports"] == ["5055:5055"]
    names = [line.partition("=")[0] for line in gateway["environment"]]
    assert names == ["REDIS_HOST", "OLLAMA_ENDPOINT", "OPENAI_API_KEY"]
    assert "llm_gateway_cache:/data" in gateway["volumes"]
    check = gateway["healthcheck"]
    assert (check["interval"], check["timeout"], check["retries"]) == ("30s", "10s", 3)
    assert "localhost', 5055" in check["test"][-1]
    assert "/health'" in check["test"][-1]


def test_all_that_is_named_exists(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", [])) <= services.keys(), name
        assert set(service.get("secrets", [])) <= compose["secrets"].keys(), name
        for source, *_ in (volume.split(":") for volume in service.get("volumes", [])):
            if source.startswith("."):
                assert (ROOT / source).is_file(), source
            else:
                assert source in compose["volumes"], source


def test_secrets_are_never_committed(compose: dict[str, Any]) -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    for secret in compose["secrets"].values():
        assert f"{Path(secret['file']).parent.as_posix()}/" in ignored


def test_prometheus_asks_the_gateway_as_an_admin(compose: dict[str, Any]) -> None:
    (job,) = yaml(ROOT / "docker/prometheus.yml")["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    host, port = target.split(":")
    assert f"{port}:{port}" in compose["services"][host]["ports"]
    secret = Path(job["authorization"]["credentials_file"])
    assert secret.parent == Path("/run/secrets")
    assert secret.name in compose["services"]["prometheus"]["secrets"]


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """The gateway's own file, with its secret in reach."""
    secret = tmp_path / "admin_key"
    secret.write_text(f"{KEY}\n")
    text = (ROOT / "docker/sluice.yaml").read_text()
    assert "/run/secrets/admin_key" in text
    file = tmp_path / "sluice.yaml"
    file.write_text(text.replace("/run/secrets/admin_key", str(secret)))
    yield file


def test_the_mounted_settings_are_good(mounted: Path) -> None:
    settings = load(mounted, {"OLLAMA_ENDPOINT": "", "OPENAI_API_KEY": "sk-x"})
    assert (settings.server.host, settings.server.port) == ("0.0.0.0", 5055)
    assert settings.data.is_relative_to("/data")
    (key,) = settings.keys
    assert key.key is not None
    assert (key.role.value, key.key.reveal()) == ("admin", KEY)
    assert settings.providers["openai"].unavailable is None
