"""What one worker makes of the attempts that it sees: breaker, cooldown, pace, budget, room."""

from __future__ import annotations

import pytest

from extproc.config.schema import RetryBudget, Routing
from extproc.model.call import Failure
from extproc.routing.breaker import CLOSED, State
from extproc.routing.targets import MOST_TARGETS
from tests.routing.health_kit import KEY, OTHER, Worker, routing

COUNTS = "connect dns tls reset timeout first_event overloaded server_error credential stream_error empty"
SAYS_NOTHING = "rate_limit content_filter context_length bad_output gone ours left"


def opened(**breaker: object) -> Worker:
    worker = Worker(routing(failures=1, **breaker))
    worker.bad()
    return worker


def test_every_failure_is_judged() -> None:
    assert {*COUNTS.split(), *SAYS_NOTHING.split()} == {failure.value for failure in Failure}


@pytest.mark.parametrize("name", COUNTS.split())
def test_failures_of_the_target_open_it(name: str) -> None:
    worker = Worker()
    for _ in range(5):
        assert worker.state() is State.CLOSED
        worker.attempt(Failure(name))
    assert worker.state() is State.OPEN
    assert not worker.health.admits(KEY)
    assert worker.health.admits(OTHER)
    assert worker.told == [(KEY, State.OPEN, "5 failures in a row")]


@pytest.mark.parametrize("name", SAYS_NOTHING.split())
def test_what_says_nothing_about_the_target_does_not(name: str) -> None:
    worker = Worker()
    worker.bad(4)
    for _ in range(50):
        worker.attempt(Failure(name))
    assert worker.state() is (State.COOLING if name == "rate_limit" else State.CLOSED)
    assert worker.health.view()[KEY].failed_in_a_row == 4


@pytest.mark.parametrize(
    ("status", "bad"),
    [(200, 0), (400, 0), (404, 0), (422, 0), (401, 1), (403, 1), (408, 1), (500, 1), (529, 1)],
)
def test_a_reply_that_went_to_the_client_is_judged_by_its_status(status: int, bad: int) -> None:
    worker = Worker()
    worker.attempt(status=status)
    seen = worker.health.view()[KEY]
    assert (seen.attempts, seen.failed) == (1, bad)


def test_a_success_between_failures_begins_the_row_anew() -> None:
    worker = Worker()
    for _ in range(4):
        worker.bad(4)
        worker.good()
    assert worker.state() is State.CLOSED
    worker.bad(5)
    assert worker.state() is State.OPEN


def test_the_error_rate_opens_it_from_the_least_number_on() -> None:
    worker = Worker(routing(failures=100, error_rate=0.5, minimum=20))
    for _ in range(9):
        worker.good()
        worker.bad()
    worker.good()
    assert worker.state() is State.CLOSED
    worker.bad()
    assert worker.state() is State.OPEN
    assert worker.told == [(KEY, State.OPEN, "10 of 20 failed")]


def test_attempts_leave_the_window() -> None:
    worker = Worker(routing(failures=100, minimum=20, window=30.0))
    worker.bad(15)
    worker.clock.advance(15)
    worker.good(4)
    seen = worker.health.view()[KEY]
    assert (seen.attempts, seen.failed) == (19, 15)
    worker.clock.advance(16)
    seen = worker.health.view()[KEY]
    assert (seen.attempts, seen.failed) == (4, 0)
    worker.bad()
    assert worker.state() is State.CLOSED
    worker.clock.advance(1000)
    assert worker.health.view()[KEY].attempts == 0


def test_slow_replies_open_it() -> None:
    worker = Worker(routing(slow=2.0, slow_rate=0.8, minimum=10))
    worker.good(2, seconds=1.0, head=1.0)
    worker.good(7, seconds=2.5, head=2.1)
    assert worker.state() is State.CLOSED
    worker.good(seconds=3.0, head=2.1)
    assert worker.state() is State.OPEN
    assert worker.told == [(KEY, State.OPEN, "8 of 10 were slow")]


def test_a_long_reply_that_began_soon_is_not_slow() -> None:
    worker = Worker(routing(slow=2.0, minimum=1))
    worker.good(20, seconds=60.0, head=0.5)
    assert worker.state() is State.CLOSED


