"""A provider's language as one file dropped into a folder: nothing else is touched, and it is there.

The file goes into a copy of the package, so that this checkout stays as it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.harness import Gateway

ROOT = Path(__file__).parents[2]
DROPPED = Path(__file__).parent / "dropped" / "small_talk.py"
NEEDED = (
    "__init__.py",
    *(f"dialects/{name}.py" for name in ("__init__", "reading", "kit_laws", "test_laws")),
)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package, the dropped file within it, and the tests of the laws."""
    folder = tmp_path_factory.mktemp("dropped")
    shutil.copytree(
        ROOT / "extproc", folder / "extproc", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(DROPPED, folder / "extproc" / "dialects" / DROPPED.name)
    for name in NEEDED:
        (folder / "tests" / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(ROOT / "tests" / name, folder / "tests" / name)
    (folder / "sluice.yaml").write_text(
        "providers: {talker: {dialect: small_talk, endpoint: 'http://127.0.0.1:9', models: ['*']}}"
    )
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(folder), "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_check_lists_it(copy: Path) -> None:
    """B8, S4-59"""
    done = run(copy, "-m", "extproc.cli", "check", "sluice.yaml")
    assert done.returncode == 0, done.stderr
    dialects = next(line for line in done.stdout.splitlines() if line.startswith("dialects:"))
    assert "small_talk" in dialects
    assert "talker: small_talk" in done.stdout


def laws(folder: Path) -> subprocess.CompletedProcess[str]:
    return run(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "small_talk", "tests")


def test_the_laws_are_tested_on_it_by_themselves(copy: Path) -> None:
    """B8: and they would find a fault."""
    done = laws(copy)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    file = copy / "extproc" / "dialects" / DROPPED.name
    good = file.read_text()
    try:
        file.write_text(good.replace("raise decoding.bad(decoding.ENDED_EARLY)", "self.out = []"))
        assert laws(copy).returncode == 1
    finally:
        file.write_text(good)


def test_its_clients_meet_every_provider(copy: Path, make_gateway: Callable[..., Gateway]) -> None:
    """B8: through the real Envoy, without a word of it anywhere else; failures too."""
    gateway = make_gateway(workers=1, env={"PYTHONPATH": str(copy)})
    with gateway.http() as client:
        asked = {"model": "gpt-4o", "ask": "Hello", "most": 4}
        whole = client.post("/small/talk", json=asked).json()
        assert whole.keys() == {"said", "end"}
        assert whole["said"].startswith("You said: Hello")
        assert whole["end"] == "length"
        lines = client.post("/small/talk", json={**asked, "stream": True}).text.splitlines()
        assert lines[-1] == '{"end": "length"}'
        assert len(lines) == 5
        refused = client.post("/small/talk", json={"ask": "Hello"})
        assert refused.status_code == 400
        assert "model" in refused.json()["wrong"]
        assert client.get("/small/talk").json().keys() == {"wrong", "call"}
