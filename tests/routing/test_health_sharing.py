"""What workers know of one another's targets, through one real file; and clocks that jump."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

from extproc.config.schema import Routing
from extproc.model.call import Failure
from extproc.model.ports import CALM, Counts, Seen, Tally, Trouble
from extproc.routing.breaker import CLOSED, State, merge
from extproc.routing.peers import GONE
from extproc.stores.standing import PATIENCE, StandingFile
from tests.kit import FakeClock
from tests.routing.health_kit import KEY, OTHER, Worker, routing

Pair: TypeAlias = tuple[Worker, Worker]


class House:
    """Workers of one gateway. Their monotonic clocks differ, the wall's is one, the file's is `clock`."""

    def __init__(self, folder: Path) -> None:
        self.problems: list[str] = []
        self.clock = FakeClock()
        self.file = StandingFile(folder, self.clock, self.problems.append)
        self.workers: list[Worker] = []

    def worker(self, terms: Routing | None = None, now: float = 1000.0) -> Worker:
        number = len(self.workers)
        clock = FakeClock(now * (1 + 3 * number), self._unix())
        made = Worker(terms or routing(failures=3), self.file.seat(f"w{number}"), clock)
        self.workers.append(made)
        return made

    def shared(self) -> Seen:
        """What the file says."""
        seen = self.file.seat("x").read()
        assert seen is not None
        return seen

    def _unix(self) -> float:
        return self.workers[0].clock.unix if self.workers else 1_800_000_000.0

    def sync(self) -> None:
        """As within half a second of a gateway's life: each speaks, then each has heard it."""
        for _ in range(2):
            for worker in self.workers:
                worker.health.sync()

    def advance(self, seconds: float) -> None:
        """Time passes, and all live."""
        while seconds > 0:
            for worker in self.workers:
                worker.clock.advance(min(seconds, 1.0))
            self.sync()
            seconds -= 1.0

    def jump(self, seconds: float) -> None:
        """Somebody sets the machine's clock."""
        for worker in self.workers:
            worker.clock.unix += seconds


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "standing")
    yield made
    made.file.close()


@pytest.fixture
def pair(house: House) -> Pair:
    made = house.worker(), house.worker()
    house.sync()
    return made


@pytest.fixture
def ajar(house: House, pair: Pair) -> Pair:
    """The first one's failures have opened a breaker, which is half open by now."""
    pair[0].bad(3)
    house.advance(15)
    return pair


def test_what_opens_on_one_is_open_on_all(house: House, pair: Pair) -> None:
    one, two = pair
    one.bad(3)
    assert two.state() is State.CLOSED
    house.sync()
    assert (two.state(), two.until()) == (State.OPEN, 15.0)
    assert not two.health.admits(KEY)
    late = house.worker()
    house.advance(5)
    assert (late.state(), late.until()) == (State.OPEN, 10.0)
    assert (one.told, two.told) == ([(KEY, State.OPEN, "3 failures in a row")], [])


def test_failures_in_a_row_are_counted_over_all(house: House, pair: Pair) -> None:
    one, two = pair
    for worker in (one, two, one):
        assert two.state() is State.CLOSED
        worker.bad()
        house.sync()
    assert (one.state(), two.state()) == (State.OPEN, State.OPEN)


def test_a_success_elsewhere_ends_the_row(house: House, pair: Pair) -> None:
    one, two = pair
    for _ in range(5):
        one.bad(2)
        house.sync()
        two.good()
        house.sync()
    assert (one.state(), two.state()) == (State.CLOSED, State.CLOSED)


def test_rates_are_of_all(house: House) -> None:
    terms = routing(failures=100, minimum=20)
    one, two = house.worker(terms), house.worker(terms)
    house.sync()
    one.bad(10)
    two.good(9)
    house.sync()
    assert (one.state(), two.state()) == (State.CLOSED, State.CLOSED)
    two.good()
    one.bad()
    house.sync()
    assert one.state() is two.state() is State.OPEN


def test_a_worker_that_forgot_a_target_counts_from_nothing(house: House) -> None:
    one, other = house.worker(), house.file.seat("other")
    house.sync()
    other.change((), lambda _, held: held, Tally(1, {KEY: Counts(50, 0)}))
    house.sync()
    other.change((), lambda _, held: held, Tally(2, {}))
    house.sync()
    other.change((), lambda _, held: held, Tally(3, {KEY: Counts(5, 1)}))
    house.sync()
    assert one.health.view()[KEY].attempts == 55
    other.change((), lambda _, held: held, Tally(4, {KEY: Counts(3, 3)}))
    house.sync()
    assert one.state() is State.OPEN


