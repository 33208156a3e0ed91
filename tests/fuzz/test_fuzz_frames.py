"""A few thousand of the sequences of frames that `make fuzz` plays a million of."""

from __future__ import annotations

import pytest

from extproc.wire.http2 import Connection, Event
from tests.fuzz.frames import sequence, weight

SEQUENCES = 3_000
BLOCK = 500


@pytest.mark.parametrize("start", range(0, SEQUENCES, BLOCK))
def test_no_peer_does_harm(start: int) -> None:
    for seed in range(start, start + BLOCK):
        try:
            sequence(seed)
        except Exception as error:
            error.add_note(f"python -m tests.fuzz.frames --seed {seed} plays it again")
            raise


def test_what_a_connection_hoards_would_be_found() -> None:
    class Hoarding(Connection):
        def receive(self, data: bytes) -> list[Event]:
            self._hoard = [*getattr(self, "_hoard", []), bytes(bytearray(data))]
            return super().receive(data)

    with pytest.raises(AssertionError, match="it holds"):
        sequence(0, Hoarding)


def test_what_takes_too_many_steps_would_be_found() -> None:
    class Busy(Connection):
        def receive(self, data: bytes) -> list[Event]:
            for _ in range(100 * len(data)):
                abs(1)
            return super().receive(data)

    with pytest.raises(AssertionError, match="calls for"):
        sequence(1, Busy)


def test_the_weight_of_things() -> None:
    class Box:
        def __init__(self, what: object) -> None:
            self.what = what

    small, large = Box(b""), Box([bytearray(1000), {"a": b"x" * 5000}])
    assert 6000 < weight(large) - weight(small) < 7000
