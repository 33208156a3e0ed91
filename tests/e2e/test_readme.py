"""The README's lines, taken from it as they stand and run against a gateway."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from extproc.config.load import load
from extproc.config.schema import Settings
from tests.e2e.harness import Gateway

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PORT = re.compile(r"\b5055\b")
WITHIN = 30


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


def run(argv: list[str], text: str, gateway: Gateway) -> str:
    """The block as a person would paste it, but for the port."""
    port = gateway.url.rpartition(":")[2]
    done = subprocess.run(
        argv, input=PORT.sub(port, text), capture_output=True, text=True, timeout=WITHIN
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_there_are_blocks_to_run() -> None:
    assert len(blocks("bash")) == 8
    assert len(blocks("python")) == 1


@pytest.mark.parametrize("text", blocks("bash"), ids=lambda text: text.split("5055")[1].split()[0])
def test_a_shell_line_works(keyless: Gateway, text: str) -> None:
    assert run(["bash", "-e"], text, keyless).strip()


@pytest.mark.parametrize("text", blocks("python"))
def test_the_sdk_lines_work(keyless: Gateway, text: str) -> None:
    whole, streamed = run([sys.executable, "-"], text, keyless).splitlines()
    assert "Hello, world!" in whole
    assert streamed == whole


def test_its_settings_are_good(tmp_path: Path) -> None:
    """Its models too, by the providers that it has elsewhere and one more."""
    models, whole = blocks("yaml")
    names = ("ACME_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY")
    file = tmp_path / "sluice.yaml"

    def settings(text: str) -> Settings:
        file.write_text(text)
        found = load(file, dict.fromkeys(names, "x" * 20))
        assert found.warnings == ()
        assert {p.unavailable for p in found.providers.values()} == {None}
        return found

    settings(whole)
    providers, _, _ = whole.partition("models:\n")
    found = settings(f"{providers}  anthropic: {{}}\n{models}")
    assert len(found.models["chat"].targets) == 3


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