def test_a_new_worker_hears_nothing_of_what_was_long_ago(house: House) -> None:
    one = house.worker(routing(failures=100, minimum=100))
    one.bad(50)
    house.sync()
    late = house.worker(routing(failures=3))
    house.sync()
    assert late.state() is State.CLOSED
    assert KEY not in late.health.view()
    one.bad(3)
    house.sync()
    assert late.state() is State.OPEN


def test_one_trial_for_all_workers(house: House, ajar: Pair) -> None:
    one, two = ajar
    assert one.state() is two.state() is State.HALF_OPEN
    assert two.health.admits(KEY)
    assert not one.health.admits(KEY)
    two.good()
    assert not one.health.admits(KEY), "it has not heard of it yet"
    house.sync()
    assert one.health.standing(KEY) is two.health.standing(KEY) is CLOSED
    one.bad(2)
    assert one.state() is State.CLOSED, "a breaker that closed counts anew"


def test_trials_of_several_workers_add_up(house: House) -> None:
    terms = routing(failures=1, trials=2)
    one, two = house.worker(terms), house.worker(terms)
    one.bad()
    house.advance(15)
    assert one.health.admits(KEY)
    assert two.health.admits(KEY)
    assert not one.health.admits(KEY)
    one.good()
    two.good()
    house.sync()
    assert one.state() is two.state() is State.CLOSED


def test_a_trial_that_fails_opens_all_again(house: House, ajar: Pair) -> None:
    one, two = ajar
    assert two.health.admits(KEY)
    two.bad()
    house.sync()
    assert (one.state(), one.until()) == (State.OPEN, 15.0)


def test_an_opening_that_was_not_heard_of_yet_is_found_when_a_trial_is_asked_for(
    house: House, ajar: Pair
) -> None:
    one, two = ajar
    assert one.health.admits(KEY)
    one.bad()
    one.health.sync()
    assert two.state() is State.HALF_OPEN
    assert not two.health.admits(KEY)
    assert two.state() is State.OPEN


def test_a_closing_that_was_not_heard_of_yet_is_found_too(house: House, ajar: Pair) -> None:
    one, two = ajar
    assert one.health.admits(KEY)
    one.good()
    one.health.sync()
    assert two.health.admits(KEY)
    assert two.health.standing(KEY) is CLOSED


def test_what_closed_elsewhere_counts_anew_here(house: House, pair: Pair) -> None:
    one, two = pair
    two.bad(2)
    one.bad(3)
    house.advance(15)
    assert one.health.admits(KEY)
    one.good()
    house.sync()
    two.bad(2)
    assert two.state() is State.CLOSED
    two.bad()
    assert two.state() is State.OPEN


def test_a_trial_whose_worker_died_is_free_in_time(house: House, ajar: Pair) -> None:
    one, two = ajar
    two.begin()
    house.sync()
    assert two.health.admits(KEY)
    house.workers.remove(two)
    house.advance(GONE - 1)
    assert not one.health.admits(KEY)
    assert one.health.busy(KEY) == 1
    house.advance(2)
    assert one.health.busy(KEY) == 0
    assert one.health.admits(KEY)
    one.good()
    house.sync()
    assert not house.shared().troubles
    assert list(house.shared().tallies) == ["w0"]


def test_a_trial_whose_worker_died_before_it_said_a_word(house: House) -> None:
    one = house.worker(routing(failures=1))
    one.bad()
    house.advance(15)
    mute = Worker(one.routing, house.file.seat("mute"), FakeClock(7.0, one.clock.unix))
    mute.health.sync()
    assert mute.health.admits(KEY)
    house.file.seat("x").change((), lambda key, held: held, None, ("mute",))
    house.advance(GONE - 1)
    assert not one.health.admits(KEY)
    house.advance(3)
    assert one.health.admits(KEY)


def test_a_worker_that_was_frozen_is_not_heard_twice(house: House) -> None:
    terms = routing(failures=3)
    one, two = house.worker(terms), house.worker(terms)
    house.sync()
    two.bad(2)
    house.sync()
    one.good()
    house.sync()
    house.workers.remove(two)
    house.advance(GONE + 10)
    house.workers.append(two)
    two.clock.unix = one.clock.unix
    house.advance(2)
    assert one.health.view()[KEY].failed_in_a_row == 0
    assert one.state() is State.CLOSED


