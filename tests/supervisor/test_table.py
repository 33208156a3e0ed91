"""Restarts: at once, then slower and slower, and a healthy life forgives."""

from __future__ import annotations

from extproc.supervisor.table import HEALTHY_AFTER, LONGEST_DELAY, Slot, Table


def die_after(slot: Slot, now: float, life: float) -> tuple[float, float]:
    """Starts at `now`, dies `life` later; returns the delay and the time of death."""
    slot.start(now)
    return slot.died(now + life), now + life


def test_first_death_is_repaired_at_once_and_later_ones_wait_longer() -> None:
    slot = Slot("worker-1")
    now, delays = 0.0, list[float]()
    for _ in range(9):
        delay, now = die_after(slot, now, 0.01)
        delays.append(delay)
    assert delays == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, LONGEST_DELAY, LONGEST_DELAY]


def test_delay_stays_bounded_after_ten_thousand_deaths() -> None:
    slot = Slot("worker-1")
    delays = [die_after(slot, float(now), 0.5)[0] for now in range(10_000)]
    assert delays[-1] == LONGEST_DELAY


def test_a_healthy_life_forgives_earlier_deaths() -> None:
    slot = Slot("worker-1")
    now = 0.0
    for _ in range(4):
        _, now = die_after(slot, now, 0.01)
    almost, now = die_after(slot, now, HEALTHY_AFTER - 0.1)
    assert almost == 0.8
    healthy, now = die_after(slot, now, HEALTHY_AFTER)
    assert healthy == 0.0
    again, _ = die_after(slot, now, 0.01)
    assert again == 0.1


def test_every_start_is_a_generation_of_its_own_and_not_ready_yet() -> None:
    slot = Slot("worker-1")
    assert slot.start(0.0) == 1
    slot.ready = True
    slot.died(1.0)
    assert not slot.ready
    assert slot.start(1.0) == 2


def test_table_counts_who_is_ready() -> None:
    table = Table(["worker-1", "worker-2", "admin"])
    workers = ("worker-1", "worker-2")
    assert table.ready(workers) == ()
    table["worker-2"].ready = True
    table["admin"].ready = True
    assert [slot.name for slot in table.ready(workers)] == ["worker-2"]
