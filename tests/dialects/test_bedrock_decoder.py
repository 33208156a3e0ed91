"""Converse replies as they are read: frames and bodies in, whole or broken, and never an error raised."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.codec import aws_eventstream
from extproc.dialects import _parts
from extproc.dialects.bedrock_converse.words import NAME
from extproc.model.dialect import ReplyDecoder
from extproc.model.errors import (
    GatewayError,
    InvalidRequest,
    Overloaded,
    RateLimited,
    Timeout,
    UpstreamBad,
)
from extproc.model.reply import (
    Event,
    Failed,
    Finished,
    Note,
    NoteKind,
    PartKind,
    PartStarted,
    Reason,
    Started,
    TextDelta,
    Usage,
    Used,
)
from tests.dialects import kit_bedrock as kit
from tests.dialects.kit_bedrock import GOOD, STREAMS, compact, read
from tests.dialects.reading import (
    assert_cuts_agree,
    assert_well_formed,
    calls,
    drain,
    endings,
    failure,
    joined,
    text,
    thinking,
    usage,
)

PAIRS = [name for name in GOOD if (kit.FIXTURES / name.replace(".events", ".json")).exists()]


def new() -> ReplyDecoder:
    return kit.decoder()


# --- what is read


@pytest.mark.parametrize("name", GOOD)
def test_good_streams_are_well_formed_and_pass_untouched(name: str) -> None:
    data = kit.stream(name)
    events, raw = drain(new(), [data])
    assert_well_formed(events)
    assert raw == data


@pytest.mark.parametrize("name", STREAMS)
def test_any_split_gives_the_same(name: str) -> None:
    """trap 13"""
    assert_cuts_agree(new, kit.stream(name), [1, 2, 3, 5, 7, 11, 13, 64, 127])


@pytest.mark.parametrize("name", GOOD)
def test_a_stream_that_is_cut_off_fails(name: str) -> None:
    """trap 13: only behind the stop, at a frame's edge, may a stream end"""
    data = kit.stream(name)
    edges = [0]
    kinds: list[str] = []
    for one in aws_eventstream.EventStreamDecoder().feed(data):
        edges.append(edges[-1] + len(one.raw))
        kinds.append(str(one.headers[":event-type"]))
    may_end = edges[kinds.index("messageStop") + 1 :]
    for end in range(len(data)):
        events = kit.decode(data[:end])
        assert isinstance(events[-1], Finished if end in may_end else Failed), end


@pytest.mark.parametrize("name", PAIRS)
def test_whole_and_streamed_say_the_same(name: str) -> None:
    """trap 51: a tool's input is pieces of text there and an object here"""
    whole = read(name.replace(".events", ".json"))
    streamed = read(name)
    assert_well_formed(whole)
    if name != "server_tool.events":  # its input stays in the pieces in which it came
        assert [compact(event) for event in joined(whole)] == [
            compact(event) for event in joined(streamed)
        ]
    assert kit.encode(whole, stream=False) == kit.encode(streamed, stream=False)


def test_texts() -> None:
    """trap 53: a block of text has no start"""
    events = read("text.events")
    assert text(events) == "Grüße aus Köln 🎭"
    assert events[:2] == [Started("", ""), PartStarted(PartKind.TEXT)]
    assert all(event.text for event in events if isinstance(event, TextDelta))
    assert endings(events)[0].reason is Reason.STOP
    assert usage(events) == Usage(fresh=21, output=9, total=30)
    identified = kit.decode(kit.stream("text.events"), {**kit.STREAM, "x-amzn-requestid": "r1"})
    assert identified[0] == Started("r1", "")


def test_calls() -> None:
    events = read("tools.events")
    assert calls(events) == [
        ("tooluse_a1", "get_tide", '{"port": "Kiel"}'),
        ("tooluse_b2", "get_moon", "{}"),
    ]
    assert endings(events)[0].reason is Reason.TOOL
    renamed = read("tools.events", renamed={"get_tide": "get tide"})
    assert [name for _, name, _ in calls(renamed)] == ["get tide", "get_moon"]


