"""Both transports, played the same frames by the same hand, say and record the same.

`make fuzz` plays ten thousand of these scenes, CI a few hundred.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings

from tests.wire.agreement import SCENES, Pair, Scene, pair
from tests.wire.play import End, Line
from tests.wire.said import STUCK, USUAL

SCENES_IN_CI = 300


@pytest.fixture(scope="module")
def both() -> Iterator[Pair]:
    with pair() as made:
        yield made


@pytest.mark.parametrize("end", sorted(set(End) - {End.DEADLINE, End.STAY}))
@pytest.mark.parametrize("said", range(len(USUAL) + 1))
def test_every_end_after_every_message(both: Pair, said: int, end: End) -> None:
    both.compare(Scene((Line(USUAL[:said], end), Line(USUAL[:said], end, turns=False))))


@pytest.mark.parametrize("said", range(len(USUAL) + 1))
def test_a_deadline_after_every_message(both: Pair, said: int) -> None:
    both.compare(Scene((Line(USUAL[:said], End.DEADLINE, timeout="300m"),)))


@pytest.mark.parametrize("end", [End.RESET, End.LEAVE, End.DEADLINE])
def test_an_answer_that_never_comes(both: Pair, end: End) -> None:
    line = Line(("head", STUCK), end, timeout="50m" if end is End.DEADLINE else "")
    both.compare(Scene((line, Line(USUAL))))


@example(Scene((Line(USUAL, End.JOINED, turns=False, cuts=(1, 2, 3, 4)),), pieces=(1,)))
@settings(max_examples=SCENES_IN_CI)
@given(SCENES)
def test_any_scene(both: Pair, scene: Scene) -> None:
    both.compare(scene)
