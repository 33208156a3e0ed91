"""The command line, as a person or a script meets it: output, messages, exit status."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from extproc.config.load import load
from extproc.flow.identify import Identifier

SLUICE = Path(sys.executable).with_name("sluice")
CONFIG = """
providers:
  acme:
    dialect: openai_chat
    endpoint: http://127.0.0.1:9001/v1
    api_key: ${ACME_KEY}
    models: [gpt-4o]
"""
KEY = {"ACME_KEY": "acme-secret-1234"}


def run(
    *arguments: object, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SLUICE), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        stdin=subprocess.DEVNULL,
        env={"PATH": "/usr/bin:/bin", **(env or {})},
        cwd=cwd,
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "sluice.yaml"
    file.write_text(CONFIG)
    return file


def test_version() -> None:
    done = run("--version")
    assert done.returncode == 0
    assert re.fullmatch(r"sluice \d+\.\d+\.\d+\n", done.stdout)


def test_version_and_help_load_nothing_heavy() -> None:
    code = (
        "import sys\nfrom extproc.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'grpc', 'uvicorn', 'starlette', 'google.protobuf', 'ruamel', 'httpx'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_names_every_command_of_people_and_none_of_ours() -> None:
    done = run("--help")
    assert done.returncode == 0
    for command in ("up", "check", "schema", "envoy", "explain", "keys", "mock"):
        assert re.search(rf"^    {command} ", done.stdout, re.MULTILINE)
    assert "worker" not in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [(), ("nonsense",), ("up", "--port", "65536"), ("up", "--workers", "0"), ("up", "--por", "1")],
)
def test_wrong_command_line(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_check_of_a_good_file(config: Path) -> None:
    done = run("check", config, env=KEY)
    assert (done.returncode, done.stderr) == (0, "")
    assert "acme: openai_chat" in done.stdout
    assert KEY["ACME_KEY"] not in done.stdout


def test_check_names_the_variable_that_is_not_set(config: Path) -> None:
    done = run("check", config)
    assert done.returncode == 2
    assert "providers.acme: api_key: ACME_KEY is not set" in done.stderr


@pytest.mark.parametrize("command", ["check", "envoy"])
def test_errors_have_a_place(config: Path, command: str) -> None:
    config.write_text("server: {prot: 1}\nworkers: many\n")
    done = run(command, config)
    assert done.returncode == 2
    assert f"{config}:1:10:" in done.stderr
    assert f"{config}:2:10:" in done.stderr
    assert "Traceback" not in done.stderr


def test_up_with_errors_starts_nothing(config: Path) -> None:
    config.write_text("server: {prot: 1}\n")
    done = run("up", cwd=config.parent)
    assert done.returncode == 2
    assert "sluice.yaml:1:10:" in done.stderr
    assert list(config.parent.iterdir()) == [config]


def test_up_without_the_file_it_is_given(tmp_path: Path) -> None:
    done = run("up", "--config", tmp_path / "none.yaml")
    assert done.returncode == 2
    assert "none.yaml: cannot be read" in done.stderr


def test_schema() -> None:
    done = run("schema")
    assert done.returncode == 0
    assert "providers" in json.loads(done.stdout)["properties"]


def test_envoy_prints_one_whole_configuration(config: Path) -> None:
    done = run("envoy", config, env=KEY)
    whole = json.loads(done.stdout)
    names = {cluster["name"] for cluster in whole["static_resources"]["clusters"]}
    assert {"extproc", "admin", "deny", "provider-acme"} <= names
    assert KEY["ACME_KEY"] not in done.stdout


def test_envoy_prints_the_files_apart(config: Path) -> None:
    done = run("envoy", config, "--xds", env=KEY)
    assert list(json.loads(done.stdout)) == [
        "bootstrap",
        "eds",
        "eds_admin",
        "cds",
        "ecds",
        "rds",
        "lds",
    ]


def test_a_new_key_is_let_in_by_the_line_that_is_printed(config: Path) -> None:
    done = run("keys", "create", "--name", "1e3", "--role", "admin", "--models", "gpt-4o, fast")
    assert done.returncode == 0
    key = re.search(r"^  (sluice-\S+)$", done.stdout, re.MULTILINE)
    line = re.search(r"^  - \{.*\}$", done.stdout, re.MULTILINE)
    assert key is not None
    assert line is not None
    assert key[1] not in line[0]
    config.write_text(f"{CONFIG}keys:\n{line[0]}\n")
    identifier = Identifier(load(config, KEY).keys, b"s")
    caller = identifier.identify({"authorization": f"Bearer {key[1]}"}, "", "192.0.2.1")
    assert (caller.name, caller.role, caller.models) == (
        "1e3",
        "admin",
        frozenset({"gpt-4o", "fast"}),
    )


def test_a_key_needs_a_name_that_the_configuration_takes() -> None:
    done = run("keys", "create", "--name", "two words")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--name: found 'two words', expected" in done.stderr


@pytest.mark.parametrize("arguments", [("schema",), ("keys", "create", "--name", "a")])
def test_output_that_a_full_disk_did_not_take_is_a_failure(arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [SLUICE, *arguments], stdout=full, stderr=subprocess.PIPE, check=False, timeout=30
        )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("part", [("worker", "1"), ("admin",)])
def test_parts_of_a_gateway_do_nothing_alone(part: tuple[str, ...], tmp_path: Path) -> None:
    done = run(*part, "--socket", tmp_path / "s")
    assert done.returncode == 2
    assert "sluice up" in done.stderr
    assert not (tmp_path / "s").exists()
