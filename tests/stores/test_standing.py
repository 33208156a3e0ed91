"""The store of standings: what it keeps, between real processes that die and freeze, and what
becomes of a file that is damaged, lost or on a full disk."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import lmdb
import pytest

from extproc.model.ports import CALM, Counts, Tally, Trouble
from extproc.routing.peers import GONE
from extproc.stores.standing import AGAIN, MOST_TROUBLES, SIZE, StandingFile
from tests.kit import FakeClock

ROOT = Path(__file__).resolve().parent.parent.parent
OPEN = Trouble(open_until=1.5, open_for=15.0, good=1, trying=("a:1", "b:2"), cool_until=9.0)
TALLY = Tally(3, {"acme/gpt": Counts(5, 2, 1, 4, 0.25, None), "é/\0": Counts()})
DEADLINE = 20.0


class Kept:
    """A file with its clock, what it complained of, and a seat on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "standing.mdb"
        self.clock = FakeClock()
        self.problems: list[str] = []
        self.file = StandingFile(folder, self.clock, self.problems.append)
        self.seat = self.file.seat("me")

    def put(self, target: str, row: Trouble) -> bool:
        return self.seat.change([target], lambda _, held: row) is not None

    def get(self, target: str) -> Trouble | None:
        seen = self.seat.read()
        return None if seen is None else seen.troubles.get(target, CALM)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path / "standing")
    yield made
    made.file.close()


def test_what_was_put_is_read(kept: Kept) -> None:
    assert kept.put("acme/gpt", OPEN)
    assert kept.seat.change((), lambda _, row: row, TALLY) == {}
    seen = kept.file.seat("other").read()
    assert seen is not None
    assert seen.troubles == {"acme/gpt": OPEN}
    assert seen.tallies == {"me": TALLY}
    again = kept.seat.read()
    assert again == kept.seat.read() == seen


def test_a_change_is_told_what_is_held(kept: Kept) -> None:
    kept.put("a", OPEN)
    asked: dict[str, Trouble] = {}

    def by(target: str, row: Trouble) -> Trouble:
        asked[target] = row
        return replace(row, good=7)

    held = kept.seat.change(["a", "b"], by)
    assert asked == {"a": OPEN, "b": CALM}
    assert held == {"a": replace(OPEN, good=7), "b": Trouble(good=7)}


def test_a_calm_target_takes_no_room(kept: Kept) -> None:
    kept.put("a", OPEN)
    kept.put("a", CALM)
    seen = kept.seat.read()
    assert seen is not None
    assert not seen.troubles


def test_tallies_of_seats_that_are_gone_are_gone(kept: Kept) -> None:
    kept.file.seat("dead").change((), lambda _, row: row, TALLY)
    kept.seat.change((), lambda _, row: row, TALLY, ["dead", "unheard"])
    seen = kept.seat.read()
    assert seen is not None
    assert list(seen.tallies) == ["me"]


def test_a_change_that_raises_changes_nothing(kept: Kept) -> None:
    def by(target: str, _: Trouble) -> Trouble:
        if target == "b":
            raise ZeroDivisionError
        return OPEN

    with pytest.raises(ZeroDivisionError):
        kept.seat.change(["a", "b"], by)
    assert kept.get("a") == CALM
    assert kept.put("a", OPEN)


def test_its_size_is_bounded(kept: Kept) -> None:
    names = [f"acme/{number}" + "x" * 500 for number in range(MOST_TROUBLES + 20)]
    held = kept.seat.change(names, lambda _, row: OPEN)
    assert held is not None
    assert len(held) == MOST_TROUBLES
    for beat in range(200):
        counts = {name: Counts(beat, beat, beat, beat, 0.1, 0.1) for name in names[:512]}
        for worker in range(16):
            seat = kept.file.seat(f"w{worker}")
            assert seat.change((), lambda _, row: row, Tally(beat, counts)) is not None
        if beat > 2:
            break
    assert kept.path.stat().st_size == SIZE
    assert not kept.problems


def test_nobody_else_on_the_machine_may_read_it(kept: Kept) -> None:
    before = os.umask(0)
    try:
        kept.put("a", OPEN)
    finally:
        os.umask(before)
    assert stat.S_IMODE(kept.folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in kept.folder.iterdir()}
    names = ("standing.mdb", "standing.mdb-lock", "standing.gate")
    assert modes == dict.fromkeys(names, 0o600)


def test_it_outlives_a_gateway(kept: Kept, tmp_path: Path) -> None:
    kept.put("a", OPEN)
    kept.file.close()
    again = Kept(kept.folder)
    again.file.open()
    assert again.get("a") == OPEN
    again.file.close()


