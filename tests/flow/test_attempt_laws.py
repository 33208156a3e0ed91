"""Whatever the hop, the client and the clock do, in any order: each attempt counts once, and alone.

Steps are played that Envoy would never send too. Nothing may raise, and of every attempt that
left there is one `Tried`, of every target that was begun one end, and never two attempts undecided.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.config.schema import Window
from extproc.flow.attempt import Again, Attempt, End, Word
from extproc.flow.exchange import OutOfTurn
from extproc.flow.messages import Continue
from extproc.model.call import Failure
from tests.flow.hops import (
    BODIES,
    BROKEN,
    DEFAULT,
    PING,
    ROLE,
    WORD,
    Hop,
    ask,
    error_of,
    head,
    piece,
    stream_head,
    targets,
)

_HEADS = [
    head(),
    head(end=True),
    stream_head(),
    head(400),
    head(429, retry_after="3"),
    head(503),
    head(500, x_sluice_again="forged"),
    head(503, details="no_healthy_upstream"),
    head(503, details="upstream_reset_before_response_started{remote_reset}", x_sluice_again="UR"),
    head(504, details="upstream_per_try_timeout"),
    head(413, details="request_payload_too_large"),
]
_PIECES = [
    piece(PING),
    piece(ROLE),
    piece(WORD),
    piece(BROKEN),
    piece(b"", end=True),
    piece(error_of("a", 400, "context"), end=True),
    piece(b"x" * 70_000),
]
STEPS = st.one_of(
    st.just("begin"),
    st.tuples(st.just("head"), st.integers(0, 3), st.sampled_from(_HEADS)),
    st.tuples(st.just("piece"), st.integers(0, 3), st.sampled_from(_PIECES)),
    st.tuples(st.sampled_from(["time", "lost"]), st.integers(0, 3)),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 1.0, 2.0, 30.0])),
    st.tuples(st.just("outside"), st.sampled_from(_HEADS)),
    st.just("close"),
)
ORDERLY = st.lists(
    st.one_of(
        st.just("begin"),
        st.tuples(st.just("head"), st.just(0), st.sampled_from(_HEADS)),
        st.tuples(st.just("piece"), st.just(0), st.sampled_from(_PIECES)),
    ),
    max_size=20,
)


class Played:
    def __init__(self, hop: Hop) -> None:
        self.hop = hop
        self.attempts: list[Attempt] = []
        """the newest first"""
        self.left: list[str] = []
        """the targets of what went out"""

    async def step(self, step: object) -> None:
        hop = self.hop
        match step:
            case "begin":
                attempt, answer = await hop.tried_to_begin()
                self.attempts.insert(0, attempt)
                if isinstance(answer, Continue):
                    self.left.append(dict(answer.set)[":path"].split("/")[1])
                    assert sum(one.undecided for one in self.attempts) <= 1
                else:
                    assert isinstance(answer, End)
            case ("head", int(at), reply) if at < len(self.attempts):
                assert isinstance(self.attempts[at].on_head(reply), Word | Again | End)
            case ("piece", int(at), data) if at < len(self.attempts):
                assert isinstance(self.attempts[at].on_piece(data), Word | Again | End)
            case ("time", int(at)) if at < len(self.attempts):
                assert isinstance(self.attempts[at].on_time(), Word | Again | End)
            case ("lost", int(at)) if at < len(self.attempts):
                self.attempts[at].lost()
            case ("wait", float(seconds)):
                hop.clock.advance(seconds)
            case ("outside", reply):
                try:
                    await hop.tell(reply)
                except OutOfTurn:
                    record = hop.exchange.record
                    assert record.status or record.closed, "only once the way out is taken"
            case "close":
                await hop.exchange.close()
            case _:
                pass


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "b", "c", "a2"]), min_size=2, max_size=4, unique=True),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.one_of(st.none(), st.just(3.0)),
    st.one_of(st.lists(STEPS, max_size=20), ORDERLY),
)
def test_each_attempt_counts_once(
    names: list[str],
    stream: bool,
    window: bool,
    bodies: bool,
    deadline: float | None,
    steps: list[object],
) -> None:
    async def play() -> None:
        hop = Hop(
            targets(
                *names,
                on=(*DEFAULT, *BODIES) if bodies else DEFAULT,
                window=Window(seconds=2.0, bytes=4096) if window else None,
                deadline=deadline,
            )
        )
        await hop.out(ask(stream=stream))
        played = Played(hop)
        for step in steps:
            await played.step(step)
        record = await hop.exchange.close()
        assert [tried.number for tried in record.tried] == list(range(1, len(played.left) + 1))
        assert [tried.target.provider for tried in record.tried] == played.left
        assert Counter(played.left).keys() <= set(names)
        assert len(played.left) <= len(names), "no target twice that is in the list once"
        open_ones = [tried for tried in record.tried[:-1] if tried.failure is None]
        assert not open_ones, "only the last one can have been good"
        assert all(t.ended >= t.began for t in record.tried)
        assert all(hop.machine.health.busy(f"{name}/m") == 0 for name in names)
        assert hop.machine.running == {}
        assert hop.live.held == 0
        for failure in (t.failure for t in record.tried[:-1]):
            assert failure is not Failure.OURS
            assert failure is not Failure.LEFT

    asyncio.run(play())