def test_a_worker_that_leaves_gives_all_back(house: House, ajar: Pair) -> None:
    one, two = ajar
    assert two.health.admits(KEY)
    two.begin()
    house.sync()
    assert one.health.busy(KEY) == 1
    two.health.close()
    house.workers.remove(two)
    house.sync()
    assert one.health.busy(KEY) == 0
    assert one.health.admits(KEY)


def test_a_cooldown_is_for_everyone(house: House, pair: Pair) -> None:
    one, two = pair
    two.attempt(Failure.RATE_LIMIT, retry_after=30.0)
    house.sync()
    assert (one.state(), one.until()) == (State.COOLING, 30.0)
    one.attempt(Failure.RATE_LIMIT, retry_after=10.0)
    house.sync()
    assert two.until() == one.until() == 30.0
    house.advance(31)
    assert one.health.standing(KEY) is two.health.standing(KEY) is CLOSED
    assert not house.shared().troubles


def test_pace_and_what_is_in_flight_are_told(house: House, pair: Pair) -> None:
    one, two = pair
    one.begin()
    one.good(seconds=2.0, head=0.5, tokens=50)
    two.begin()
    house.sync()
    assert one.health.busy(KEY) == two.health.busy(KEY) == 2
    assert two.health.latency(KEY) == pytest.approx(0.5)
    assert two.health.throughput(KEY) == pytest.approx(25.0)
    seen = two.health.view()[KEY]
    assert (seen.busy, seen.attempts) == (2, 1)
    assert seen.latency == pytest.approx(0.5)


def test_one_that_only_looks_sees_all(house: House) -> None:
    one, looks = house.worker(), house.worker()
    house.sync()
    one.good(4)
    house.sync()
    one.bad(2)
    house.sync()
    seen = looks.health.view()[KEY]
    assert (seen.attempts, seen.failed, seen.failed_in_a_row) == (6, 2, 2)


@pytest.mark.parametrize("key", ["acme/\ud800", "acme/" + "m" * 9000])
def test_a_strange_name_is_kept_from_the_others(house: House, key: str) -> None:
    one, two = house.worker(routing(failures=1)), house.worker()
    one.bad(key=key)
    one.attempt(Failure.RATE_LIMIT, key=key)
    house.advance(15)
    assert one.health.admits(key)
    assert two.health.standing(key) is CLOSED
    assert not house.problems


def test_alone_while_the_file_is_in_trouble_and_together_again(tmp_path: Path) -> None:
    folder = tmp_path / "standing"
    folder.write_text("in the way")
    house = House(folder)
    one, two = house.worker(routing(failures=1)), house.worker(routing(failures=1))
    house.sync()
    one.bad()
    assert one.state() is State.OPEN
    house.sync()
    assert two.state() is State.CLOSED
    for worker in (one, two):
        worker.clock.advance(15)
    assert one.health.admits(KEY)
    assert not one.health.admits(KEY)
    assert len(house.problems) == 1
    folder.unlink()
    house.clock.advance(11)
    house.sync()
    assert two.state() is State.HALF_OPEN
    assert not two.health.admits(KEY), "the trial of when it was alone holds"
    house.file.close()


JUMPS = (-86_400.0, -60.0, 60.0, 86_400.0)


@pytest.mark.parametrize("by", JUMPS)
def test_a_clock_that_jumps_changes_nothing_for_who_knows(
    house: House, pair: Pair, by: float
) -> None:
    one, two = pair
    one.bad(3)
    two.attempt(Failure.RATE_LIMIT, key="acme/b", retry_after=40.0)
    house.sync()
    house.jump(by)
    house.advance(14)
    for worker in pair:
        assert worker.state() is State.OPEN
        assert worker.until() == pytest.approx(1.0, abs=0.1)
        assert worker.until("acme/b") == pytest.approx(26.0, abs=0.1)
    house.advance(1)
    assert one.health.admits(KEY)
    assert not two.health.admits(KEY)
    one.good()
    house.advance(25)
    assert two.health.standing(KEY) is CLOSED
    assert one.health.standing("acme/b") is CLOSED


@pytest.mark.parametrize("by", JUMPS)
def test_a_clock_that_jumps_before_the_news_is_read(house: House, pair: Pair, by: float) -> None:
    one, two = pair
    house.advance(1)
    one.bad(3)
    one.health.sync()
    house.jump(by)
    two.health.sync()
    assert two.state() is State.OPEN
    assert two.until() == pytest.approx(15.0, abs=1.0)


