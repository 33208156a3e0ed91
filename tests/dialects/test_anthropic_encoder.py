"""Events to Anthropic replies: what is written is read again, by us and by the real SDK."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import anthropic
import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.codec.sse import SseSplitter
from extproc.dialects._signatures import unwrap, wrap
from extproc.dialects.anthropic_messages import DIALECT
from extproc.dialects.anthropic_messages.encoder import MAX_HELD
from extproc.dialects.anthropic_messages.parts import carries
from extproc.model.call import CallId
from extproc.model.chat import Extra
from extproc.model.dialect import ReplyContext
from extproc.model.embed import Count
from extproc.model.errors import Overloaded
from extproc.model.reply import (
    ChoiceEnded,
    Counted,
    Event,
    Failed,
    Finished,
    MediaDelta,
    Note,
    NoteKind,
    PartEnded,
    PartKind,
    PartStarted,
    Reason,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    Usage,
    Used,
)

from . import kit_anthropic as kit
from . import reading, strategies

GOOD = [name for name in kit.streams() if not name.startswith("error")]
WHOLE = ["text.json", "tools.json", "thinking.json", "server_tools.json"]
ASKED: Any = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}
BEGUN = [Started("x", "m")]
ENDED = [ChoiceEnded(Reason.STOP), Finished()]


def same_identity(events: list[Event]) -> list[Event]:
    """The reply's id becomes ours on the wire: made alike before comparing."""
    return [
        replace(e, id=e.id.removeprefix("msg_")) if isinstance(e, Started) else e for e in events
    ]


def through(events: list[Event], stream: bool = True) -> list[Event]:
    wire = kit.encode(events, stream)
    return same_identity(kit.decode(wire, kit.SSE if stream else kit.JSON))


def client(wire: bytes, stream: bool, status: int = 200, **headers: str) -> anthropic.Anthropic:
    """The real SDK, to which this reply is given."""
    kind = kit.SSE if stream else kit.JSON

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, headers={**kind, **headers}, content=wire)

    return anthropic.Anthropic(
        api_key="k",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(answer)),
    )


def sdk_streamed(events: list[Event]) -> Any:
    with client(kit.encode(events), stream=True).messages.stream(**ASKED) as stream:
        return stream.get_final_message()


def sdk_whole(events: list[Event]) -> Any:
    return client(kit.encode(events, stream=False), stream=False).messages.create(**ASKED)


# --- decode(encode(events)) == carries(events)


@pytest.mark.parametrize("name", GOOD)
def test_what_this_language_said_survives_whole(name: str) -> None:
    events = same_identity(kit.decode(kit.fixture(name)))
    assert through(events) == same_identity(carries(events)) == events


@pytest.mark.parametrize("name", WHOLE)
def test_whole_replies_survive_whole(name: str) -> None:
    events = same_identity(kit.decode(kit.fixture(name), kit.JSON))
    assert through(events, stream=False) == events
    said = json.loads(kit.fixture(name))
    again = json.loads(kit.encode(events, stream=False))
    for member in ("content", "stop_reason", "stop_sequence", "usage", "model", "role"):
        assert again[member] == said[member]


