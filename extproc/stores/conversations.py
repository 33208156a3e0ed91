"""Earlier turns of conversations, in one SQLite file below the data folder that all workers share.

`Conversations` is the port of that name. Its file is 0600 in a folder of 0700, and nobody logs
what is in it. It is read and written on the path: a turn takes a tenth of a millisecond, nothing is
flushed to the disk there, and no lock is waited for longer than `PATIENCE`. What must wait (a
turn that found the file locked, moving the log into the file) is done by one thread.

Bounds hold for each conversation and for the conversations of each caller. What has expired is
never read again, and is overwritten when later turns are kept.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from extproc.model.errors import Overloaded
from extproc.model.ports import Bounds, Clock, Turn

PATIENCE = 0.01
"""seconds that the event loop may wait for another worker's write, which takes a hundredth of it"""
LATE_PATIENCE = 5.0
_OPENING = 2.0
"""seconds in which workers that start at once all get the file open"""
_MOST_LATE = 256
"""turns that may wait for a locked file"""
_LOG_BYTES = 1 << 20
"""written by this worker until the log is moved into the file"""
_EXPIRED_AT_ONCE = 20
_WAIT = 1.0
"""seconds after which a client may try again"""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS conversations (
    key INTEGER PRIMARY KEY, caller TEXT NOT NULL, id TEXT NOT NULL, at REAL NOT NULL,
    UNIQUE (caller, id));