def damage_text(path: Path) -> None:
    path.write_bytes(b"this is no such file" * 1000)


def damage_all(path: Path) -> None:
    path.write_bytes(b"\xff" * SIZE)


def damage_cut_off(path: Path) -> None:
    os.truncate(path, 5000)


def damage_emptied(path: Path) -> None:
    os.truncate(path, 0)


def damage_rows(path: Path) -> None:
    """All but what says where the rows are."""
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\0" * (SIZE - 8192))


DAMAGES = [damage_text, damage_all, damage_cut_off, damage_emptied, damage_rows]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_made_anew(kept: Kept, damage: Callable[[Path], None]) -> None:
    kept.put("a", OPEN)
    kept.file.close()
    damage(kept.path)
    again = Kept(kept.folder)
    again.file.open()
    assert again.get("a") == CALM
    assert again.put("a", OPEN)
    assert not again.file.alone
    assert not again.problems
    again.file.close()


def test_rows_of_another_version_are_as_if_they_were_not_there(kept: Kept) -> None:
    kept.put("a", OPEN)
    kept.seat.change((), lambda _, row: row, TALLY)
    kept.file.close()
    with lmdb.open(os.fspath(kept.path), subdir=False, map_size=SIZE) as env, env.begin() as txn:
        names = [bytes(name) for name, _ in txn.cursor()]
    with (
        lmdb.open(os.fspath(kept.path), subdir=False, map_size=SIZE) as env,
        env.begin(write=True) as txn,
    ):
        for name in names:
            txn.put(name, b"\x93from the future")
    seen = kept.seat.read()
    assert seen is not None
    assert not seen.troubles
    assert not seen.tallies
    assert kept.put("a", OPEN)
    assert kept.get("a") == OPEN


def test_a_file_that_killed_its_opener_is_made_anew(kept: Kept) -> None:
    kept.put("a", OPEN)
    kept.file.close()
    (kept.folder / "standing.gate").write_bytes(b"?")
    assert kept.get("a") == CALM
    kept.file.close()
    kept.put("a", OPEN)
    kept.file.close()
    assert kept.get("a") == OPEN, "once is enough"


def test_a_file_that_was_replaced_is_found(kept: Kept) -> None:
    kept.put("a", OPEN)
    seen = kept.seat.read()
    kept.path.unlink()
    (kept.folder / "standing.mdb-lock").unlink()
    kept.file._fail(OSError("as if"))
    kept.clock.advance(AGAIN)
    now = kept.seat.read()
    assert seen is not None
    assert now is not None
    assert now.epoch != seen.epoch
    assert not now.troubles


def test_one_warning_for_one_trouble(tmp_path: Path) -> None:
    (tmp_path / "standing").write_text("in the way")
    kept = Kept(tmp_path / "standing")
    kept.file.open()
    for _ in range(5):
        assert kept.file.alone
        assert kept.get("a") is None
        assert not kept.put("a", OPEN)
        kept.clock.advance(AGAIN)
    assert len(kept.problems) == 1
    (tmp_path / "standing").unlink()
    kept.clock.advance(AGAIN)
    assert kept.put("a", OPEN)
    assert not kept.file.alone
    kept.file.close()


# Other processes.