def home_notes() -> st.SearchStrategy[list[Event]]:
    """Parts and notes that only this language has, besides those of any reply."""
    value: Any = st.sampled_from([{"type": "sparkle_delta", "shine": 1}, {"type": "text_delta"}, 7])
    home = st.sampled_from([kit.NAME, "gemini_generate"])
    notes = st.one_of(
        st.builds(Note, st.just(NoteKind.EXTRA), value, dialect=home),
        st.builds(Note, st.just(NoteKind.CITATION), st.just({"url": "u"}), dialect=home),
        st.builds(Note, st.just(NoteKind.SIGNATURE), st.sampled_from(["s", ""]), dialect=home),
        st.builds(Note, st.just(NoteKind.REDACTED), st.sampled_from(["r", ""]), dialect=home),
        st.builds(Note, st.just(NoteKind.LOGPROBS), st.just({"content": []}), dialect=home),
    )
    extras = st.sampled_from([Extra(kit.NAME, {"type": "compaction"}), Extra("x", {"type": "y"})])
    kinds = st.sampled_from([k for k in PartKind if k is not PartKind.MEDIA])
    parts = st.tuples(kinds, extras, st.lists(notes, max_size=3))

    def joined(found: list[tuple[PartKind, Extra, list[Note]]]) -> list[Event]:
        out: list[Event] = [*BEGUN]
        for at, (kind, extra, inside) in enumerate(found):
            tool = kind is PartKind.TOOL
            extra = extra if kind is PartKind.OPAQUE else Extra("", {})
            name = "f" if tool else ""
            out.append(PartStarted(kind, at, 0, "t" if tool else "", name, extra))
            out.extend(replace(note, part=at) for note in inside)
            out.append(PartEnded(at))
        return [*out, *ENDED]

    return st.lists(parts, max_size=4).map(joined)


def assert_law(events: list[Event]) -> None:
    expected = reading.joined(carries(events))
    found = reading.joined(through(events))
    if isinstance(expected[-1], Failed):
        assert isinstance(found[-1], Failed)
        assert found[-1].error.message == expected[-1].error.message
        return
    assert found == expected
    reading.assert_well_formed(through(events))


@given(strategies.replies(dialect=kit.NAME, choices=2, broken=True))
@settings(max_examples=150, deadline=None)
def test_any_reply_of_this_language(events: list[Event]) -> None:
    assert_law(events)


@given(strategies.replies(dialect="gemini_generate", choices=2, broken=True))
@settings(max_examples=150, deadline=None)
def test_any_reply_of_another_language(events: list[Event]) -> None:
    assert_law(events)


@given(home_notes())
@settings(max_examples=200, deadline=None)
def test_any_notes(events: list[Event]) -> None:
    assert_law(events)


def blocks(message: Any) -> Any:
    return [
        {name: value for name, value in block.to_dict().items() if value is not None}
        for block in message.content
    ]


@given(strategies.replies(dialect="gemini_generate", broken=False, failing=False))
@settings(max_examples=30, deadline=None)
def test_whole_and_streamed_say_the_same_to_the_sdk(events: list[Event]) -> None:
    streamed, whole = sdk_streamed(events), sdk_whole(events)
    assert blocks(streamed) == blocks(whole)
    assert (streamed.stop_reason, streamed.usage.output_tokens) == (
        whole.stop_reason,
        whole.usage.output_tokens,
    )
    expected = carries(events)
    texts = "".join(block.text for block in streamed.content if block.type == "text")
    assert texts == reading.text(expected)
    calls = [(b.id, b.name, b.input) for b in streamed.content if b.type == "tool_use"]
    assert calls == [(i, n, json.loads(a)) for i, n, a in reading.calls(expected)]


# --- the wire


def test_every_event_is_named() -> None:
    """trap 9: the SDK drops events without a name."""
    wire = kit.encode(same_identity(kit.decode(kit.fixture("thinking_tool.sse"))))
    frames = SseSplitter().feed(wire)
    assert frames
    for frame in frames:
        assert frame.data is not None
        assert frame.event.decode() == json.loads(frame.data)["type"]
    assert len(sdk_streamed(kit.decode(kit.fixture("thinking_tool.sse"))).content) == 3


def test_the_identity_is_ours() -> None:
    context = ReplyContext(CallId("gw-123"), "what I asked", 7)
    for stream in (True, False):
        encoder = DIALECT.encoder(kit.parse({**ASKED, "stream": stream}), context)
        events = [Started("chatcmpl-9", "gpt-4o", 3, Extra("openai_chat", {"x": 1})), *ENDED]
        wire = b"".join(encoder.feed(event) for event in events)
        assert b'"id":"msg_123"' in wire and b'"model":"what I asked"' in wire
        assert b"gpt-4o" not in wire and b'"x"' not in wire
        status, headers = encoder.head()
        assert (status, "content-length" in headers) == (200, False)