CREATE INDEX IF NOT EXISTS by_age ON conversations (at);
CREATE INDEX IF NOT EXISTS by_caller ON conversations (caller, at);
CREATE TABLE IF NOT EXISTS turns (
    key INTEGER PRIMARY KEY,
    conversation INTEGER NOT NULL REFERENCES conversations (key) ON DELETE CASCADE,
    asked BLOB NOT NULL, answered BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS of_conversation ON turns (conversation);
"""
_READ = """
SELECT asked, answered FROM turns WHERE conversation =
    (SELECT key FROM conversations WHERE caller = ? AND id = ? AND at > ?)
ORDER BY key DESC LIMIT ?
"""


class Conversations:
    """See `model.ports.Conversations`. One for each worker; `close` it in the end.

    `on_problem` is told why turns could not be read or kept, and nothing of what they say.
    """

    def __init__(self, folder: Path, clock: Clock, on_problem: Callable[[str], None]) -> None:
        self._path = folder / "turns.db"
        self._clock = clock
        self._on_problem = on_problem
        self._db: sqlite3.Connection | None = None
        self._late: ThreadPoolExecutor | None = None
        self._waiting = 0
        self._written = 0

    def open(self) -> None:
        until = time.monotonic() + _OPENING
        while self._db is None:
            try:
                self._connected()
            except sqlite3.OperationalError:
                # Another worker is just making the file.
                if time.monotonic() > until:
                    return
                time.sleep(PATIENCE)
            except (sqlite3.Error, OSError):
                return

    def turns(self, caller: str, conversation: str, within: Bounds) -> tuple[Turn, ...]:
        expired = self._clock.time() - within.ttl
        try:
            asked = (caller, conversation, expired, within.turns)
            rows = self._connected().execute(_READ, asked).fetchall()
        except (sqlite3.Error, OSError) as error:
            self._on_problem(f"not read: {error}")
            raise Overloaded(
                "The gateway cannot read this conversation's earlier turns now. Try again, or"
                " ask without the conversation.",
                code="memory_unavailable",
                retry_after=_WAIT,
            ) from None
        kept = _fitting(((a, b) for a, b in rows), within.bytes)
        return tuple(Turn(a.decode(), b.decode()) for a, b in reversed(rows[:kept]))

    def add(self, caller: str, conversation: str, turn: Turn, within: Bounds) -> None:
        try:
            self._write(self._connected(), caller, conversation, turn, within)
        except (sqlite3.Error, OSError) as error:
            if self._waiting >= _MOST_LATE:
                self._on_problem(f"not kept: {error}")
                return
            self._waiting += 1
            self._thread().submit(self._add_late, caller, conversation, turn, within)
        if self._written > _LOG_BYTES:
            self._written = 0
            self._thread().submit(self._move_log)

    def close(self) -> None:
        """Waits for what is being written."""
        if self._late is not None:
            self._late.shutdown()
        if self._db is not None:
            self._db.close()
            self._db = None

    def _connected(self) -> sqlite3.Connection:
        if self._db is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            db = self._connection(PATIENCE)
            try:
                db.execute("PRAGMA journal_mode = WAL")
                db.executescript(_SCHEMA)
            except sqlite3.Error:
                db.close()
                raise
            self._db = db
        return self._db

    def _connection(self, patience: float) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=patience, isolation_level=None)
        # Moving the log flushes to the disk: the thread's work, not the path's.
        db.executescript(
            "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0;"
            "PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON;"
        )
        return db

    def _write(
        self, db: sqlite3.Connection, caller: str, conversation: str, turn: Turn, within: Bounds
    ) -> None:
        now = self._clock.time()
        asked, answered = (
            turn.asked.encode(errors="replace"),
            turn.answered.encode(errors="replace"),
        )
        db.execute("BEGIN IMMEDIATE")
        try:
            _forget_expired(db, caller, conversation, now - within.ttl)
            key = _begun(db, caller, conversation, now, within.conversations)
            db.execute(
                "INSERT INTO turns (conversation, asked, answered) VALUES (?, ?, ?)",
                (key, asked, answered),
            )
            _forget_oldest(db, key, within)
            db.execute("COMMIT")
        except BaseException:
            db.rollback()
            raise
        self._written += len(asked) + len(answered)

    def _thread(self) -> ThreadPoolExecutor:
        if self._late is None:
            self._late = ThreadPoolExecutor(1, thread_name_prefix="conversations")
        return self._late

    def _add_late(self, caller: str, conversation: str, turn: Turn, within: Bounds) -> None:
        try:
            with closing(self._connection(LATE_PATIENCE)) as db:
                self._write(db, caller, conversation, turn, within)
        except (sqlite3.Error, OSError) as error:
            self._on_problem(f"not kept: {error}")
        finally:
            self._waiting -= 1

    def _move_log(self) -> None:
        try:
            with closing(self._connection(LATE_PATIENCE)) as db:
                db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except (sqlite3.Error, OSError):
            return  # it is tried again a megabyte later


def _forget_expired(db: sqlite3.Connection, caller: str, conversation: str, expired: float) -> None:
    db.execute(
        "DELETE FROM conversations WHERE caller = ? AND id = ? AND at <= ?",
        (caller, conversation, expired),
    )
    db.execute(
        "DELETE FROM conversations WHERE key IN"
        " (SELECT key FROM conversations WHERE at <= ? ORDER BY at LIMIT ?)",
        (expired, _EXPIRED_AT_ONCE),
    )


def _begun(db: sqlite3.Connection, caller: str, conversation: str, now: float, most: int) -> int:
    """The conversation's key. Where a new one is one too many, the caller's oldest go."""
    found = db.execute(
        "UPDATE conversations SET at = ? WHERE caller = ? AND id = ? RETURNING key",
        (now, caller, conversation),
    ).fetchone()
    if found is not None:
        return found[0]
    (key,) = db.execute(
        "INSERT INTO conversations (caller, id, at) VALUES (?, ?, ?) RETURNING key",
        (caller, conversation, now),
    ).fetchone()
    db.execute(
        "DELETE FROM conversations WHERE key IN (SELECT key FROM conversations"
        " WHERE caller = ? AND key != ? ORDER BY at DESC, key DESC LIMIT -1 OFFSET ?)",
        (caller, key, most - 1),
    )
    return key


def _forget_oldest(db: sqlite3.Connection, conversation: int, within: Bounds) -> None:
    rows = db.execute(
        "SELECT key, asked, answered FROM turns WHERE conversation = ? ORDER BY key DESC",
        (conversation,),
    ).fetchall()
    kept = min(within.turns, _fitting(((a, b) for _, a, b in rows), within.bytes))
    if kept < len(rows):
        db.execute(
            "DELETE FROM turns WHERE conversation = ? AND key <= ?", (conversation, rows[kept][0])
        )


def _fitting(turns: Iterable[tuple[bytes, bytes]], most: int) -> int:
    """How many of the first turns hold `most` bytes or less together."""
    size = count = 0
    for asked, answered in turns:
        size += len(asked) + len(answered)
        if size > most:
            break
        count += 1
    return count
