"""One bad file per error, with the message that a person gets. `SLUICE_GOLDEN=1` writes the messages."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from extproc.config.load import ConfigErrors, load

BAD = Path(__file__).parent / "bad"
ENV = {"ALICE_KEY": "alice-0123456789", "OTHER_KEY": "other-0123456789", "WORDS": "hush hush"}


def message_of(file: Path) -> str:
    with pytest.raises(ConfigErrors) as caught:
        load(file, ENV)
    return str(caught.value) + "\n"


@pytest.mark.parametrize("name", sorted(file.stem for file in BAD.glob("*.yaml")))
def test_golden_message(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BAD)
    message = message_of(Path(f"{name}.yaml"))
    golden = BAD / f"{name}.txt"
    if os.environ.get("SLUICE_GOLDEN") == "1":
        golden.write_text(message)
    assert message == golden.read_text()


def test_no_message_without_its_file() -> None:
    names = [{file.stem for file in BAD.glob(f"*.{kind}")} for kind in ("yaml", "txt")]
    assert names[0] == names[1]


@pytest.mark.parametrize("secret", ["hunter2", "sk-not-to-be-repeated", *ENV.values()])
def test_messages_repeat_no_secret(secret: str) -> None:
    assert not [file.name for file in BAD.glob("*.txt") if secret in file.read_text()]
