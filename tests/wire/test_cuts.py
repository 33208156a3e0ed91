"""Exchanges that wait for Envoy's word, and words that wait for their exchange."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf.message import DecodeError

from extproc.flow.cuts import Cut
from extproc.model.call import CallId
from extproc.wire.cuts import MOST_LOGS, Cuts
from extproc.wire.pb import access_log_pb2 as pb

SOON = 0.05
NEVER = 1e6


def entry(call: str, flags: str = "UC", status: str = "502", details: str = "why") -> bytes:
    tags = {"call": call, "flags": flags, "status": status, "details": details}
    common = pb.AccessLogCommon(custom_tags=tags)
    logged = pb.HTTPAccessLogEntries(log_entry=[pb.HTTPAccessLogEntry(common_properties=common)])
    return pb.StreamAccessLogsMessage(http_logs=logged).SerializeToString()


BROKE = Cut(502, frozenset({"UC"}), "why")


class Settled:
    """What was settled, in this order. A `slow` one waits for `gate`."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Cut | None]] = []
        self.gate = asyncio.Event()
        self.news = asyncio.Event()

    def of(self, name: str, *, slow: bool = False, bad: bool = False) -> Any:
        async def settle(cut: Cut | None) -> None:
            if slow:
                await self.gate.wait()
            self.seen.append((name, cut))
            self.news.set()
            if bad:
                raise ValueError("a bad end")

        return settle

    async def all(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.seen) < count:
                self.news.clear()
                await self.news.wait()


@pytest.fixture
def settled() -> Settled:
    return Settled()


@pytest.fixture
async def cuts() -> AsyncIterator[Cuts]:
    one = Cuts(NEVER, 3)
    yield one
    await one.close()


async def test_the_word_comes_after_the_end(cuts: Cuts, settled: Settled) -> None:
    assert cuts.word(CallId("a")) is None
    cuts.keep(CallId("a"), settled.of("a"))
    cuts.keep(CallId("b"), settled.of("b"))
    cuts.hear(entry("b"))
    await settled.all(1)
    assert settled.seen == [("b", BROKE)]
    assert len(cuts) == 1
    cuts.hear(entry("b"))
    cuts.hear(entry("a"))
    await settled.all(2)
    assert settled.seen == [("b", BROKE), ("a", BROKE)]


async def test_without_a_task_where_nothing_waits(cuts: Cuts, settled: Settled) -> None:
    cuts.keep(CallId("a"), settled.of("a"))
    seen: list[int] = []

    def callback() -> None:
        cuts.hear(entry("a"))
        seen.append(len(settled.seen))

    asyncio.get_running_loop().call_soon(callback)
    await settled.all(1)
    assert seen == [1]


async def test_the_word_comes_first(cuts: Cuts) -> None:
    cuts.hear(entry("a"))
    assert cuts.word(CallId("b")) is None
    assert cuts.word(CallId("a")) == BROKE
    assert cuts.word(CallId("a")) is None


async def test_several_flags_and_no_status(cuts: Cuts) -> None:
    cuts.hear(entry("a", "UC,SI", "0"))
    assert cuts.word(CallId("a")) == Cut(0, frozenset({"UC", "SI"}), "why")
    cuts.hear(entry("a", "", "-"))
    assert cuts.word(CallId("a")) == Cut(0, frozenset({""}), "why")


async def test_no_word_in_time(settled: Settled) -> None:
    cuts = Cuts(SOON)
    loop = asyncio.get_running_loop()
    began = loop.time()
    cuts.keep(CallId("a"), settled.of("a"))
    cuts.hear(entry("late"))
    await settled.all(1)
    assert loop.time() - began >= SOON * 0.9
    assert settled.seen == [("a", None)]
    assert cuts.word(CallId("late")) is None, "nobody wants it any more"
    cuts.keep(CallId("b"), settled.of("b"))
    await settled.all(2)
    await cuts.close()


async def test_too_many_exchanges(cuts: Cuts, settled: Settled) -> None:
    for name in "abcd":
        cuts.keep(CallId(name), settled.of(name))
    await settled.all(1)
    assert settled.seen == [("a", None)]
    assert len(cuts) == 3


async def test_too_many_words(cuts: Cuts) -> None:
    for name in "abcd":
        cuts.hear(entry(name))
    assert [cuts.word(CallId(name)) is None for name in "abcd"] == [True, False, False, False]


async def test_too_many_logs(cuts: Cuts) -> None:
    assert all(cuts.begins() for _ in range(MOST_LOGS))
    assert not cuts.begins()
    cuts.ends()
    assert cuts.begins()


async def test_one_that_waits_at_its_end_holds_up_nobody(cuts: Cuts, settled: Settled) -> None:
    cuts.keep(CallId("a"), settled.of("a", slow=True))
    cuts.keep(CallId("b"), settled.of("b"))
    cuts.hear(entry("a"))
    cuts.hear(entry("b"))
    await settled.all(1)
    assert settled.seen == [("b", BROKE)]
    closing = asyncio.create_task(cuts.close())
    settled.gate.set()
    await closing
    assert settled.seen == [("b", BROKE), ("a", BROKE)]


@pytest.mark.parametrize("slow", [False, True])
async def test_one_that_fails_at_its_end_is_told_of(
    cuts: Cuts, settled: Settled, slow: bool
) -> None:
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: problems.append(told))
    settled.gate.set()
    cuts.keep(CallId("a"), settled.of("a", slow=slow, bad=True))
    cuts.hear(entry("a"))
    await cuts.close()
    assert [str(one["exception"]) for one in problems] == ["a bad end"]


async def test_at_the_end_all_are_settled_at_once(cuts: Cuts, settled: Settled) -> None:
    for name in "abc":
        cuts.keep(CallId(name), settled.of(name))
    await cuts.settled()  # Envoy is gone: no word will come
    assert settled.seen == []
    await cuts.close()
    assert settled.seen == [(name, None) for name in "abc"]


async def test_at_the_end_words_are_waited_for_while_envoy_is_there(
    cuts: Cuts, settled: Settled
) -> None:
    cuts.begins()
    for name in "ab":
        cuts.keep(CallId(name), settled.of(name))
    ending = asyncio.create_task(cuts.settled())
    await asyncio.sleep(0)
    cuts.hear(entry("b"))
    await asyncio.sleep(0)
    assert not ending.done()
    cuts.ends()
    await ending
    await settled.all(1)
    assert settled.seen == [("b", BROKE)]


@pytest.mark.parametrize("message", [b"\xff\xff\xff", b"\x12\x05x"])
async def test_what_is_no_message(cuts: Cuts, message: bytes) -> None:
    with pytest.raises(DecodeError):
        cuts.hear(message)


async def test_messages_that_say_nothing(cuts: Cuts) -> None:
    nameless = pb.HTTPAccessLogEntries(log_entry=[pb.HTTPAccessLogEntry()])
    for message in (b"", pb.StreamAccessLogsMessage(http_logs=nameless).SerializeToString()):
        cuts.hear(message)
    assert cuts.word(CallId("")) is None
