"""Events to OpenAI Chat replies: what is written is read again, by us and by the real SDK."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai._streaming import SSEDecoder
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from extproc.dialects.openai_chat.parts import carries
from extproc.model.chat import Extra, Json
from extproc.model.errors import Overloaded
from extproc.model.reply import (
    ChoiceEnded,
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

from . import kit_chat as kit
from . import strategies
from .reading import joined

GOOD = [name for name in kit.streams() if name != "error_midway.sse"]


def same_identity(events: list[Event]) -> list[Event]:
    """The reply's id becomes ours on the wire: made alike before comparing."""
    return [
        replace(event, id=event.id.removeprefix("chatcmpl-"))
        if isinstance(event, Started)
        else event
        for event in events
    ]


def through(events: list[Event]) -> list[Event]:
    return same_identity(kit.decode(kit.encode(events)))


def sdk_chunks(stream: bytes) -> list[ChatCompletionChunk]:
    """The stream as the openai SDK's own parser and types read it."""
    found = list(SSEDecoder().iter_bytes(iter([stream])))
    return [
        ChatCompletionChunk.model_validate(event.json())
        for event in found
        if event.data != "[DONE]"
    ]


# --- decode(encode(events)) == carries(events)


@pytest.mark.parametrize("name", GOOD)
def test_what_this_language_said_survives_whole(name: str) -> None:
    events = same_identity(kit.decode(kit.fixture(name)))
    # A reply that never said why it ended says so now.
    expected = [
        replace(e, raw="tool_calls") if isinstance(e, ChoiceEnded) and e.raw is None else e
        for e in events
    ]
    assert carries(events) == expected
    assert through(events) == expected


KINDS = st.sampled_from(
    [
        PartKind.TEXT,
        PartKind.THINKING,
        PartKind.REFUSAL,
        PartKind.TOOL,
        PartKind.MEDIA,
        PartKind.OPAQUE,
    ]
)
WORDS = st.text(max_size=4)
HOME = st.sampled_from(["openai_chat", "anthropic_messages", ""])


@st.composite
def replies(draw: st.DrawFn, words: tuple[str, ...] = ("stop", "length", "eos")) -> list[Event]:
    """Any well-formed reply, of this dialect or another."""
    events: list[Event] = [
        Started(
            draw(WORDS), draw(WORDS), draw(st.integers(0, 9)), Extra(draw(HOME), {"provider": "x"})
        )
    ]
    choices = draw(st.integers(1, 3))
    for choice in range(choices):
        for part in range(draw(st.integers(0, 4))):
            events.extend(draw(parts(choice, part)))
    for choice in range(choices):
        reason = draw(st.sampled_from(Reason))
        raw = draw(st.none() | st.sampled_from(words))
        extra = Extra(draw(HOME), {"native": 1} if draw(st.booleans()) else {})
        events.append(ChoiceEnded(reason, choice, raw, extra=extra))
    if draw(st.booleans()):
        count = st.integers(0, 50)
        reasoning = draw(count)
        events.append(
            Used(
                Usage(
                    draw(count),
                    draw(count),
                    draw(count),
                    output=reasoning + draw(count),
                    reasoning=reasoning,
                    estimated=draw(st.booleans()),
                )
            )
        )
    return [*events, Finished()]


@st.composite
def parts(draw: st.DrawFn, choice: int, part: int) -> list[Event]:
    kind = draw(KINDS)
    start = PartStarted(kind, part, choice)
    words = draw(st.lists(WORDS, max_size=3))
    match kind:
        case PartKind.TEXT | PartKind.REFUSAL:
            inside: list[Event] = [TextDelta(word, part, choice) for word in words]
        case PartKind.THINKING:
            inside = [ThinkingDelta(word, part, choice) for word in words]
        case PartKind.TOOL:
            start = replace(
                start, id=f"call_{choice}_{part}", name=draw(st.sampled_from(["f", "g"]))
            )
            inside = [ToolDelta(word, part, choice) for word in words]
        case PartKind.MEDIA:
            media_type = draw(st.sampled_from([None, "audio/wav", "image/png"]))
            inside = [MediaDelta(word, media_type, part, choice) for word in words]
        case PartKind.OPAQUE:
            inside = []
    if inside and draw(st.booleans()):
        values: list[dict[str, Json]] = [{"channel": "a"}, {"audio": {"transcript": "t"}}]
        value = draw(st.sampled_from(values))
        note = Note(
            draw(st.sampled_from([NoteKind.EXTRA, NoteKind.SIGNATURE])),
            dict(value),
            part,
            choice,
            draw(HOME),
        )
        inside.append(note)
    return [start, *inside, PartEnded(part, choice)]


@given(replies())
def test_what_is_carried_is_read_again(events: list[Event]) -> None:
    expected = carries(events)
    assert through(events) == expected
    assert carries(expected) == expected


