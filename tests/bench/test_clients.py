"""The clients of `make bench` against its upstream: what is good counts as good, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.build import program
from tests.bench.measure import Clients, Load
from tests.bench.systems import Yard
from tests.bench.traffic import Case, held, streamed, translated, whole

pytestmark = pytest.mark.skipif(
    not (shutil.which("cc") or shutil.which("gcc")), reason="this machine has no C compiler"
)


class Direct:
    def __init__(self, clients: Clients, port: int) -> None:
        self.clients, self.port = clients, port

    def run(self, case: Case, *, rate: float = 0.0) -> Load:
        return self.clients.run(
            self.port, case.request(), case.ending, connections=4, seconds=0.2, rate=rate
        )


@pytest.fixture
def direct(tmp_path: Path) -> Iterator[Direct]:
    with ExitStack() as stack:
        port = Yard(stack, tmp_path).direct().port
        yield Direct(Clients(program("load"), tmp_path), port)


@pytest.mark.parametrize("case", [whole(1), whole(100)], ids=lambda case: case.name)
def test_whole_replies(direct: Direct, case: Case) -> None:
    load = direct.run(case)
    assert load.failed == 0
    assert load.requests >= load.in_time > 0
    assert 0 < load.first_p50 <= load.p50 <= load.p99 <= load.max


@pytest.mark.parametrize("case", [streamed(1), translated(1)], ids=lambda case: case.name)
def test_a_stream_is_paced_and_its_first_event_is_not(direct: Direct, case: Case) -> None:
    case = replace(case, ending="[DONE]" if not case.translated else "message_stop")
    load = direct.run(case)
    assert load.failed == 0
    assert load.p50 > 50 * 5 > load.first_p50


def test_another_end_is_a_failure(direct: Direct) -> None:
    load = direct.run(replace(whole(1), ending="nothing like it"))
    assert load.requests == 0
    assert load.failed > 0


def test_a_refused_connection_is_a_failure(direct: Direct) -> None:
    load = direct.run(replace(whole(1), model="unknown"))
    assert load.requests == 0
    assert load.failed > 0


def test_a_rate_is_kept(direct: Direct) -> None:
    load = direct.run(whole(1), rate=100)
    assert load.failed == 0
    assert 5 < load.requests <= 21


def test_held_streams(direct: Direct) -> None:
    with direct.clients.hold(direct.port, held().request(), 200) as load:
        assert (load.held, load.failed) == (200, 0)