@pytest.mark.parametrize("by", JUMPS)
def test_a_clock_that_jumps_before_a_worker_starts(house: House, by: float) -> None:
    one = house.worker()
    one.bad(3)
    one.attempt(Failure.RATE_LIMIT, key="acme/b", retry_after=40.0)
    house.sync()
    house.jump(by)
    late = house.worker()
    house.sync()
    assert late.until() <= 15.0
    assert late.until("acme/b") <= 40.0
    if by < 0:
        assert late.until() == 15.0, "the careful side, and no longer than the whole"
    assert one.until() == 15.0, "nor is anyone else's shortened"
    house.advance(15)
    assert late.health.admits(KEY)
    late.good()
    house.advance(26)
    for worker in (one, late):
        assert worker.health.standing(KEY) is worker.health.standing("acme/b") is CLOSED
    assert not house.shared().troubles


def test_who_started_after_the_clock_jumped_cuts_no_cooldown_short(house: House) -> None:
    one = house.worker()
    one.attempt(Failure.RATE_LIMIT, retry_after=100.0)
    house.sync()
    house.jump(86_400)
    late = house.worker()
    house.sync()
    late.attempt(Failure.RATE_LIMIT, retry_after=10.0)
    house.sync()
    assert (one.until(), late.until()) == (100.0, 10.0)
    house.advance(101)
    assert one.health.standing(KEY) is late.health.standing(KEY) is CLOSED


OPEN = Trouble(open_until=50.0, open_for=15.0)
TRIED = Trouble(open_until=50.0, open_for=15.0, trying=("a:1",))
ANEW = Trouble(open_until=70.0, open_for=15.0)
COOL = Trouble(cool_until=60.0, cool_for=10.0)


@pytest.mark.parametrize(
    ("base", "mine", "theirs", "both"),
    [
        (OPEN, OPEN, ANEW, ANEW),
        (OPEN, ANEW, OPEN, ANEW),
        (TRIED, CALM, ANEW, ANEW),
        (TRIED, ANEW, CALM, ANEW),
        (CALM, OPEN, COOL, Trouble(50.0, 15.0, 0, (), 60.0, 10.0)),
        (COOL, CALM, Trouble(50.0, 15.0, 0, (), 60.0, 10.0), OPEN),
        (COOL, Trouble(50.0, 15.0, 0, (), 60.0, 10.0), CALM, OPEN),
        (
            TRIED,
            Trouble(50.0, 15.0, 1),
            Trouble(50.0, 15.0, 0, ("a:1", "b:1")),
            Trouble(50.0, 15.0, 1, ("b:1",)),
        ),
        (TRIED, Trouble(50.0, 15.0, 0, ("a:1", "a:2")), OPEN, Trouble(50.0, 15.0, 0, ("a:2",))),
        (CALM, Trouble(50.0, 15.0, 1), Trouble(50.0, 15.0, 1), Trouble(50.0, 15.0, 1)),
    ],
)
def test_two_changes_become_one(
    base: Trouble, mine: Trouble, theirs: Trouble, both: Trouble
) -> None:
    assert merge(base, mine, theirs) == both


@contextmanager
def gate_held(folder: Path) -> Iterator[None]:
    """As by a worker that is just changing something, or was frozen in the midst of it."""
    with (folder / "standing.gate").open("r+b") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        yield


def test_a_store_that_cannot_be_had_now_gives_no_trial(
    house: House, ajar: Pair, tmp_path: Path
) -> None:
    one, two = ajar
    two.attempt(Failure.RATE_LIMIT, key=OTHER, retry_after=60.0)
    with gate_held(tmp_path / "standing"):
        assert not one.health.admits(KEY)
        house.sync()
        assert one.state(OTHER) is State.CLOSED, "not told yet"
    house.sync()
    assert one.state(OTHER) is State.COOLING
    assert one.health.admits(KEY)


def test_a_frozen_worker_does_not_keep_all_trials(house: House, ajar: Pair, tmp_path: Path) -> None:
    one, _ = ajar
    with gate_held(tmp_path / "standing"):
        assert not one.health.admits(KEY)
        house.clock.advance(PATIENCE + 1)
        assert one.health.admits(KEY)
        assert not one.health.admits(KEY)
    one.good()
    house.sync()
    assert one.health.standing(KEY) is CLOSED
    assert not house.problems