def test_calls_that_interleave_come_one_after_the_other() -> None:
    events: list[Event] = [
        *BEGUN,
        PartStarted(PartKind.TOOL, 0, 0, "a", "f"),
        PartStarted(PartKind.TOOL, 1, 0, "b", "g"),
        PartStarted(PartKind.TEXT, 2),
        ToolDelta('{"x"', 0),
        ToolDelta('{"y"', 1),
        TextDelta("said", 2),
        ToolDelta(":1}", 0),
        ToolDelta(":2}", 1),
        PartEnded(1),
        PartEnded(0),
        TextDelta(" more", 2),
        PartEnded(2),
        *ENDED,
    ]
    message = sdk_streamed(events)
    assert [block.type for block in message.content] == ["tool_use", "tool_use", "text"]
    assert [block.input for block in message.content[:2]] == [{"x": 1}, {"y": 2}]
    assert message.content[2].text == "said more"


def test_what_waits_is_bounded() -> None:
    events: list[Event] = [
        *BEGUN,
        PartStarted(PartKind.TOOL, 0, 0, "a", "f"),
        PartStarted(PartKind.TOOL, 1, 0, "b", "g"),
        *[ToolDelta("x" * (MAX_HELD // 4), 1)] * 5,
        *ENDED,
    ]
    wire = kit.encode(events)
    assert wire.count(b"event: error") == 1
    assert b"message_stop" not in wire


def test_foreign_signatures_travel_wrapped() -> None:
    events: list[Event] = [
        *BEGUN,
        PartStarted(PartKind.THINKING, 0),
        ThinkingDelta("hm", 0),
        Note(NoteKind.SIGNATURE, "c2ln", 0, dialect="gemini_generate"),
        PartEnded(0),
        PartStarted(PartKind.THINKING, 1),
        Note(NoteKind.REDACTED, "aGlk", 1, dialect="bedrock_converse"),
        PartEnded(1),
        *ENDED,
    ]
    for message in (sdk_streamed(events), sdk_whole(events)):
        thinking, redacted = message.content
        assert unwrap(thinking.signature, kit.NAME) == ("c2ln", "gemini_generate")
        assert redacted.data == wrap("aGlk", "bedrock_converse", kit.NAME)


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        (Reason.STOP, "end_turn"),
        (Reason.STOP_SEQUENCE, "stop_sequence"),
        (Reason.LENGTH, "max_tokens"),
        (Reason.CONTEXT, "model_context_window_exceeded"),
        (Reason.TOOL, "tool_use"),
        (Reason.FILTER, "refusal"),
        (Reason.REFUSAL, "refusal"),
        (Reason.PAUSED, "pause_turn"),
        (Reason.OTHER, "end_turn"),
    ],
)
def test_stop_reasons(reason: Reason, word: str) -> None:
    ended = ChoiceEnded(reason, 0, "content_filter", "END", Extra("openai_chat", {}))
    for message in (
        sdk_streamed([*BEGUN, ended, Finished()]),
        sdk_whole([*BEGUN, ended, Finished()]),
    ):
        assert (message.stop_reason, message.stop_sequence) == (word, "END")


def test_words_of_refusal_end_by_refusal() -> None:
    refusal = [PartStarted(PartKind.REFUSAL), TextDelta("No."), PartEnded()]
    events: list[Event] = [*BEGUN, *refusal, *ENDED]
    for message in (sdk_streamed(events), sdk_whole(events)):
        assert (message.stop_reason, message.content[0].text) == ("refusal", "No.")


def test_usage() -> None:
    usage = Usage(fresh=100, cache_write=500, cache_write_1h=500, output=40, reasoning=10)
    events: list[Event] = [*BEGUN, ENDED[0], Used(usage), Finished()]
    for message in (sdk_streamed(events), sdk_whole(events)):
        got = message.usage
        assert (got.input_tokens, got.cache_creation_input_tokens) == (100, 500)
        assert (got.output_tokens, got.output_tokens_details.thinking_tokens) == (40, 10)


def test_an_estimate_is_no_fact() -> None:
    events: list[Event] = [
        *BEGUN,
        ENDED[0],
        Used(Usage(fresh=9, output=9, estimated=True)),
        Finished(),
    ]
    for message in (sdk_streamed(events), sdk_whole(events)):
        assert (message.usage.input_tokens, message.usage.output_tokens) == (0, 0)


def test_media_and_empty_parts_leave_no_block() -> None:
    events: list[Event] = [
        *BEGUN,
        PartStarted(PartKind.MEDIA, 0),
        MediaDelta("AAAA", "audio/wav", 0),
        PartEnded(0),
        PartStarted(PartKind.TEXT, 1),
        PartEnded(1),
        PartStarted(PartKind.THINKING, 2),
        PartEnded(2),
        *ENDED,
    ]
    assert sdk_streamed(events).content == sdk_whole(events).content == []


# --- whole replies


def called(arguments: str, reason: Reason) -> list[Event]:
    tool = PartStarted(PartKind.TOOL, 0, 0, "a", "f")
    return [*BEGUN, tool, ToolDelta(arguments), PartEnded(), ChoiceEnded(reason), Finished()]


def test_a_broken_call_is_an_error_of_the_provider() -> None:
    encoder = DIALECT.encoder(kit.parse(ASKED), kit.context_for([]))
    wire = b"".join(encoder.feed(event) for event in called('{"x":', Reason.TOOL))
    assert encoder.head()[0] == 502
    with pytest.raises(anthropic.InternalServerError):
        client(wire, stream=False, status=502).messages.create(**ASKED)


def test_a_call_cut_off_at_the_limit_is_left_out() -> None:
    message = sdk_whole(called('{"x":', Reason.LENGTH))
    assert (message.content, message.stop_reason) == ([], "max_tokens")


def test_a_stream_of_a_server_tool_becomes_whole() -> None:
    events = kit.decode(kit.fixture("web_search_citations.sse"))
    tool, _, text = sdk_whole(events).content
    assert tool.input == {"query": "height"}
    assert len(text.citations) == 1
    summary, _ = json.loads(kit.encode(kit.decode(kit.fixture("compaction.sse")), False))["content"]
    assert summary == {"type": "compaction", "content": "Summary so far."}


def test_a_lone_surrogate_is_replaced() -> None:
    """trap 17."""
    events: list[Event] = [
        *BEGUN,
        PartStarted(PartKind.TEXT),
        TextDelta("a\ud800"),
        PartEnded(),
        *ENDED,
    ]
    assert sdk_streamed(events).content[0].text == "a\ufffd"
    assert sdk_whole(events).content[0].text == "a\ufffd"


# --- failures and counts


def test_a_failure_in_the_stream() -> None:
    """trap 41: `event: error`, which the SDK raises, and no end."""
    events: list[Event] = [*BEGUN, Failed(Overloaded("busy"))]
    wire = kit.encode(events)
    assert b"message_stop" not in wire
    with (
        pytest.raises(anthropic.APIStatusError, match="busy") as caught,
        client(wire, stream=True).messages.stream(**ASKED) as stream,
    ):
        stream.get_final_message()
    assert caught.value.type == "overloaded_error"


def test_a_count() -> None:
    count = Count(kit.parse(ASKED))
    encoder = DIALECT.encoder(count, kit.context_for([]))
    wire = b"".join(encoder.feed(e) for e in [Started("", ""), Counted(42, True), Finished()])
    assert (
        client(wire, stream=False)
        .messages.count_tokens(model="m", messages=ASKED["messages"])
        .input_tokens
        == 42
    )