def test_it_stays_open_for_its_time_then_one_may_try() -> None:
    worker = opened(open=15.0)
    assert worker.until() == 15.0
    worker.clock.advance(14.9)
    assert worker.state() is State.OPEN
    assert not worker.health.admits(KEY)
    worker.clock.advance(0.1)
    assert worker.state() is State.HALF_OPEN
    assert worker.health.admits(KEY)
    began = worker.begin()
    assert not worker.health.admits(KEY)
    worker.end(began)
    assert worker.health.standing(KEY) is CLOSED
    assert worker.told[1:] == [(KEY, State.CLOSED, "trials went well")]


def test_a_trial_that_fails_opens_it_again() -> None:
    worker = opened()
    worker.clock.advance(15)
    assert worker.health.admits(KEY)
    worker.bad()
    assert (worker.state(), worker.until()) == (State.OPEN, 15.0)
    worker.clock.advance(5)
    worker.good()
    assert worker.state() is State.OPEN, "whoever was asked without leave"
    worker.clock.advance(10)
    assert worker.health.admits(KEY)
    worker.health.left(KEY)
    assert worker.health.admits(KEY), "it was the second trial's place that was given back"


def test_a_slow_trial_opens_it_again() -> None:
    worker = opened(slow=1.0)
    worker.clock.advance(15)
    assert worker.health.admits(KEY)
    worker.good(seconds=5.0, head=4.0)
    assert worker.state() is State.OPEN


def test_as_many_trials_as_are_configured_must_go_well() -> None:
    worker = opened(trials=2)
    worker.clock.advance(15)
    assert [worker.health.admits(KEY) for _ in range(3)] == [True, True, False]
    first, second = worker.begin(), worker.begin()
    worker.end(first)
    assert worker.state() is State.HALF_OPEN
    assert not worker.health.admits(KEY), "one went well, one runs: there is no third"
    worker.end(second)
    assert worker.state() is State.CLOSED


@pytest.mark.parametrize("how", ["left", "content_filter"])
def test_a_trial_that_says_nothing_gives_its_place_back(how: str) -> None:
    worker = opened()
    worker.clock.advance(15)
    assert worker.health.admits(KEY)
    began = worker.begin()
    if how == "left":
        worker.health.left(KEY, began)
    else:
        worker.end(began, Failure(how))
    assert worker.state() is State.HALF_OPEN
    assert worker.health.admits(KEY)


def test_a_trial_without_an_end_gives_its_place_back_in_time() -> None:
    worker = opened()
    worker.clock.advance(15)
    assert worker.health.admits(KEY)
    worker.clock.advance(119)
    worker.health.sync()
    assert not worker.health.admits(KEY)
    worker.clock.advance(2)
    worker.health.sync()
    assert worker.health.admits(KEY)


def test_what_was_in_flight_before_it_opened_says_nothing() -> None:
    worker = Worker(routing(failures=1))
    late = [worker.begin() for _ in range(4)]
    worker.clock.advance(0.1)
    worker.bad()
    worker.end(late[0])
    assert worker.state() is State.OPEN, "a success of before does not close it"
    worker.clock.advance(15)
    assert worker.health.admits(KEY)
    worker.end(late[1], Failure.RESET)
    worker.health.left(KEY, late[2])
    assert worker.state() is State.HALF_OPEN, "nor does a failure of before end the trial"
    assert not worker.health.admits(KEY)
    worker.good()
    worker.clock.advance(0.1)
    worker.end(late[3], Failure.RESET)
    assert worker.state() is State.CLOSED


def test_an_only_target_that_nobody_asks_leave_for_recovers_too() -> None:
    worker = opened()
    worker.clock.advance(10)
    worker.good()
    assert worker.state() is State.OPEN
    worker.clock.advance(5)
    worker.good()
    assert worker.state() is State.CLOSED


def test_a_target_that_nobody_asks_for_long_is_closed_again() -> None:
    worker = opened()
    worker.clock.advance(614)
    worker.health.sync()
    assert worker.state() is State.HALF_OPEN
    worker.clock.advance(2)
    worker.health.sync()
    assert worker.state() is State.CLOSED


