"""The native transport, spoken to by stock grpc clients and by a raw and hostile peer."""

from __future__ import annotations

import asyncio
import stat
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio
import pytest

from extproc.wire import processor
from extproc.wire.frames import Code, Kind, Limits
from extproc.wire.native_server import CHECK, PROCESS, NativeServer
from extproc.wire.processor import Conversation, MessageLimit
from tests.wire.h2peer import Peer, data, first, request, reset, settings, window
from tests.wire.h2peer import grpc as message
from tests.wire.talk import Talk, conversation

LIMIT = MessageLimit(33 << 20)
NO_LIMIT = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
Call = grpc.aio.StreamStreamCall[bytes, bytes]


@dataclass
class Served:
    path: Path
    server: NativeServer
    channel: grpc.aio.Channel
    gate: asyncio.Event
    talks: list[Talk] = field(default_factory=list[Talk])
    problems: list[Mapping[str, object]] = field(default_factory=list[Mapping[str, object]])

    def open(self, **more: object) -> Call:
        metadata = (("x-sluice-call", "gw-1"), ("x-sluice-peer", "10.0.0.1"))
        call = self.channel.stream_stream(PROCESS)
        return call(metadata=metadata, **more)  # type: ignore[return-value, arg-type]

    async def eventually(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not true():
                await asyncio.sleep(0.002)

    def settled(self) -> bool:
        return all(talk.closed == 1 for talk in self.talks)


async def serve(path: Path, limit: int = LIMIT, limits: Limits | None = None) -> Served:
    gate = asyncio.Event()
    talks: list[Talk] = []

    def converse(call_id: str, peer: str) -> Conversation:
        if call_id == "unwelcome":
            raise ValueError("unwelcome")
        talks.append(Talk(call_id, peer, gate))
        return conversation(talks[-1])

    server = NativeServer(path, MessageLimit(limit), converse, limits)
    await server.start()
    channel = grpc.aio.insecure_channel(f"unix:{path}", options=NO_LIMIT)
    served = Served(path, server, channel, gate, talks)
    loop = asyncio.get_running_loop()

    def noted(_: object, context: Mapping[str, object]) -> None:
        # The stock client's own poller complains when a loop of an earlier test is gone.
        if "PollerCompletionQueue" not in str(context.get("message")):
            served.problems.append(context)

    loop.set_exception_handler(noted)
    return served


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    served = await serve(tmp_path / "w.sock")
    yield served
    await served.channel.close()
    await served.server.stop(0)
    assert served.settled()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert [t for t in left if "_Spare" in repr(t)] == []


async def say(call: Call, *messages: bytes) -> list[bytes]:
    answers: list[bytes] = []
    for one in messages:
        await call.write(one)
        answer = await call.read()
        assert isinstance(answer, bytes)
        answers.append(answer)
    return answers


# --- stock clients ---


async def test_an_exchange(served: Served) -> None:
    call = served.open()
    assert await say(call, b"one", b"", b"over") == [b"echo:one", b"echo:", b"echo:over"]
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.OK
    (talk,) = served.talks
    assert (talk.call_id, talk.peer, talk.closed) == ("gw-1", "10.0.0.1", 1)


@pytest.mark.parametrize("said", range(4))
async def test_it_never_ends_ok_early(served: Served, said: int) -> None:
    call = served.open()
    await say(call, *[b"message"] * said)
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.UNAVAILABLE
    assert await call.details() == "the exchange was not over"


@pytest.mark.parametrize("word", ["decode", "unexpected", "turn"])
async def test_what_the_conversation_refuses(served: Served, word: str) -> None:
    call = served.open()
    await call.write(word.encode())
    assert await call.code() is grpc.StatusCode.UNAVAILABLE
    assert (await call.details()).endswith(": by word")
    assert served.problems == []


@pytest.mark.parametrize("word", [b"bug", b"late-bug"])
@pytest.mark.parametrize("before", [b"one", b"over"])
async def test_a_bug_is_unavailable_and_reported(
    served: Served, before: bytes, word: bytes
) -> None:
    call = served.open()
    await say(call, before)
    await call.write(word)
    await served.eventually(lambda: len(served.talks[0].heard) == 2)
    served.gate.set()
    assert await call.code() is grpc.StatusCode.UNAVAILABLE
    assert [type(p["exception"]) for p in served.problems] == [ValueError]


async def test_an_answer_that_is_cancelled_at_once_ends_its_stream_only(served: Served) -> None:
    """As when a stage waits for a task that somebody else has cancelled."""
    other, call = served.open(), served.open()
    await say(other, b"one")
    await call.write(b"cancelled")
    assert await call.code() is grpc.StatusCode.UNAVAILABLE
    assert await say(other, b"two", b"over") == [b"echo:two", b"echo:over"]
    await other.done_writing()
    assert await other.code() is grpc.StatusCode.OK


async def test_an_end_that_fails_is_reported_and_the_stream_ends(served: Served) -> None:
    call = served.open()
    await say(call, b"bad-end", b"over")
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.OK
    assert len(served.problems) == 1


async def test_an_exchange_that_cannot_begin(served: Served) -> None:
    call = served.channel.stream_stream(PROCESS)(metadata=(("x-sluice-call", "unwelcome"),))
    assert await call.code() is grpc.StatusCode.UNAVAILABLE
    assert len(served.problems) == 1


async def test_health_and_unknown_methods(served: Served) -> None:
    assert await served.channel.unary_unary(CHECK)(b"") == processor.SERVING
    for path in ("/grpc.health.v1.Health/Watch", "/", "/" + "x" * 3000):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.channel.unary_unary(path)(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_synchronous_client(served: Served) -> None:
    def run() -> tuple[list[bytes], bytes]:
        with grpc.insecure_channel(f"unix:{served.path}") as channel:
            answers = channel.stream_stream(PROCESS)(iter([b"a", b"b", b"over"]), timeout=10)
            return list(answers), channel.unary_unary(CHECK)(b"", timeout=10)

    got, health = await asyncio.to_thread(run)
    assert got == [b"echo:a", b"echo:b", b"echo:over"]
    assert health == processor.SERVING


async def test_twenty_megabytes_there_and_back(served: Served) -> None:
    call = served.open()
    big = bytes(20 << 20)
    answers = await say(call, big, b"over")
    assert answers[0] == b"echo:" + big
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.OK


async def test_interleaved_streams(served: Served) -> None:
    async def one(number: int) -> None:
        call = served.open()
        for turn in range(5):
            assert await say(call, b"%d/%d" % (number, turn)) == [b"echo:%d/%d" % (number, turn)]
        await say(call, b"over")
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK

    await asyncio.gather(*(one(n) for n in range(200)))
    assert len(served.talks) == 200


async def test_a_message_over_the_limit(tmp_path: Path) -> None:
    served = await serve(tmp_path / "w.sock", limit=1000)
    call = served.open()
    assert await say(call, b"x" * 1000) == [b"echo:" + b"x" * 1000]
    await call.write(b"x" * 1001)
    assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert served.settled()
    await served.channel.close()
    await served.server.stop(0)


async def test_compression_is_refused(served: Served) -> None:
    call = served.open(compression=grpc.Compression.Gzip)
    await call.write(b"x" * 5000)
    assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_cancelled_stream_is_settled_once(served: Served) -> None:
    call = served.open()
    await say(call, b"one")
    call.cancel()
    await served.eventually(served.settled)


async def test_cancelled_while_an_answer_waits(served: Served) -> None:
    call = served.open()
    await call.write(b"wait")
    await served.eventually(lambda: bool(served.talks and served.talks[0].heard))
    call.cancel()
    await served.eventually(served.settled)
    assert served.talks[0].cancelled


async def test_answers_keep_their_order_while_one_waits(served: Served) -> None:
    call = served.open()
    for one in (b"a", b"wait", b"b", b"wait", b"over"):
        await call.write(one)
    await call.done_writing()
    assert await call.read() == b"echo:a"
    await served.eventually(lambda: served.talks[0].heard == [b"a", b"wait"])
    served.gate.set()
    rest = [await call.read() for _ in range(4)]
    assert rest == [b"echo:wait", b"echo:b", b"echo:wait", b"echo:over"]
    assert await call.code() is grpc.StatusCode.OK


async def test_a_timeout_inside_an_answer_works(served: Served) -> None:
    """It asks for its task before it waits for the first time."""
    call = served.open()
    assert await say(call, b"timeout 0", b"timeout 0.01", b"over") == [
        b"timed out",
        b"timed out",
        b"echo:over",
    ]


async def test_a_deadline_ends_the_stream(served: Served) -> None:
    call = served.open(timeout=0.05)
    await call.write(b"wait")
    assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await served.eventually(served.settled)
    assert served.talks[0].cancelled


async def test_a_slow_end_is_waited_for(served: Served) -> None:
    call = served.open()
    await say(call, b"slow-end", b"over")
    await call.done_writing()
    code = asyncio.ensure_future(call.code())
    assert await asyncio.wait([code], timeout=0.05) == (set(), {code})
    served.gate.set()
    assert await code is grpc.StatusCode.OK


# --- stopping ---


async def test_the_socket_is_ours_alone_and_goes_with_us(tmp_path: Path) -> None:
    path = tmp_path / "w.sock"
    path.write_text("left over")
    served = await serve(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await served.channel.close()
    await served.server.stop(0)
    assert not path.exists()


async def test_a_successors_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "w.sock"
    old, new = await serve(path), await serve(path)
    await old.server.stop(0)
    assert path.exists()
    assert await new.channel.unary_unary(CHECK)(b"") == processor.SERVING
    for one in (old, new):
        await one.channel.close()
    await new.server.stop(0)


async def test_stop_lets_running_exchanges_finish(served: Served) -> None:
    peer = await Peer.connect(served.path)
    peer.send(first(1), data(1, message(b"one")))
    await peer.until(Kind.DATA, 1)
    stopping = asyncio.create_task(served.server.stop(20))
    # What runs may still have attempts, also on new connections; new exchanges are sent away.
    for one, stream, beginning in ((peer, 3, request), (await Peer.connect(served.path), 1, first)):
        one.send(beginning(stream, (":path", CHECK), end=True))
        assert (await one.until(Kind.DATA, stream)).payload == message(processor.NOT_SERVING)
        one.send(request(stream + 2))
        assert (await one.trailers(stream + 2))["grpc-status"] == "14"
    assert not stopping.done()
    peer.send(data(1, message(b"over"), end=True))
    assert (await peer.trailers(1))["grpc-status"] == "0"
    # The first word of a goodbye comes only now.
    assert int.from_bytes((await peer.until(Kind.GOAWAY)).payload[:4], "big") == 2**31 - 1
    await stopping
    assert not served.path.exists()
    assert len(served.talks) == 1


async def test_stop_gives_up_after_its_grace(served: Served) -> None:
    idle, waiting = served.open(), served.open()
    await say(idle, b"one")
    await waiting.write(b"wait")
    await served.eventually(lambda: len(served.talks) == 2 and bool(served.talks[1].heard))
    begun = time.monotonic()
    await served.server.stop(0.1)
    assert 0.1 <= time.monotonic() - begun < 5
    for call in (idle, waiting):
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        assert await call.details() == "the worker stops"
    assert served.settled()


# --- a raw peer ---


async def test_messages_split_and_joined_anywhere(served: Served) -> None:
    octets = b"".join(message(b"m%d" % i) for i in range(20)) + message(b"over")
    for size in (1, 3, 7, 50, 1000):
        peer = await Peer.connect(served.path)
        pieces = [data(1, octets[i : i + size]) for i in range(0, len(octets), size)]
        peer.send(first(1), *pieces, data(1, b"", end=True))
        assert (await peer.trailers(1))["grpc-status"] == "0"
        peer.close()
        assert served.talks[-1].heard == [*(b"m%d" % i for i in range(20)), b"over"]


async def test_answers_of_one_read_leave_in_one_write(served: Served) -> None:
    peer = await Peer.connect(served.path)
    peer.send(first(1))
    await served.eventually(lambda: len(served.talks) == 1)
    await peer.reader.read(1 << 16)
    peer.send(*(request(s) + data(s, message(b"x")) for s in range(3, 103, 2)))
    assert (await peer.reader.read(1 << 20)).count(b"echo:x") == 50


async def test_a_message_that_is_cut_by_the_end(served: Served) -> None:
    peer = await Peer.connect(served.path)
    peer.send(first(1), data(1, message(b"over") + message(b"more")[:-1], end=True))
    assert (await peer.trailers(1))["grpc-status"] != "0"


async def test_a_deadline_is_kept(served: Served) -> None:
    peer = await Peer.connect(served.path)
    begun = time.monotonic()
    peer.send(first(1, ("grpc-timeout", "300m")), data(1, message(b"wait")))
    assert (await peer.trailers(1))["grpc-status"] == "4"
    assert 0.3 <= time.monotonic() - begun < 2.0


async def test_a_deadline_is_said_to_the_peer(served: Served) -> None:
    peer = await Peer.connect(served.path)
    peer.send(first(1, ("grpc-timeout", "10m")))
    trailers = await peer.trailers(1)
    assert trailers["grpc-status"] == "4"
    assert trailers[":status"] == "200"
    await peer.until(Kind.RST_STREAM, 1)


@pytest.mark.parametrize("change", [(":method", "GET"), ("content-type", "text/plain")])
async def test_what_is_not_grpc(served: Served, change: tuple[str, str]) -> None:
    peer = await Peer.connect(served.path)
    peer.send(first(1, change))
    assert (await peer.trailers(1)) == {":status": "415"}


async def test_a_lost_connection_settles_everything(served: Served) -> None:
    peer = await Peer.connect(served.path)
    peer.send(first(1), data(1, message(b"one")), request(3), data(3, message(b"wait")))
    peer.send(request(5), data(5, message(b"slow-end")), request(7), data(7, b"\0\0"))
    await served.eventually(lambda: sum(len(t.heard) for t in served.talks) == 3)
    served.gate.set()
    served.gate.clear()
    peer.send(request(9), data(9, message(b"wait")))
    await served.eventually(lambda: len(served.talks) == 5 and served.talks[4].heard != [])
    peer.close()
    await served.eventually(served.settled)
    assert served.talks[4].cancelled
    served.gate.set()
    assert served.problems == []


async def test_a_broken_peer_is_told_why_and_its_exchanges_settle(served: Served) -> None:
    peer = await Peer.connect(served.path)
    peer.send(first(1), data(1, message(b"one")), data(2, b"x"))
    last = (await peer.closed())[-1]
    assert (last.kind, last.code) == (Kind.GOAWAY, Code.PROTOCOL_ERROR)
    await served.eventually(served.settled)
    assert len(served.talks) == 1


async def test_a_blocked_stream_is_not_answered_further(served: Served) -> None:
    """The peer's window reaches the one who produces; other streams go on."""
    peer = await Peer.connect(served.path)
    peer.send(settings(s4=10), first(1), *[data(1, message(b"big 100"))] * 5)
    peer.send(request(3), data(3, message(b"x")), window(3, 1000))
    assert (await peer.until(Kind.DATA, 1)).payload == message(bytes(100))[:10]
    await peer.until(Kind.DATA, 3)
    assert len(served.talks[0].heard) == 1
    peer.send(window(1, 100))
    await served.eventually(lambda: len(served.talks[0].heard) == 2)
    peer.send(window(1, 1000), data(1, message(b"over"), end=True))
    assert (await peer.trailers(1))["grpc-status"] == "0"


async def test_a_peer_that_does_not_read_is_not_read_from(served: Served) -> None:
    peer = await Peer.connect(served.path)
    peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
    peer.send(settings(s4=2**31 - 1), window(0, 2**31 - 1 - 65_535), first(1))
    for _ in range(400):
        peer.send(data(1, message(b"big 100000")))
        await asyncio.sleep(0)
    seen = -1
    while seen != len(served.talks[0].heard):
        seen = len(served.talks[0].heard)
        await asyncio.sleep(0.02)
    assert seen < 100
    peer.reader._transport.resume_reading()  # type: ignore[attr-defined]
    peer.send(data(1, message(b"over"), end=True))
    assert (await peer.trailers(1))["grpc-status"] == "0"
    assert len(served.talks[0].heard) == 401


async def test_messages_that_never_end_are_bounded_together(tmp_path: Path) -> None:
    served = await serve(tmp_path / "w.sock", limit=10_000, limits=Limits(held=0))
    peer = await Peer.connect(served.path)
    part = message(bytes(10_000))[:9_000]
    peer.send(first(1), data(1, part))
    peer.send(*(request(s) + data(s, part) for s in range(3, 31, 2)))
    peer.send(request(31), data(31, message(b"over"), end=True))
    assert (await peer.trailers(31))["grpc-status"] == "0"
    refused = [t for t in served.talks if t.closed]
    assert len(refused) == 15 - 8 + 1
    peer.close()
    await served.eventually(served.settled)
    await served.channel.close()
    await served.server.stop(0)


async def test_exchanges_that_still_settle_count(tmp_path: Path) -> None:
    """Resetting does not make room before its work is done."""
    served = await serve(tmp_path / "w.sock", limits=Limits(streams=5))
    peer = await Peer.connect(served.path)
    peer.send(first(1), data(1, message(b"slow-end")))
    for stream in range(3, 15, 2):
        peer.send(request(stream), data(stream, message(b"slow-end")))
        peer.send(reset(stream - 2))
    assert (await peer.trailers(13))["grpc-status"] == "14"
    assert len(served.talks) == 5
    served.gate.set()
    peer.close()
    await served.eventually(served.settled)
    await served.channel.close()
    await served.server.stop(0)