@given(replies())
def test_a_whole_reply_holds_what_the_stream_holds(events: list[Event]) -> None:
    expected = carries(events)
    whole = kit.decode(kit.encode(events, stream=False), kit.JSON)
    assert whole[-1] == Finished()
    for choice in kit.endings(expected):
        assert kit.text(whole, choice) == kit.text(expected, choice)
        assert kit.thinking(whole, choice) == kit.thinking(expected, choice)
        assert [c[1:] for c in kit.calls(whole, choice)] == [
            c[1:] for c in kit.calls(expected, choice)
        ]
    assert kit.endings(whole) == kit.endings(expected)
    assert kit.usage(whole) == kit.usage(expected)


@pytest.mark.parametrize("name", ["text.json", "tools.json", "two_choices.json", "reasoning.json"])
def test_whole_replies_survive_but_for_empty_members(name: str) -> None:
    events = kit.decode(kit.fixture(name), kit.JSON)
    written = json.loads(kit.encode(events, stream=False))
    original = json.loads(kit.fixture(name))
    assert written["choices"] == [drop_empty(choice) for choice in original["choices"]]
    assert written["model"] == original["model"]
    assert written.get("system_fingerprint") == original.get("system_fingerprint")


def drop_empty(choice: dict[str, Any]) -> dict[str, Any]:
    message = {name: value for name, value in choice["message"].items() if value != []}
    return {**choice, "message": {"refusal": None, **message}}


# --- the real SDK


@given(replies(("stop", "length")))
def test_the_sdk_validates_whole_replies(events: list[Event]) -> None:
    ChatCompletion.model_validate_json(kit.encode(events, stream=False))


@given(replies(("stop", "length")))
def test_the_sdk_reads_every_stream(events: list[Event]) -> None:
    expected = carries(events)
    chunks = sdk_chunks(kit.encode(events))
    said = "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices if c.index == 0)
    assert said == kit.text(expected)
    arguments = "".join(
        call.function.arguments or ""
        for chunk in chunks
        for choice in chunk.choices
        for call in choice.delta.tool_calls or []
        if call.function
    )
    everything = [kit.calls(expected, choice) for choice in kit.endings(expected)]
    assert arguments == "".join(call[2] for found in everything for call in found)
    roles = [c.delta.role for chunk in chunks for c in chunk.choices if c.delta.role]
    assert roles == ["assistant"] * len({c.index for chunk in chunks for c in chunk.choices})


def test_a_stream_by_the_letter() -> None:
    events: list[Event] = [
        Started("up", "m", 7),
        PartStarted(PartKind.TEXT),
        TextDelta("Hi"),
        PartEnded(),
        ChoiceEnded(Reason.STOP_SEQUENCE, stop="\n"),
        Used(Usage(fresh=3, output=2)),
        Finished(),
    ]
    head = 'data: {"id":"chatcmpl-up","object":"chat.completion.chunk","created":7,"model":"m","choices":['
    lines = kit.encode(events, include_usage=False).decode().split("\n\n")
    assert lines == [
        head + '{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}',
        head + '{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}',
        head + '{"index":0,"delta":{},"finish_reason":"stop"}]}',
        "data: [DONE]",
        "",
    ]
    asked = kit.encode(events).decode().split("\n\n")
    assert all(line.endswith(',"usage":null}') for line in asked[:3])
    assert json.loads(asked[3][6:])["usage"]["total_tokens"] == 5
    assert json.loads(asked[3][6:])["choices"] == []


def test_estimated_usage_is_never_told_as_fact() -> None:
    events: list[Event] = [
        Started("i", "m"),
        ChoiceEnded(Reason.STOP),
        Used(Usage(fresh=3, estimated=True)),
        Finished(),
    ]
    assert b'"usage":{' not in kit.encode(events)
    assert "usage" not in json.loads(kit.encode(events, stream=False))


def test_a_failure_is_an_error_event_without_a_terminal() -> None:
    stream = kit.encode(
        [Started("i", "m"), PartStarted(PartKind.TEXT), TextDelta("a"), Failed(Overloaded("full"))]
    )
    assert b"[DONE]" not in stream
    error = json.loads(stream.split(b"data: ")[-1])["error"]
    assert (error["message"], error["type"], error["code"]) == (
        "full",
        "service_unavailable_error",
        "server_is_overloaded",
    )
    assert "full" in kit.failure(kit.decode(stream)).message
    whole = json.loads(kit.encode([Started("i", "m"), Failed(Overloaded("full"))], stream=False))
    assert whole["error"]["message"] == "full"


def test_surrogates_leave_as_replacements() -> None:
    events: list[Event] = [
        Started("i", "m"),
        PartStarted(PartKind.TEXT),
        TextDelta("a\ud800"),
        ChoiceEnded(Reason.STOP),
        Finished(),
    ]
    assert kit.text(kit.decode(kit.encode(events))) == "a\ufffd"
    assert kit.text(kit.decode(kit.encode(events, stream=False), kit.JSON)) == "a\ufffd"


@given(strategies.replies("openai_chat", choices=2, broken=True, failing=False))
@settings(max_examples=60)
def test_calls_and_choices_that_interleave_are_read_again(events: list[Event]) -> None:
    expected = [
        replace(event, created=event.created or 0) if isinstance(event, Started) else event
        for event in carries(events)
    ]
    assert joined(through(events)) == joined(expected)
