"""Two workers on one real file, told anything in any order: the promises of the breaker hold."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from extproc.config.schema import Routing
from extproc.model.call import Failure
from extproc.routing.breaker import CLOSED, State
from extproc.stores.standing import StandingFile
from tests.kit import FakeClock
from tests.routing.health_kit import KEY, Worker, routing

OPEN_FOR = 15.0
LONGEST_TRIAL = 119.0
WORKERS = st.integers(0, 1)


@dataclass
class Flight:
    """An attempt that runs. `trial`: it was admitted while half open, and the round still is."""

    who: Worker
    began: float
    at: float
    trial: bool


class Breakers(RuleBasedStateMachine):
    """`now` is true time. `shut` is until when a worker, by its own or others' word, must refuse."""

    trials = 1

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.file = StandingFile(Path(self.folder.name), FakeClock(), self.problem)
        self.now = 0.0
        self.ahead = False
        self.seats = 0
        self.unix = 1_800_000_000.0
        self.shut: dict[int, float] = {}
        self.flights: list[Flight] = []
        self.workers = [self.started(), self.started()]

    def problem(self, reason: str) -> None:
        raise AssertionError(reason)

    def terms(self) -> Routing:
        return routing(failures=2, trials=self.trials, open=OPEN_FOR)

    def started(self) -> Worker:
        self.seats += 1
        clock = FakeClock(1000.0 * self.seats, self.unix)
        worker = Worker(self.terms(), self.file.seat(f"w{self.seats}"), clock)
        self.shut[id(worker)] = 0.0
        return worker

    def opened(self) -> None:
        """Notes what workers said of themselves since."""
        for worker in self.workers:
            for _, state, _ in worker.told:
                if state is State.OPEN:
                    self.shut[id(worker)] = self.now + OPEN_FOR
                for flight in self.flights:
                    flight.trial = False
            worker.told.clear()

    def all_know(self) -> None:
        for _ in range(2):
            for worker in self.workers:
                worker.health.sync()
        self.opened()
        latest = max(self.shut[id(worker)] for worker in self.workers)
        for worker in self.workers:
            self.shut[id(worker)] = latest

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.unix += seconds
        for worker in self.workers:
            worker.clock.advance(seconds)

    def running_trials(self) -> int:
        return sum(
            flight.trial and flight.who in self.workers and self.now - flight.at < LONGEST_TRIAL
            for flight in self.flights
        )

    @rule(which=WORKERS)
    def asks(self, which: int) -> None:
        worker = self.workers[which]
        half_open = worker.state() is State.HALF_OPEN
        trials = self.running_trials()
        if not worker.health.admits(KEY):
            assert worker.health.standing(KEY) is not CLOSED
            return
        assert self.now >= self.shut[id(worker)], "it was admitted while open"
        trial = half_open and worker.state() is State.HALF_OPEN
        assert not trial or trials < self.trials, "one trial too many"
        self.flights.append(Flight(worker, worker.begin(), self.now, trial))

    @precondition(lambda self: self.flights)
    @rule(data=st.data(), how=st.sampled_from(["good", "bad", "bad", "left", "filtered"]))
    def ends(self, data: st.DataObject, how: str) -> None:
        flight = self.flights.pop(data.draw(st.integers(0, len(self.flights) - 1)))
        match how:
            case "good":
                flight.who.end(flight.began, head=0.1)
            case "bad":
                flight.who.end(flight.began, Failure.RESET)
            case "left":
                flight.who.health.left(KEY, flight.began)
            case _:
                flight.who.end(flight.began, Failure.CONTENT_FILTER)
        self.opened()

    @rule(which=WORKERS)
    def syncs(self, which: int) -> None:
        self.workers[which].health.sync()
        self.opened()

    @rule(seconds=st.sampled_from([0.01, 0.5, 3.0, 14.0, 15.5]))
    def lives(self, seconds: float) -> None:
        self.all_know()
        while seconds > 0:
            self.pass_time(min(seconds, 0.5))
            self.all_know()
            seconds -= 0.5

    @rule()
    def a_moment_passes(self) -> None:
        self.pass_time(0.1)

    @rule(by=st.sampled_from([-86_400.0, -10.0, 10.0, 86_400.0]))
    def somebody_sets_the_clock(self, by: float) -> None:
        self.all_know()
        self.ahead |= by > 0
        self.unix += by
        for worker in self.workers:
            worker.clock.unix += by

    @precondition(lambda self: not self.ahead)
    @rule(which=WORKERS)
    def a_worker_is_killed(self, which: int) -> None:
        self.all_know()
        killed = self.workers[which]
        self.flights = [flight for flight in self.flights if flight.who is not killed]
        self.workers[which] = self.started()
        self.all_know()

    def teardown(self) -> None:
        """Whatever happened: when the target is well again, all find out."""
        for flight in self.flights:
            flight.who.health.left(KEY, flight.began)
        self.flights.clear()
        self.lives(2 * OPEN_FOR)
        for _ in range(self.trials):
            self.asks(0)
            assert self.flights
            flight = self.flights.pop()
            flight.who.end(flight.began)
            self.all_know()
        for worker in self.workers:
            assert worker.health.standing(KEY) is CLOSED
        self.file.close()
        self.folder.cleanup()


class MoreTrials(Breakers):
    trials = 2


Breakers.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
MoreTrials.TestCase.settings = Breakers.TestCase.settings
TestBreakers = Breakers.TestCase
TestMoreTrials = MoreTrials.TestCase
