"""Anthropic replies to events: whole, streamed, cut, broken, and on Bedrock's event stream."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from extproc.codec import aws_eventstream, sse
from extproc.dialects.anthropic_messages import DIALECT
from extproc.model.dialect import Rendered, ReplyHead
from extproc.model.errors import Overloaded, RateLimited, UpstreamBad
from extproc.model.reply import (
    ChoiceEnded,
    Event,
    Finished,
    Note,
    NoteKind,
    PartKind,
    PartStarted,
    Reason,
    Started,
    TextDelta,
    ToolDelta,
    Usage,
    Used,
)

from . import kit_anthropic as kit
from . import reading

GOOD = [name for name in kit.streams() if not name.startswith("error")]
WHOLE = ["text.json", "tools.json", "thinking.json", "server_tools.json"]


def event(kind: str, **members: Any) -> bytes:
    data = json.dumps({"type": kind, **members}, separators=(",", ":"))
    return f"event: {kind}\ndata: {data}\n\n".encode()


START = event("message_start", message={"id": "msg_1", "model": "m", "usage": {"input_tokens": 3}})
TEXT = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
STOP = event("content_block_stop", index=0)


def said(text: str) -> bytes:
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


def end(reason: str | None = "end_turn", **usage: int) -> bytes:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return event("message_delta", delta=delta, usage=usage) + event("message_stop")


def notes(events: list[Event], kind: NoteKind) -> list[Any]:
    return [e.value for e in events if isinstance(e, Note) and e.kind is kind]


# --- laws


@pytest.mark.parametrize("name", kit.streams())
def test_any_split_gives_the_same_events(name: str) -> None:
    """trap 2, trap 4: lines, CRLF and characters cut anywhere, one byte at a time among it."""
    reading.assert_cuts_agree(kit.decoder, kit.fixture(name), range(1, 40))


@pytest.mark.parametrize("name", kit.streams())
def test_a_stream_cut_anywhere_fails(name: str) -> None:
    """trap 7: a last event without its blank line counts when it is whole."""
    reading.assert_truncation_fails(kit.decoder, kit.fixture(name))


@pytest.mark.parametrize("name", GOOD)
def test_streams_are_well_formed_and_pass(name: str) -> None:
    events, raw = reading.drain(kit.decoder(), [kit.fixture(name)])
    reading.assert_well_formed(events)
    assert isinstance(events[-1], Finished)
    assert raw == kit.fixture(name)


@pytest.mark.parametrize("name", WHOLE)
def test_whole_replies_are_well_formed_and_pass(name: str) -> None:
    events, raw = reading.drain(kit.decoder(kit.JSON), [kit.fixture(name)])
    reading.assert_well_formed(events)
    assert raw == kit.fixture(name)
    reading.assert_truncation_fails(lambda: kit.decoder(kit.JSON), kit.fixture(name).strip())


# --- content


def test_text() -> None:
    """trap 40: a ping in the middle is skipped."""
    events = kit.decode(kit.fixture("text.sse"))
    assert reading.text(events) == "Grüße 🌍, all well."
    assert reading.endings(events)[0] == ChoiceEnded(
        Reason.STOP, 0, "end_turn", extra=reading.endings(events)[0].extra
    )
    assert events[0] == Started("msg_fix01", "claude-sonnet-4-5")


def test_parallel_tools() -> None:
    """trap 30: no fragments at all mean `{}`; the empty first fragment is no delta."""
    events = kit.decode(kit.fixture("tools_parallel.sse"))
    assert reading.calls(events) == [
        ("toolu_01a", "weather", '{"city": "Ulm"}'),
        ("toolu_01b", "clock", "{}"),
    ]
    assert reading.endings(events)[0].reason is Reason.TOOL
    assert all(e.arguments for e in events if isinstance(e, ToolDelta))


def test_whole_tools() -> None:
    events = kit.decode(kit.fixture("tools.json"), kit.JSON)
    assert reading.calls(events) == [
        ("toolu_04", "weather", '{"city":"Ulm","days":[1,2]}'),
        ("toolu_05", "clock", "{}"),
    ]


def test_arguments_in_the_start_count_where_no_fragment_comes() -> None:
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}
    body = START + event("content_block_start", index=0, content_block=block) + STOP + end()
    assert reading.calls(kit.decode(body)) == [("t", "f", '{"a":1}')]


def test_thinking_is_signed_and_redacted() -> None:
    events = kit.decode(kit.fixture("thinking_tool.sse"))
    assert reading.thinking(events) == "The user wants the time."
    assert notes(events, NoteKind.SIGNATURE) == ["c2lnLTE="]
    assert notes(events, NoteKind.REDACTED) == ["cmVkYWN0ZWQ="]
    kinds = [e.kind for e in events if isinstance(e, PartStarted)]
    assert kinds == [PartKind.THINKING, PartKind.THINKING, PartKind.TOOL]


def test_omitted_thinking_leaves_its_signature() -> None:
    events = kit.decode(kit.fixture("thinking_omitted.sse"))
    assert reading.thinking(events) == ""
    assert notes(events, NoteKind.SIGNATURE) == ["c2lnLTI="]


def test_server_tools_are_opaque_and_citations_are_notes() -> None:
    events = kit.decode(kit.fixture("web_search_citations.sse"))
    opaque = [e for e in events if isinstance(e, PartStarted) and e.kind is PartKind.OPAQUE]
    assert [e.extra.fields["type"] for e in opaque] == ["server_tool_use", "web_search_tool_result"]
    assert len(notes(events, NoteKind.CITATION)) == 1
    assert reading.text(events) == "The hill is 90 m high."


def test_unknown_kinds_are_skipped_or_kept() -> None:
    """trap 31: an empty text delta is none."""
    events = kit.decode(kit.fixture("unknown_kinds.sse"))
    assert reading.text(events) == "fine"
    assert notes(events, NoteKind.EXTRA) == [{"type": "sparkle_delta", "shine": 2}]
    assert all(e.text for e in events if isinstance(e, TextDelta))


def test_a_block_that_never_stops_is_closed() -> None:
    events = kit.decode(START + TEXT + said("a") + end())
    reading.assert_well_formed(events)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", Reason.STOP),
        ("stop_sequence", Reason.STOP_SEQUENCE),
        ("max_tokens", Reason.LENGTH),
        ("model_context_window_exceeded", Reason.CONTEXT),
        ("tool_use", Reason.TOOL),
        ("refusal", Reason.REFUSAL),
        ("pause_turn", Reason.PAUSED),
        ("brand_new", Reason.OTHER),
    ],
)
def test_stop_reasons(word: str, reason: Reason) -> None:
    ended = reading.endings(kit.decode(START + TEXT + said("a") + STOP + end(word)))[0]
    assert (ended.reason, ended.raw) == (reason, word)


def test_a_refusal_keeps_its_details() -> None:
    ended = reading.endings(kit.decode(kit.fixture("refusal_documented.sse")))[0]
    assert ended.reason is Reason.REFUSAL
    details = {"type": "refusal", "category": "cyber", "explanation": "Not this."}
    assert ended.extra.fields["stop_details"] == details


def test_a_stop_sequence_is_named() -> None:
    ended = reading.endings(kit.decode(kit.fixture("stop_sequence.sse")))[0]
    assert (ended.reason, ended.stop) == (Reason.STOP_SEQUENCE, "three")


# --- tools that were renamed, and the answer as a tool


def test_a_renamed_tool_gets_its_name_back() -> None:
    to = Rendered("/v1/messages", b"", renamed={"clock": "the clock"})
    events = kit.decode(kit.fixture("tools_parallel.sse"), to=to)
    assert [name for _, name, _ in reading.calls(events)] == ["weather", "the clock"]


@pytest.mark.parametrize("name", ["tools.json", "tools_parallel.sse"])
def test_the_answer_tool_is_text(name: str) -> None:
    to = Rendered("/v1/messages", b"", answer_tool="weather")
    events = kit.decode(kit.fixture(name), to=to)
    assert json.loads(
        reading.text(events).partition("{")[1] + reading.text(events).partition("{")[2]
    )
    assert [called for _, called, _ in reading.calls(events)] == ["clock"]
    assert reading.endings(events)[0].reason is Reason.TOOL


def test_the_answer_tool_alone_is_a_plain_stop() -> None:
    to = Rendered("/v1/messages", b"", answer_tool="clock")
    block = {"type": "tool_use", "id": "t", "name": "clock", "input": {}}
    body = START + event("content_block_start", index=0, content_block=block)
    delta = {"type": "input_json_delta", "partial_json": '{"a":1}'}
    body += event("content_block_delta", index=0, delta=delta) + STOP + end("tool_use")
    events = kit.decode(body, to=to)
    assert reading.text(events) == '{"a":1}'
    assert reading.endings(events)[0].reason is Reason.STOP


# --- usage


def test_usage_of_example_a() -> None:
    usage = reading.usage(kit.decode(kit.fixture("thinking.json"), kit.JSON))
    assert usage is not None
    got = (usage.fresh, usage.cache_read, usage.cache_write, usage.output, usage.reasoning)
    assert got == (200, 800, 0, 300, 120)
    assert usage.prompt == 1000
    assert usage.extra.fields == {"service_tier": "standard"}


def test_usage_of_example_b() -> None:
    """trap 39: the counts of `message_delta` are totals: two of them, and the last one wins."""
    usage = reading.usage(kit.decode(kit.fixture("usage_cumulative.sse")))
    assert usage == Usage(fresh=100, cache_write=500, cache_write_1h=500, output=40)


def test_a_delta_may_correct_the_input() -> None:
    body = START + TEXT + said("a") + STOP + end(input_tokens=9, output_tokens=2)
    assert reading.usage(kit.decode(body)) == Usage(fresh=9, output=2)


def test_no_usage_is_not_zero_usage() -> None:
    body = event("message_start", message={"id": "m", "model": "m"}) + TEXT + STOP + end()
    assert not any(isinstance(e, Used) for e in kit.decode(body))


# --- failures


def test_an_error_in_the_stream() -> None:
    """trap 41: after status 200, `Failed` and no end; what was used so far is told."""
    events, raw = reading.drain(kit.decoder(), [kit.fixture("error_midway_documented.sse")])
    error = reading.failure(events)
    assert isinstance(error, Overloaded)
    assert (error.message, error.status) == ("Overloaded", 529)
    assert isinstance(events[-2], Used)
    assert b"event: error" not in raw


def test_json_where_a_stream_was_asked() -> None:
    """trap 15: an error, or a message, as JSON under the stream's content type."""
    error = reading.failure(kit.decode(kit.fixture("error_200.json")))
    assert error.message == "Internal server error"
    assert reading.text(kit.decode(kit.fixture("text.json"))) == "Grüße 🌍"