@pytest.mark.parametrize(
    ("said", "seconds"), [(None, 2.0), (7.5, 7.5), (1e9, 300.0), (float("nan"), 2.0), (-1.0, 2.0)]
)
def test_a_rate_limit_is_a_cooldown(said: float | None, seconds: float) -> None:
    worker = Worker()
    worker.attempt(Failure.RATE_LIMIT, status=429, retry_after=said)
    assert (worker.state(), worker.until()) == (State.COOLING, seconds)
    assert not worker.health.admits(KEY)
    worker.clock.advance(seconds)
    assert worker.state() is State.CLOSED
    assert worker.health.admits(KEY)
    worker.health.sync()
    assert worker.health.standing(KEY) is CLOSED


def test_a_rate_limit_that_went_to_the_client_is_one_too() -> None:
    worker = Worker()
    worker.attempt(status=429, retry_after=3.0)
    assert worker.until() == 3.0


def test_a_rate_limit_without_a_wait_is_none() -> None:
    worker = Worker()
    worker.attempt(Failure.RATE_LIMIT, status=429, retry_after=0.0)
    assert worker.state() is State.CLOSED


def test_a_longer_cooldown_is_not_cut_short() -> None:
    worker = Worker()
    worker.attempt(Failure.RATE_LIMIT, retry_after=60.0)
    worker.attempt(Failure.RATE_LIMIT, retry_after=5.0)
    assert worker.until() == 60.0


def test_other_failures_with_a_wait_are_obeyed_too() -> None:
    worker = Worker()
    worker.attempt(Failure.OVERLOADED, status=529, retry_after=20.0)
    assert worker.state() is State.COOLING
    assert worker.health.view()[KEY].failed == 1
    worker.attempt(Failure.CONTENT_FILTER, status=400, retry_after=900.0)
    assert worker.until() == 20.0


def test_an_open_breaker_and_a_cooldown_both_hold() -> None:
    worker = Worker(routing(failures=1, open=15.0))
    worker.attempt(Failure.SERVER_ERROR, retry_after=40.0)
    assert (worker.state(), worker.until()) == (State.OPEN, 40.0)
    worker.clock.advance(15)
    assert (worker.state(), worker.until()) == (State.COOLING, 25.0)
    assert not worker.health.admits(KEY)
    worker.clock.advance(25)
    assert worker.state() is State.HALF_OPEN


def test_latency_is_to_the_first_token_and_follows_the_present() -> None:
    worker = Worker()
    assert worker.health.latency(KEY) is None
    for _ in range(30):
        worker.good(seconds=1.0, head=0.3, first=0.5)
    assert worker.health.latency(KEY) == pytest.approx(0.5)
    for _ in range(30):
        worker.good(seconds=1.0, head=0.9)
    assert worker.health.latency(KEY) == pytest.approx(0.9, abs=0.06)


def test_one_bad_sample_after_a_pause_outweighs_old_ones() -> None:
    worker = Worker()
    worker.good(50, head=0.1)
    worker.clock.advance(50)
    worker.good(2, seconds=4.0, head=4.0)
    latency = worker.health.latency(KEY)
    assert latency is not None
    assert latency > 2.0


def test_waiting_in_vain_is_a_latency_and_a_refusal_is_none() -> None:
    worker = Worker()
    worker.bad(seconds=0.01)
    worker.attempt(status=400, head=0.001)
    assert worker.health.latency(KEY) is None
    worker.attempt(Failure.TIMEOUT, seconds=30.0)
    assert worker.health.latency(KEY) == pytest.approx(30.0)


def test_a_target_that_was_not_used_for_long_is_worth_one_more_try() -> None:
    worker = Worker()
    worker.good(seconds=8.0, head=8.0, tokens=80)
    assert worker.health.latency(KEY) == pytest.approx(8.0)
    worker.clock.advance(60)
    assert worker.health.latency(KEY) is None
    assert worker.health.throughput(KEY) is None
    worker.begin()
    assert worker.health.latency(KEY) == pytest.approx(8.0), "one try, not all at once"
    assert worker.health.throughput(KEY) == pytest.approx(10.0)
    worker.clock.advance(9)
    assert worker.health.latency(KEY) == pytest.approx(9.0)


def test_a_new_target_s_first_try_counts_by_how_long_it_takes() -> None:
    worker = Worker()
    worker.begin()
    assert (worker.health.latency(KEY), worker.health.throughput(KEY)) == (0.0, 0.0)
    worker.clock.advance(3)
    worker.begin()
    assert worker.health.latency(KEY) == pytest.approx(3.0)


