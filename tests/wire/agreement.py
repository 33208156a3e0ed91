"""Both servers, played the same scenes: what hypothesis makes up, and what must be equal.

They agree on every reply, on every status and on what is recorded. The words of a
status are compared where they are ours: grpc's core has its own for a deadline, a
message that is too large and an unknown method. One thing is ours alone: a stream
that ends inside a message never ends OK, where the core lets the half message fall.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import strategies as st

from extproc.flow.record import Record
from extproc.wire.grpc_server import GrpcServer
from extproc.wire.native_server import NativeServer
from extproc.wire.processor import Conversation, message_limit
from tests.wire.h2peer import PROCESS
from tests.wire.play import CHECK, End, Heard, Line, play
from tests.wire.said import BODY_LIMIT, MESSAGES, STUCK, USUAL, machine

_PATIENCE = 6.0
_THEIR_WORDS = ("4", "8", "12")
_LONG = ("20S", "1M", "99999999H", "30000m", "99999999u")
_SHORT = ("0m", "1n", "30m", "30000u")


@dataclass(frozen=True)
class Scene:
    """Lines of one connection. `order` and `pieces` are `play`'s."""

    lines: tuple[Line, ...]
    order: tuple[int, ...] = ()
    pieces: tuple[int, ...] = ()


# --- what is made up ---

_ASKS = ("ask", "ask", "slow ask", "slow end ask", "large ask", STUCK, "bad ask")
_ODD = sorted(MESSAGES.keys() - {"too large", STUCK})
_HELD = (End.RESET, End.RESET_INSIDE, End.LEAVE, End.LEAVE, End.RESET, End.DEADLINE)
_SLOW = (End.DEADLINE, End.TOO_LARGE)
"""these cost a scene a tenth of a second, so they are rare"""
_ENDS = tuple(end for end in End if end not in (*_SLOW, End.STAY))


def _line(
    says: tuple[str, ...], end: int, turns: bool, cuts: list[int], times: int, path: str
) -> Line:
    """A line that comes to an end: what is stuck must be left by its peer, or run out of time."""
    if path == CHECK:
        # Ours answers a single request when its stream has ended, theirs as soon as it is there.
        ends = (End.HALF, End.JOINED, End.TRAILERS)
        return Line(("nothing",), ends[end % 3], False, tuple(cuts), path=path)
    if path != PROCESS:
        return Line(says, (End.HALF, End.JOINED)[end % 2], False, tuple(cuts), path=path)
    ends = _HELD if STUCK in says else _ENDS
    wanted = ends[end % len(ends)]
    if end < 2:
        wanted = End.DEADLINE if STUCK in says else _SLOW[end]
    timeout = _LONG[times] if 0 <= times < len(_LONG) else ""
    if wanted is End.DEADLINE:
        timeout = _SHORT[times % len(_SHORT)]
    return Line(says, wanted, turns, tuple(cuts), timeout, path)


_USUAL = st.builds(
    lambda ask, n: tuple(ask if one == "ask" else one for one in USUAL[:n]),
    st.sampled_from(_ASKS),
    st.integers(0, len(USUAL)),
)
_SAYS = st.one_of(
    _USUAL,
    st.just(USUAL),
    st.builds(lambda some, odd: (*some, odd), _USUAL, st.sampled_from(_ODD)),
    st.lists(st.sampled_from(_ODD), max_size=5).map(tuple),
)
"""mostly the usual way, left anywhere, with something odd in it sometimes"""
_LINES = st.builds(
    _line,
    _SAYS,
    st.integers(0, 99),
    st.booleans(),
    st.lists(st.integers(0, 50_000), max_size=4),
    st.integers(-10, len(_LONG)),
    st.sampled_from([PROCESS] * 12 + [CHECK, "/unknown/Method"]),
)
SCENES = st.builds(
    Scene,
    st.lists(_LINES, min_size=1, max_size=6).map(tuple),
    st.lists(st.integers(0, 5), max_size=20).map(tuple),
    st.lists(st.integers(1, 3000), max_size=4).map(tuple),
)


# --- what must be equal ---


