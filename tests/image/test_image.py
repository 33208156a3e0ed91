"""The Dockerfile: what it promises, and its steps run below a scratch folder."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image.dockerfile import Image, parse

ROOT = Path(__file__).resolve().parents[2]
STEPS = parse((ROOT / "Dockerfile").read_text())
START_WITHIN = 60.0
END_WITHIN = 40.0


def last(word: str) -> str:
    return [step.rest for step in STEPS if step.word == word][-1]


def test_it_runs_as_nobody_in_particular() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last("USER"))


def test_what_is_copied_exists_and_reaches_the_builder() -> None:
    let_in = [
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"
    ]
    copies = [step.rest.split() for step in STEPS if step.word == "COPY"]
    names = {n for words in copies if not words[0].startswith("--from") for n in words[:-1]}
    assert names == set(let_in)
    assert all((ROOT / name).exists() for name in names)


def test_health_is_asked_as_often_as_in_the_compose_file() -> None:
    for option in ("--interval=30s", "--timeout=10s", "--retries=3"):
        assert option in last("HEALTHCHECK")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    image = Image(ROOT, tmp_path_factory.mktemp("image") / "scratch")
    try:
        image.build()
        yield image
    finally:
        # it is large, and pytest would keep it
        shutil.rmtree(image.scratch)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def running(image: Image, port: int, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The image's own command, as a container would start it."""
    env = {**image.environment(), "LLM_GATEWAY_PORT": str(port)}
    argv = [*image.one("ENTRYPOINT").argv, *image.one("CMD").argv]
    argv[0] = str(image.root / "opt/sluice/bin" / argv[0])
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(argv, cwd=image.workdir, env=env, stdout=log, stderr=log) as process,
    ):
        yield process
        if process.poll() is None:
            process.kill()


def healthy(image: Image, port: int) -> bool:
    """What HEALTHCHECK says now."""
    command = last("HEALTHCHECK").partition("CMD ")[2]
    (step,) = parse(f"CMD {command}")
    env = {**image.environment(), "LLM_GATEWAY_PORT": str(port)}
    argv = [str(image.root / "opt/sluice/bin" / step.argv[0]), *step.argv[1:]]
    return subprocess.run(argv, env=env, capture_output=True).returncode == 0


def state_of(tree: Path) -> dict[str, tuple[int, int]]:
    found = (path for path in tree.rglob("*") if not path.is_symlink())
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in found}


@pytest.mark.image
def test_the_command_is_there(image: Image) -> None:
    said = image.run([str(image.root / "opt/sluice/bin/sluice"), "--version"])
    assert re.fullmatch(r"sluice \d+\.\d+\.\d+\n", said)


@pytest.mark.image
def test_nothing_of_the_source_is_left(image: Image) -> None:
    assert sorted(path.name for path in image.root.iterdir()) == ["data", "opt"]


@pytest.mark.image
def test_it_starts_writes_only_its_data_and_stops(
    image: Image, port: int, running: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    before = state_of(image.root / "opt")
    deadline = time.monotonic() + START_WITHIN
    while not healthy(image, port):
        log = (tmp_path / "log").read_text()
        assert running.poll() is None, log
        assert time.monotonic() < deadline, log
        time.sleep(0.2)
    running.send_signal(signal.SIGTERM)
    assert running.wait(END_WITHIN) == 0, (tmp_path / "log").read_text()
    assert state_of(image.root / "opt") == before
    assert [path.name for path in (image.root / "data").iterdir()] == [".sluice"]