@pytest.mark.parametrize("name", ["tools.events", "tools.json"])
def test_the_tool_that_was_forced_is_the_answer(name: str) -> None:
    events = read(name, answer_tool="get_moon")
    assert text(events) == "I will look.{}"
    assert endings(events)[0].reason is Reason.TOOL
    alone = json.loads(kit.fixture("tools.json"))
    del alone["output"]["message"]["content"][2]
    events = kit.decode(json.dumps(alone).encode(), kit.JSON, answer_tool="get_tide")
    assert text(events) == 'I will look.{"port":"Kiel"}'
    assert endings(events)[0].reason is Reason.STOP


def test_reasoning_and_its_seals() -> None:
    events = read("thinking.events")
    assert thinking(events) == "Tides follow the moon."
    notes = [event for event in events if isinstance(event, Note)]
    assert [(note.kind, note.value, note.dialect) for note in notes] == [
        (NoteKind.SIGNATURE, "c2ln", NAME),
        (NoteKind.REDACTED, "c2VjcmV0", NAME),
    ]


def test_what_only_bedrock_knows_is_a_part_of_its_own() -> None:
    events = read("server_tool.events")
    kinds = [event.kind for event in events if isinstance(event, PartStarted)]
    assert kinds == [PartKind.OPAQUE, PartKind.OPAQUE, PartKind.TEXT]
    assert endings(events)[0].reason is Reason.STOP


def test_a_stop_sequence_and_a_guardrail() -> None:
    ended = endings(read("stop_sequence.events"))[0]
    assert (ended.reason, ended.stop) == (Reason.STOP_SEQUENCE, "three")
    ended = endings(read("guardrail.events"))[0]
    assert (ended.reason, ended.raw) == (Reason.FILTER, "guardrail_intervened")
    assert ended.extra.fields.keys() == {"trace", "serviceTier", "metrics"}


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", Reason.STOP),
        ("tool_use", Reason.TOOL),
        ("max_tokens", Reason.LENGTH),
        ("stop_sequence", Reason.STOP_SEQUENCE),
        ("content_filtered", Reason.FILTER),
        ("model_context_window_exceeded", Reason.CONTEXT),
        ("brand_new", Reason.OTHER),
    ],
)
def test_reasons(word: str, reason: Reason) -> None:
    body = {"output": {"message": {"role": "assistant", "content": []}}, "stopReason": word}
    ended = endings(kit.decode(json.dumps(body).encode(), kit.JSON))[0]
    assert (ended.reason, ended.raw) == (reason, word)


def test_usage_is_normalised() -> None:
    """Both worked examples: 1000 tokens of which 800 were cached, and 500 written for an hour."""
    example = {"inputTokens": 200, "cacheReadInputTokens": 800, "outputTokens": 300}
    body = {**json.loads(kit.fixture("text.json")), "usage": example}
    found = usage(kit.decode(json.dumps(body).encode(), kit.JSON))
    assert found == Usage(fresh=200, cache_read=800, output=300)
    found = usage(read("cache.events"))
    assert found is not None
    assert (found.fresh, found.cache_write, found.cache_write_1h) == (100, 500, 500)
    assert (found.output, found.prompt, found.total) == (40, 600, 640)
    assert usage(read("no_metadata.events")) is None


# --- what is broken


def events_of(*frames: bytes) -> list[Event]:
    return kit.decode(b"".join(frames))


def text_frame(words: str = "a", index: int = 0) -> bytes:
    return kit.frame("contentBlockDelta", {"contentBlockIndex": index, "delta": {"text": words}})


@given(st.data())
def test_damaged_streams_fail_and_nothing_is_raised(data: st.DataObject) -> None:
    """trap 13: bad sums, lengths that lie"""
    body = bytearray(kit.stream(data.draw(st.sampled_from(STREAMS))))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    events, raw = drain(new(), [bytes(body)])
    assert isinstance(events[-1], Failed | Finished)
    assert bytes(body).startswith(raw)


@given(st.binary(max_size=200))
def test_noise_fails(noise: bytes) -> None:
    assert isinstance(kit.decode(noise)[-1], Failed)