def test_a_stream_under_a_wrong_content_type() -> None:
    events = kit.decode(kit.fixture("text.sse"), {"content-type": "text/plain"})
    assert reading.text(events) == "Grüße 🌍, all well."


def test_a_page_of_html() -> None:
    """trap 14."""
    error = reading.failure(kit.decode(b"<html>nothing</html>", {"content-type": "text/html"}))
    assert isinstance(error, UpstreamBad)


def test_a_byte_order_mark() -> None:
    """trap 5."""
    for name in ("text.sse", "text.json"):
        assert reading.text(kit.decode(b"\xef\xbb\xbf" + kit.fixture(name))).startswith("Grüße")


def test_comments_ids_and_pretty_data() -> None:
    """trap 1, trap 3, trap 6: no space after `data:`, several data lines, comments, ids, CRLF."""
    assert reading.text(kit.decode(kit.fixture("crlf_pretty.sse"))) == "né"


def test_what_follows_the_end_passes_unread() -> None:
    """trap 8: also a `[DONE]`, which some proxies add."""
    body = kit.fixture("text.sse") + b"data: [DONE]\n\ndata: {"
    for step in (1, 50, len(body)):
        pieces = [body[at : at + step] for at in range(0, len(body), step)]
        events, raw = reading.drain(kit.decoder(), pieces)
        assert isinstance(events[-1], Finished)
        assert raw == body


