"""What probes say of targets: it opens breakers for all workers, and ends what probes began and no more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from extproc.routing.breaker import State
from tests.routing.health_kit import KEY, OTHER, routing
from tests.routing.test_health_sharing import House

WHY = "2 probes failed: timeout"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "standing")
    yield made
    made.file.close()


def test_what_probes_shut_is_shut_for_all(house: House) -> None:
    prober, worker = house.worker(), house.worker()
    house.sync()
    prober.health.shut([KEY], 12.0, WHY)
    house.sync()
    assert worker.state() is State.OPEN
    assert not worker.health.admits(KEY)
    assert worker.state(OTHER) is State.CLOSED
    assert prober.told == [(KEY, State.OPEN, WHY)]
    # each further one keeps it shut, and is no news
    house.advance(10.0)
    prober.health.shut([KEY], 12.0, WHY)
    house.sync()
    house.advance(10.0)
    assert worker.state() is State.OPEN
    assert len(prober.told) == 1
    # without any it is tried again, also when whoever probed is gone
    house.workers.remove(prober)
    house.advance(3.0)
    assert worker.state() is State.HALF_OPEN


def test_a_good_probe_ends_it_for_all(house: House) -> None:
    prober, worker = house.worker(), house.worker()
    prober.health.shut([KEY], 60.0, WHY)
    house.sync()
    house.advance(1.0)
    prober.health.vouch([KEY])
    assert prober.told[-1] == (KEY, State.CLOSED, "a probe went well")
    house.sync()
    assert worker.state() is State.CLOSED
    assert worker.health.admits(KEY)
    assert house.shared().troubles == {}


def test_it_is_one_trial_where_more_are_wanted(house: House) -> None:
    terms = routing(failures=3, trials=2)
    prober, worker = house.worker(terms), house.worker(terms)
    prober.health.shut([KEY], 60.0, WHY)
    house.sync()
    prober.health.vouch([KEY])
    house.sync()
    assert worker.state() is State.HALF_OPEN, "the waiting is over"
    house.advance(1.0)
    assert worker.health.admits(KEY)
    worker.good()
    house.sync()
    assert prober.state() is State.CLOSED


def test_two_good_probes_are_two_trials(house: House) -> None:
    prober = house.worker(routing(trials=2))
    prober.health.shut([KEY], 60.0, WHY)
    for state in (State.HALF_OPEN, State.CLOSED):
        house.sync()
        house.advance(1.0)
        prober.health.vouch([KEY])
        assert prober.state() is state


def test_of_what_exchanges_found_it_says_nothing(house: House) -> None:
    """A provider may list its models and answer no call."""
    prober, worker = house.worker(), house.worker()
    worker.bad(3)
    house.sync()
    assert prober.state() is State.OPEN
    prober.health.vouch([KEY, OTHER])
    house.sync()
    assert worker.state() is State.OPEN


def test_after_a_trial_that_failed_it_is_for_exchanges_to_say(house: House) -> None:
    terms = routing(failures=3, trials=2, open=30.0)
    prober, worker = house.worker(terms), house.worker(terms)
    prober.health.shut([KEY], 5.0, WHY)
    house.sync()
    house.advance(6.0)
    assert worker.health.admits(KEY)
    worker.bad()
    house.sync()
    prober.health.vouch([KEY])
    house.sync()
    assert worker.state() is State.OPEN


def test_what_is_open_for_longer_stays_so(house: House) -> None:
    prober = house.worker(routing(failures=1, open=60.0))
    prober.bad()
    before = prober.until()
    prober.health.shut([KEY], 5.0, WHY)
    assert prober.until() == before
    prober.health.vouch([KEY])
    assert prober.state() is State.OPEN


def test_good_probes_of_one_that_is_well_are_nothing(house: House) -> None:
    prober = house.worker()
    prober.health.vouch([KEY])
    assert prober.health.view() == {}
    prober.bad(2)
    prober.health.vouch([KEY])
    prober.bad()
    assert prober.state() is State.OPEN, "nor do they forgive"
