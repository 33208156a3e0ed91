"""What the store of conversations keeps, for whom, how long, and what it does when it cannot."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.model.errors import Overloaded
from extproc.model.ports import Bounds, Turn
from extproc.stores.conversations import Conversations
from tests.kit import FakeClock

WITHIN = Bounds(ttl=60.0, turns=3, bytes=100, conversations=2)


class Held:
    """A store with its clock, and what it lost."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.lost: list[str] = []
        self.store = Conversations(folder, self.clock, self.lost.append)

    def add(self, asked: str, caller: str = "alice", name: str = "c", answered: str = "ok") -> None:
        self.store.add(caller, name, Turn(asked, answered), WITHIN)
        self.clock.advance(1)

    def asked(self, caller: str = "alice", name: str = "c") -> list[str]:
        return [turn.asked for turn in self.store.turns(caller, name, WITHIN)]


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    made = Held(tmp_path / "memory")
    yield made
    made.store.close()


def test_turns_come_back_in_order(held: Held) -> None:
    held.add("one", answered="first")
    held.add("two \ud800 é\0", answered="second")
    assert held.store.turns("alice", "c", WITHIN) == (
        Turn("one", "first"),
        Turn("two ? é\0", "second"),
    )


def test_another_caller_and_another_name_see_none(held: Held) -> None:
    held.add("secret")
    assert held.asked("bob") == held.asked("alice", "d") == held.asked("", "alice") == []


def test_the_oldest_turns_go_first(held: Held) -> None:
    for text in "abcde":
        held.add(text)
    assert held.asked() == ["c", "d", "e"]
    held.add("f" * 94)
    assert held.asked() == ["e", "f" * 94]
    held.add("é" * 60)
    assert held.asked() == [], "what is more than may be kept is not kept, nor what was before it"


def test_narrower_bounds_hold_for_what_is_there(held: Held) -> None:
    for text in "abc":
        held.add(text)
    few = Bounds(60.0, 2, 100, 2)
    assert [t.asked for t in held.store.turns("alice", "c", few)] == ["b", "c"]
    small = Bounds(60.0, 3, 5, 2)
    assert [t.asked for t in held.store.turns("alice", "c", small)] == ["c"]


def test_it_expires_a_while_after_the_last_turn(held: Held) -> None:
    held.add("a")
    held.clock.advance(50)
    held.add("b")
    held.clock.advance(58)
    assert held.asked() == ["a", "b"]
    held.clock.advance(1)
    assert held.asked() == []
    held.add("c")
    assert held.asked() == ["c"]


def test_expired_turns_leave_the_file(held: Held, tmp_path: Path) -> None:
    file = tmp_path / "memory" / "turns.db"
    held.add("a-secret-word " * 7)
    held.store.close()
    assert b"a-secret-word" in file.read_bytes()
    held.clock.advance(100)
    held.add("b", "bob", "other")
    held.store.close()
    assert b"a-secret-word" not in file.read_bytes()


def test_a_caller_s_oldest_conversation_goes(held: Held) -> None:
    held.add("x", "bob", "his")
    for name in ("one", "two", "one", "three"):
        held.add(name, name=name)
    assert held.asked(name="one") == ["one", "one"]
    assert held.asked(name="two") == []
    assert held.asked(name="three") == ["three"]
    assert held.asked("bob", "his") == ["x"]


def test_nobody_else_on_the_machine_may_read_it(held: Held, tmp_path: Path) -> None:
    held.add("a")
    folder = tmp_path / "memory"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == dict.fromkeys(("turns.db", "turns.db-wal", "turns.db-shm"), 0o600)


def test_a_file_that_cannot_be_made_refuses_and_loses(tmp_path: Path) -> None:
    (tmp_path / "memory").write_text("in the way")
    held = Held(tmp_path / "memory")
    held.store.open()
    with pytest.raises(Overloaded, match="earlier turns"):
        held.asked()
    held.add("a-secret-word")
    held.store.close()
    assert [text[:8] for text in held.lost] == ["not read", "not kept"]
    assert "a-secret-word" not in str(held.lost)


def test_a_file_that_is_no_database_refuses(tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    folder.mkdir()
    (folder / "turns.db").write_bytes(b"this is not a database" * 100)
    held = Held(folder)
    held.store.open()
    with pytest.raises(Overloaded):
        held.asked()


def test_a_turn_that_finds_the_file_locked_is_kept_later(held: Held, tmp_path: Path) -> None:
    held.add("a")
    with closing(sqlite3.connect(tmp_path / "memory" / "turns.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        held.add("b")
        assert held.asked() == ["a"], "readers never wait"
        other.execute("ROLLBACK")
    held.store.close()
    assert held.asked() == ["a", "b"]
    assert held.lost == []


def _say(folder: Path, who: str, turns: int) -> None:
    store = Conversations(folder, FakeClock(), lambda reason: None)
    store.open()
    for number in range(turns):
        store.add("alice", "c", Turn(f"{who}{number}", "ok"), Bounds(60.0, 1000, 1 << 20, 9))
    store.close()


def test_workers_that_start_and_write_at_once_lose_nothing(tmp_path: Path) -> None:
    context = get_context("spawn")
    workers = [context.Process(target=_say, args=(tmp_path / "m", who, 100)) for who in "ab"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0, 0]
    held = Held(tmp_path / "m")
    found = [t.asked for t in held.store.turns("alice", "c", Bounds(60.0, 1000, 1 << 20, 9))]
    held.store.close()
    for who in "ab":
        # One that found the file locked is kept a little later, so behind the next.
        kept = sorted(int(text[1:]) for text in found if text[0] == who)
        assert kept == [*range(100)]


def test_a_long_log_is_moved_into_the_file(held: Held, tmp_path: Path) -> None:
    wide = Bounds(60.0, 3, 1 << 20, 2)
    for _ in range(30):
        held.store.add("alice", "c", Turn("x" * 100_000, "ok"), wide)
    assert held.store._late is not None  # type: ignore[reportPrivateUsage]
    held.store.close()
    assert (tmp_path / "memory" / "turns.db").stat().st_size < 2_000_000


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(0, 60), max_size=8))
def test_what_is_kept_is_the_longest_end_that_fits(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    held = Held(tmp_path_factory.mktemp("memory"))
    for size in sizes:
        held.add("x" * size, answered="")
    expected: list[int] = []
    for size in sizes:
        expected = [*expected, size][-WITHIN.turns :]
        while sum(expected) > WITHIN.bytes:
            expected.pop(0)
    assert [len(text) for text in held.asked()] == expected
    held.store.close()