@dataclass(frozen=True)
class Outcome:
    heard: Heard
    recorded: tuple[str, ...]

    @property
    def status(self) -> str | None:
        return self.heard.said.get("grpc-status")

    @property
    def head(self) -> Mapping[str, str]:
        """All that was said but for the words of a status, of which none is as good as empty ones."""
        return {k: v for k, v in self.heard.said.items() if k != "grpc-message"}

    @property
    def words(self) -> str:
        return self.heard.said.get("grpc-message", "")


def agree(line: Line, ours: Outcome, theirs: Outcome) -> None:
    mine, other = ours.heard.replies, theirs.heard.replies
    if line.path not in (PROCESS, CHECK):
        assert ours.status == theirs.status == "12"
        return
    if line.path == PROCESS:
        assert len(ours.recorded) == 1, "an exchange is recorded once"
        assert (ours.status, ours.recorded) != ("0", ("aborted",)), "OK, and it was not over"
    if line.end is End.DEADLINE:
        # Who was quicker, the clock or the messages, is no matter of transport.
        shorter = min(len(mine), len(other))
        assert mine[:shorter] == other[:shorter]
        assert ours.status == theirs.status or "4" in (ours.status, theirs.status)
        return
    assert mine == other
    if line.end is End.INSIDE and theirs.status == "0":
        assert ours.status in ("0", "14")
        return
    assert ours.head == theirs.head
    if line.end is not End.INSIDE and ours.status not in _THEIR_WORDS:
        assert ours.words == theirs.words
    if theirs.recorded:
        # A stream that is reset at once may never reach theirs.
        assert ours.recorded == theirs.recorded


class Pair:
    """Both servers, in one loop that runs while a scene is played."""

    def __init__(self, folder: Path, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._numbers = count()
        self._records: dict[str, list[str]] = defaultdict(list)
        self._servers: dict[str, GrpcServer | NativeServer] = {}
        for kind in (NativeServer, GrpcServer):
            path = folder / f"{kind.__name__}.sock"
            server = runner.run(self._started(kind, path))
            self._servers[str(path)] = server

    async def _started(
        self, kind: type[GrpcServer | NativeServer], path: Path
    ) -> GrpcServer | NativeServer:
        """Its streams are recorded under `kind/their call id`."""
        around = machine()

        def converse(call_id: str, peer: str) -> Conversation:
            def finish(record: Record) -> None:
                self._records[f"{path}/{call_id}"].append(record.outcome.value)

            return Conversation(around, finish, call_id, peer)

        server = kind(path, message_limit(BODY_LIMIT), converse)
        await server.start()
        return server

    def compare(self, scene: Scene) -> None:
        ours, theirs = self._runner.run(self._both(scene, f"gw-{next(self._numbers)}"))
        for line, one, other in zip(scene.lines, ours, theirs, strict=True):
            agree(line, one, other)

    async def _both(self, scene: Scene, name: str) -> list[list[Outcome]]:
        return await asyncio.gather(*(self._one(path, scene, name) for path in self._servers))

    async def _one(self, path: str, scene: Scene, name: str) -> list[Outcome]:
        heard = await play(Path(path), scene.lines, scene.order, scene.pieces, name)
        outcomes: list[Outcome] = []
        for i, (line, one) in enumerate(zip(scene.lines, heard, strict=True)):
            key = f"{path}/{name}/{i}"
            # Whoever was answered or told an end was recorded before, or is soon.
            sure = line.path == PROCESS and (one.replies or "NativeServer" in path)
            async with asyncio.timeout(_PATIENCE):
                while sure and key not in self._records:
                    await asyncio.sleep(0.001)
            outcomes.append(Outcome(one, tuple(self._records.pop(key, ()))))
        return outcomes

    def stop(self) -> None:
        for server in self._servers.values():
            self._runner.run(server.stop(0))


@contextmanager
def pair() -> Iterator[Pair]:
    with TemporaryDirectory(prefix="sluice-") as name, asyncio.Runner() as runner:
        made = Pair(Path(name), runner)
        try:
            yield made
        finally:
            made.stop()