def test_throughput_is_of_tokens_over_whole_attempts() -> None:
    worker = Worker()
    worker.good(seconds=10.0, tokens=1000)
    worker.clock.advance(-10)
    worker.good(tokens=0)
    worker.clock.advance(10)
    worker.good(tokens=5)
    assert worker.health.throughput(KEY) == pytest.approx(100.0)


def test_busy_counts_what_is_in_flight() -> None:
    worker = Worker()
    first, second = worker.begin(), worker.begin()
    assert worker.health.busy(KEY) == 2
    worker.end(first)
    worker.health.left(KEY, second)
    worker.health.left(KEY)
    worker.health.left("never/seen")
    assert worker.health.busy(KEY) == 0


def test_the_budget_grants_a_part_of_the_first_attempts() -> None:
    worker = Worker(Routing(budget=RetryBudget(percent=20.0, minimum=2)))
    assert [worker.health.may_retry() for _ in range(3)] == [True, True, False]
    worker.clock.advance(11)
    granted = 0
    for _ in range(100):
        worker.good()
        if worker.health.may_retry():
            granted += 1
            worker.good()
    assert granted == 20
    worker.clock.advance(11)
    assert [worker.health.may_retry() for _ in range(3)] == [True, True, False]


def test_a_budget_of_nothing_grants_nothing() -> None:
    worker = Worker(Routing(budget=RetryBudget(percent=0.0, minimum=0)))
    worker.good(50)
    assert not worker.health.may_retry()


def test_new_thresholds_hold_from_then_on() -> None:
    worker = Worker(routing(failures=3))
    worker.bad(2)
    worker.health.configure(routing(failures=5, window=60.0))
    worker.bad(2)
    assert worker.state() is State.CLOSED
    worker.bad()
    assert worker.until() == 15.0
    worker.health.configure(routing(open=100.0))
    assert worker.until() == 15.0


def test_targets_are_bounded_and_those_in_use_stay() -> None:
    worker = Worker()
    worker.bad(5, key="open/stays")
    worker.begin("busy/stays")
    worker.good(key="used/stays", head=0.1)
    for number in range(3 * MOST_TARGETS):
        worker.good(key=f"any/{number}", head=0.1)
        worker.begin("used/stays")
        worker.health.left("used/stays")
    seen = worker.health.view()
    assert len(seen) == MOST_TARGETS
    assert worker.state("open/stays") is State.OPEN
    assert worker.health.busy("busy/stays") == 1
    assert worker.health.latency("used/stays") == pytest.approx(0.1)


def test_more_targets_in_use_than_there_is_room_for() -> None:
    worker = Worker()
    for number in range(MOST_TARGETS + 50):
        worker.begin(f"busy/{number}")
    for number in range(MOST_TARGETS + 50):
        worker.end(worker.clock.now, key=f"busy/{number}")
    assert len(worker.health.view()) == MOST_TARGETS
    assert all(seen.busy == 0 for seen in worker.health.view().values())


def test_the_view_says_all_that_is_known() -> None:
    worker = Worker(routing(failures=2))
    worker.good(head=0.5, seconds=1.0, tokens=10)
    worker.begin()
    worker.bad(2)
    seen = worker.health.view()[KEY]
    assert (seen.state, seen.until) == (State.OPEN, worker.clock.unix + 15.0)
    assert seen.since == worker.clock.unix
    assert (seen.busy, seen.trials, seen.attempts) == (1, 0, 0)
    assert (seen.latency, seen.throughput) == (pytest.approx(0.5), pytest.approx(10.0))


def test_a_cooldown_is_told_once() -> None:
    worker = Worker()
    for _ in range(2):
        worker.attempt(Failure.RATE_LIMIT, status=429, retry_after=5.0)
        worker.clock.advance(2.0)
    assert worker.told == [(KEY, State.COOLING, "left alone for 5 s")]
    seen = worker.health.view()[KEY]
    assert (seen.state, seen.since) == (State.COOLING, worker.clock.unix - 2.0)
    worker.clock.advance(5.0)
    worker.attempt(Failure.RATE_LIMIT, status=429)
    assert worker.told[1:] == [(KEY, State.COOLING, "left alone for 2 s")]
