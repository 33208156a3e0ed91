"""A few thousand of the cases that `make fuzz` plays for minutes, always the same ones."""

from __future__ import annotations

import pytest

from tests.fuzz.endless import endless
from tests.fuzz.laws import case
from tests.fuzz.material import Material

CASES = 12_000
BLOCK = 1_000
STREAMS = 3


@pytest.fixture(scope="module")
def material() -> Material:
    return Material(recorded=False)


@pytest.mark.parametrize("start", range(0, CASES, BLOCK))
def test_bad_input_does_no_harm(material: Material, start: int) -> None:
    for seed in range(start, start + BLOCK):
        try:
            case(material, seed)
        except Exception as error:
            error.add_note(f"python -m tests.fuzz --fixtures --seed {seed} plays it again")
            raise


def test_a_stream_without_end_is_held_in_bounds(material: Material) -> None:
    assert not list(endless(material, "ollama_chat", STREAMS))


def test_a_decoder_that_keeps_everything_would_be_found() -> None:
    material = Material(recorded=False)
    material.dialects["ollama_chat"] = Hoarding(material.dialects["ollama_chat"])  # type: ignore[assignment]
    assert any("ollama_chat holds" in line for line in endless(material, "ollama_chat", 1))


class Hoarding:
    """A dialect whose decoder never lets go of what came."""

    def __init__(self, dialect: object) -> None:
        self._dialect = dialect

    def decoder(self, *_: object) -> Hoarding:
        self._kept: list[bytes] = []
        return self

    def feed(self, data: bytes) -> tuple[()]:
        self._kept.append(bytes(bytearray(data)))
        return ()

    def take(self) -> bytes:
        return b""