class Process:
    """A worker that plays by our orders."""

    def __init__(self, folder: Path, seat: str, now: float) -> None:
        command = [sys.executable, "-m", "tests.stores.standing_worker"]
        self._process = subprocess.Popen(
            [*command, str(folder), seat, str(now)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout

    def order(self, *words: object) -> None:
        self._in.write(" ".join(map(str, words)) + "\n")
        self._in.flush()

    def answer(self) -> object:
        return json.loads(self._out.readline())

    def ask(self, *words: object) -> object:
        self.order(*words)
        return self.answer()

    def send(self, what: signal.Signals) -> None:
        self._process.send_signal(what)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._in.close()
        self._out.close()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[tuple[Process, Process]]:
    """Two that know of one another."""
    made = tuple(Process(tmp_path / "standing", f"w{n}", 1000.0 + n * 5000) for n in range(2))
    for process in made:
        process.order("open")
    for process in made:
        process.answer()
    for process in (*made, *made):
        assert process.ask("sync") == "closed"
    one, two = made
    yield one, two
    for process in made:
        process.end()


def test_two_processes_know_one_breaker(processes: tuple[Process, Process]) -> None:
    one, two = processes
    one.ask("bad")
    assert one.ask("sync") == "open"
    assert two.ask("sync") == "open"
    assert two.ask("admits") is False
    for process in processes:
        process.ask("advance", 15)
        assert process.ask("sync") == "half_open"


def test_two_processes_race_for_one_trial(processes: tuple[Process, Process]) -> None:
    one, two = processes
    won = [0, 0]
    one.ask("bad")
    for _ in range(100):
        for process in (one, two, one):
            process.ask("sync")
        for process in processes:
            process.ask("advance", 15)
            assert process.ask("sync") == "half_open"
        for process in processes:
            process.order("admits")
        admitted = [process.answer() for process in processes]
        if admitted == [False, False]:
            # Both met at the gate: neither has it, and the next one who asks gets it.
            admitted = [one.ask("admits"), False]
        assert sorted(map(bool, admitted)) == [False, True]
        winner = admitted.index(True)
        won[winner] += 1
        processes[winner].ask("begin")
        processes[winner].ask("bad")
    assert sum(won) == 100


def test_a_trial_of_a_killed_process_frees_itself(processes: tuple[Process, Process]) -> None:
    one, two = processes
    one.ask("bad")
    one.ask("sync")
    two.ask("begin")
    for _ in range(16):
        for process in processes:
            process.ask("advance", 1)
            process.ask("sync")
    assert two.ask("admits") is True
    assert one.ask("busy") == 1
    two.end()
    assert one.ask("admits") is False
    for _ in range(int(GONE) + 2):
        one.ask("advance", 1)
        one.ask("sync")
    assert one.ask("busy") == 0
    assert one.ask("admits") is True
    one.ask("good")
    assert one.ask("sync") == "closed"
    assert one.ask("problems") == []


def moves_on(kept: Kept, times: int = 50) -> None:
    """Changes go through, and none of them waits."""
    until = time.monotonic() + DEADLINE
    done = 0
    while done < times:
        assert time.monotonic() < until, kept.problems
        began = time.monotonic()
        done += kept.put(f"target-{done % 20}", OPEN)
        assert time.monotonic() - began < 1.0


def test_processes_killed_in_the_midst_of_changes(kept: Kept) -> None:
    for round_ in range(8):
        process = Process(kept.folder, f"w{round_}", 1000.0)
        process.order("hammer")
        while process.answer() != 20 + 37 * round_:
            pass
        process.send(signal.SIGKILL)
        moves_on(kept)
        process.end()
    assert not kept.problems
    assert kept.get("target-1") is not None


def test_a_process_that_is_frozen_keeps_nobody_waiting(kept: Kept) -> None:
    kept.file.open()
    process = Process(kept.folder, "w", 1000.0)
    process.order("hammer")
    for _ in range(30):
        process.answer()
        process.send(signal.SIGSTOP)
        began = time.monotonic()
        for number in range(20):
            # It may be frozen in the midst of a change: then the answer is "not now", at once.
            kept.put(f"target-{number}", OPEN)
            assert kept.seat.read() is not None
        assert time.monotonic() - began < 1.0
        process.send(signal.SIGCONT)
    process.end()
    moves_on(kept)
    assert not kept.problems


def test_a_process_finds_that_another_made_the_file_anew(
    kept: Kept, processes: tuple[Process, Process]
) -> None:
    one, two = processes
    one.ask("bad")
    one.ask("sync")
    two.end()
    kept.path.unlink()
    (kept.folder / "standing.mdb-lock").unlink()
    assert kept.get("acme/gpt") == CALM
    assert one.ask("sync") == "open", "what it knows is not lost"
    row = kept.get("acme/gpt")
    assert row is not None
    assert row.open_until
    assert one.ask("problems") == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_disk_that_is_full(tmp_path: Path, when: str) -> None:
    process = Process(tmp_path / "standing", "w", 1000.0)
    if when == "after":
        process.ask("open")
        assert process.ask("sync") == "closed"
    process.ask("disk_full")
    process.ask("open")
    for _ in range(3):
        process.ask("sync")
        process.ask("advance", 11)
    process.ask("bad")
    assert process.ask("sync") == "open"
    process.ask("advance", 15)
    assert process.ask("admits") is True
    assert process.ask("admits") is False
    process.ask("good")
    assert process.ask("sync") == "closed"
    problems = process.ask("problems")
    assert isinstance(problems, list)
    assert len(problems) == 1, problems
    process.end()


def test_a_worker_that_only_knows_its_own_goes_on_with_a_damaged_file(kept: Kept) -> None:
    process = Process(kept.folder, "w", 1000.0)
    process.ask("open")
    process.ask("bad")
    assert process.ask("sync") == "open"
    with kept.path.open("r+b") as file:
        file.write(b"\xff" * 4096 * 4)
    for _ in range(3):
        assert process.ask("sync") == "open"
    process.ask("advance", 15)
    assert process.ask("sync") == "half_open"
    assert process.ask("admits") is True
    process.end()