def test_a_lone_surrogate() -> None:
    """trap 17: the stream passes byte by byte, and the events hold text."""
    body = START + TEXT + said("a").replace(b'"a"', b'"\\ud800"') + STOP + end()
    events, raw = reading.drain(kit.decoder(), [body])
    assert raw == body
    assert isinstance(events[-1], Finished)


@pytest.mark.parametrize("data", [b"data: [1]\n\n", b"data: {nope\n\n", b"data: 7\n\n"])
def test_an_event_that_is_no_object(data: bytes) -> None:
    assert isinstance(reading.failure(kit.decode(START + data)), UpstreamBad)


@pytest.mark.parametrize(
    "odd",
    [
        event("content_block_delta", index="x", delta=None),
        event("content_block_delta", index=9, delta={"type": "text_delta", "text": "x"}),
        event("content_block_start", index=None, content_block=7),
        event("content_block_stop", index=5),
        event("message_delta", delta=3, usage=[]),
        event("message_start", message=None),
        event("message_start", message={"id": 3, "usage": {"input_tokens": "many"}}),
    ],
)
def test_odd_events_do_no_harm(odd: bytes) -> None:
    events = kit.decode(START + odd + TEXT + said("a") + odd + STOP + end())
    assert reading.text(events) == "a"
    reading.assert_well_formed(events)