def test_a_wrong_sum_fails_after_what_was_good() -> None:
    good = kit.stream("text.events")
    events, raw = drain(new(), [good[:300] + b"\0" + good[301:]])
    assert isinstance(failure(events), UpstreamBad)
    assert "checksum" in failure(events).message
    assert good.startswith(raw) and len(raw) < 300


def test_an_announced_giant_is_not_awaited() -> None:
    """trap 13: bounded memory"""
    events = kit.decode(b"\0\0\x01\0" + b"\x02\0\0\0" * 3)
    assert isinstance(failure(events), UpstreamBad)
    lies = aws_eventstream.write({":event-type": "x"}, b"{}")
    assert isinstance(failure(kit.decode(lies[:4] + b"\0\0\xff\xff" + lies[8:])), UpstreamBad)


def test_too_many_parts_fail() -> None:
    frames = [text_frame(index=at) for at in range(_parts.MAX_PARTS + 1)]
    assert "too many" in failure(events_of(*frames)).message


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([kit.frame("messageStart", {})], "early"),
        ([aws_eventstream.write({":event-type": "metadata", ":message-type": "event"}, b"[")], "JSON"),
        (
            [kit.frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": "{"}}})],
            "before its tool",
        ),
        (
            [kit.frame("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": {}}})],
            "without a name",
        ),
    ],
)  # fmt: skip
def test_broken_streams_say_what_is_wrong(frames: list[bytes], message: str) -> None:
    assert message in failure(events_of(*frames)).message


def test_unknown_frames_are_skipped() -> None:
    events = events_of(
        kit.frame("initial-response", {}),
        kit.frame("brandNew", {"x": 1}),
        aws_eventstream.write({":message-type": "brand-new"}, b"{}"),
        kit.stream("text.events"),
    )
    assert text(events) == "Grüße aus Köln 🎭"


def test_a_body_of_another_form_than_was_asked() -> None:
    """trap 15: JSON where a stream was asked, and a stream without its name"""
    assert text(kit.decode(kit.fixture("text.json"))) == "Grüße aus Köln 🎭"
    assert text(kit.decode(kit.stream("text.events"), kit.JSON)) == "Grüße aus Köln 🎭"
    assert isinstance(failure(kit.decode(b"<html>", {"content-type": "text/html"})), UpstreamBad)


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"output":{}}', b"{", b'{"message":"x"}'])
def test_whole_replies_that_are_none(body: bytes) -> None:
    assert isinstance(failure(kit.decode(body, kit.JSON)), UpstreamBad)


def test_broken_output_is_billed_and_not_shown() -> None:
    events = read("error_malformed.events")
    assert isinstance(failure(events), UpstreamBad)
    assert usage(events) is not None
    whole = {**json.loads(kit.fixture("tools.json")), "stopReason": "malformed_model_output"}
    events = kit.decode(json.dumps(whole).encode(), kit.JSON)
    assert [type(event) for event in events] == [Used, Failed]


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("throttlingException", RateLimited),
        ("ThrottlingException", RateLimited),
        ("THROTTLINGEXCEPTION", RateLimited),
        ("validationException", InvalidRequest),
        ("serviceUnavailableException", Overloaded),
        ("modelTimeoutException", Timeout),
        ("modelStreamErrorException", UpstreamBad),
        ("internalServerException", UpstreamBad),
        ("accessDeniedException", UpstreamBad),
        ("brandNewException", UpstreamBad),
    ],
)
def test_exceptions_in_a_stream(word: str, kind: type[GatewayError]) -> None:
    """trap 54"""
    events = events_of(text_frame("Hi"), kit.frame(word, {"message": "no more"}, "exception"))
    assert text(events) == "Hi"
    error = failure(events)
    assert type(error) is kind
    assert "no more" in error.message or "credential" in error.message


def test_errors_in_a_stream() -> None:
    headers = {":message-type": "error", ":error-code": "InternalFailure", ":error-message": "oh"}
    events, raw = drain(new(), [text_frame("Hi") + aws_eventstream.write(headers, b"")])
    assert failure(events).message == "oh"
    assert raw == text_frame("Hi")
    bare = aws_eventstream.write({":message-type": "exception"}, b"")
    assert "ended with" in failure(events_of(bare)).message