def test_too_many_blocks() -> None:
    blocks = b"".join(
        event("content_block_start", index=i, content_block={"type": "text"}) for i in range(1100)
    )
    assert "too many parts" in reading.failure(kit.decode(START + blocks)).message


def test_too_many_members() -> None:
    deltas = b"".join(event("message_delta", delta={f"m{i}": 1}) for i in range(100))
    assert "too many parts" in reading.failure(kit.decode(START + deltas)).message


# --- InvokeModel on Bedrock


def framed(stream: bytes) -> bytes:
    headers = {
        ":event-type": "chunk",
        ":content-type": "application/json",
        ":message-type": "event",
    }
    out = b""
    for block in stream.decode().replace("\r\n", "\n").split("\n\n"):
        lines = [line[5:] for line in block.split("\n") if line.startswith("data:")]
        if lines:
            data = base64.b64encode("\n".join(lines).encode()).decode()
            payload = json.dumps({"bytes": data, "p": "abc"}).encode()
            out += aws_eventstream.write(headers, payload)
    return out


@pytest.mark.parametrize("name", GOOD)
def test_an_event_stream_says_the_same(name: str) -> None:
    body = framed(kit.fixture(name))
    events, passed = reading.drain(kit.decoder(kit.FRAMES), [body])
    plain = kit.decode(kit.fixture(name))
    assert events == plain
    assert kit.decode(passed) == plain
    reading.assert_cuts_agree(lambda: kit.decoder(kit.FRAMES), body, (1, 3, 50, 333))


def test_a_cut_event_stream_fails() -> None:
    body = framed(kit.fixture("text.sse"))
    for size in range(0, len(body), 7):
        last = kit.decode(body[:size], kit.FRAMES)[-1]
        assert not isinstance(last, Finished)


def test_an_event_stream_that_lies() -> None:
    """trap 13."""
    body = bytearray(framed(kit.fixture("text.sse")))
    body[len(body) // 2] ^= 1
    assert isinstance(reading.failure(kit.decode(bytes(body), kit.FRAMES)), UpstreamBad)


@pytest.mark.parametrize("name", ["throttlingException", "ThrottlingException"])
def test_an_exception_frame(name: str) -> None:
    """trap 54: the exception's name is read whatever its case."""
    headers = {":exception-type": name, ":message-type": "exception"}
    frame = aws_eventstream.write(headers, b'{"message":"Too many requests"}')
    events, passed = reading.drain(kit.decoder(kit.FRAMES), [framed(START + TEXT) + frame])
    error = reading.failure(events)
    assert isinstance(error, RateLimited)
    assert error.message == "Too many requests"
    assert b"event: error" not in passed


def test_a_json_error_under_the_event_streams_type() -> None:
    body = b'{"type":"error","error":{"type":"api_error","message":"no"}}'
    assert reading.failure(kit.decode(body, kit.FRAMES)).message == "no"


@pytest.mark.parametrize("stream", [False, True])
def test_trap_18_long_integers_in_a_calls_input_stay_exact(stream: bool) -> None:
    """trap 18"""
    block = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"n": 10**30}}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    usage = {"input_tokens": 1, "output_tokens": 1}
    if stream:
        frames: list[dict[str, object]] = [
            {"type": "message_start", "message": {**message, "content": [], "usage": usage}},
            {"type": "content_block_start", "index": 0, "content_block": block},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": usage},
            {"type": "message_stop"},
        ]
        body = b"".join(sse.write(json.dumps(f).encode(), str(f["type"]).encode()) for f in frames)
        headers = {"content-type": "text/event-stream"}
    else:
        whole = {**message, "content": [block], "stop_reason": "tool_use", "usage": usage}
        body, headers = json.dumps(whole).encode(), {"content-type": "application/json"}
    decoder = DIALECT.decoder(ReplyHead(200, headers), Rendered("", b"", stream=stream))
    events, _ = reading.drain(decoder, [body])
    assert [(name, args) for _, name, args in reading.calls(events)] == [
        ("f", '{"n":1000000000000000000000000000000}')
    ]
