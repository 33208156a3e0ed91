"""Gemini's replies as they are written: read again by us, and by Google's SDK."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from google.genai import errors, types
from hypothesis import given, settings

from extproc.dialects.gemini_generate.parts import carries
from extproc.model.call import CallId
from extproc.model.chat import Thinking
from extproc.model.dialect import ReplyContext
from extproc.model.errors import Overloaded
from extproc.model.reply import (
    ChoiceEnded,
    Event,
    Failed,
    Finished,
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

from . import kit_gemini as kit
from .reading import (
    calls,
    endings,
    failure,
    joined,
    text,
    thinking,
)
from .strategies import replies


@settings(max_examples=60, deadline=None)
@given(replies(choices=2) | replies(dialect="gemini_generate", choices=2))
def test_what_is_carried_is_read_again(events: list[Event]) -> None:
    expected = carries(events)
    assert repr(joined(round_trip(events, kit.STREAM))) == repr(joined(expected))
    assert repr(round_trip(events, kit.ARRAY)) == repr(round_trip(events, kit.STREAM))
    if isinstance(events[-1], Finished):
        whole = round_trip(events, kit.GENERATE)
        assert repr(by_choice(whole)) == repr(by_choice(expected))


def round_trip(events: list[Event], path: str) -> list[Event]:
    started = next(event for event in events if isinstance(event, Started))
    context = ReplyContext(CallId("gw-" + started.id), started.model, 0)
    written = kit.encode(events, path, context)
    read_again = kit.decode(written, kit.SSE if path == kit.STREAM else kit.JSON, path=path)
    last = read_again[-1]
    if isinstance(last, Failed):
        # A failure before the first word is all there is; what it says is the provider's then.
        sent = events[-1]
        assert isinstance(sent, Failed)
        assert last.error.message == sent.error.message
        assert last.error.status == sent.error.status
        read_again[-1] = sent
        if not any(isinstance(event, Started) for event in read_again):
            read_again.insert(0, replace(started, created=None))
    return read_again


def by_choice(events: list[Event]) -> list[Event]:
    """Whole replies say one choice after the other."""
    return sorted(joined(sorted(events, key=_choice)), key=_choice)


def _choice(event: Event) -> int:
    if isinstance(event, Started):
        return -1
    if isinstance(event, ChoiceEnded | Used | Finished):
        return 1000
    return getattr(event, "choice", 0)


@settings(max_examples=60, deadline=None)
@given(replies(failing=False))
def test_the_sdk_reads_every_reply(events: list[Event]) -> None:
    expected = carries(events)
    for path in (kit.STREAM, kit.GENERATE, kit.ARRAY):
        view = kit.sdk_view(kit.sdk_any(kit.encode(events, path)))[0]
        assert view["text"] == text(expected)
        assert view["thoughts"] == thinking(expected)
        assert [name for name, _ in view["calls"]] == [name for _, name, _ in calls(expected)]
        assert view["finish"] == endings(expected)[0].raw


def said(*inside: Event, reason: Reason = Reason.STOP) -> list[Event]:
    return [
        Started("up", "m"),
        PartStarted(PartKind.TEXT),
        *inside,
        PartEnded(),
        ChoiceEnded(reason),
        Finished(),
    ]


def test_a_stream_by_the_letter() -> None:
    """trap 1: `data: ` with its space, which Google's SDK insists on."""
    about = '"modelVersion":"m","responseId":"1"}'
    lines = kit.encode(said(TextDelta("Hi"), TextDelta(" you"))).decode().split("\r\n\r\n")
    before = 'data: {"candidates":[{"content":{"parts":[{"text":'
    assert lines == [
        before + '"Hi"}],"role":"model"},"index":0}],' + about,
        before + '" you"}],"role":"model"},"index":0}],' + about,
        before + '""}],"role":"model"},"finishReason":"STOP","index":0}],' + about,
        "",
    ]


def test_an_array_by_the_letter() -> None:
    body = kit.encode(said(TextDelta("Hi"), TextDelta(" you")), kit.ARRAY)
    assert [len(one["candidates"]) for one in json.loads(body)] == [1, 1, 1]
    assert body.startswith(b'[{"candidates"')
    assert b"}\n" not in body


@pytest.mark.parametrize("begun", [True, False])
def test_a_failure_in_a_stream_is_what_the_sdk_looks_for(begun: bool) -> None:
    events: list[Event] = [Failed(Overloaded("Busy."))]
    if begun:
        events = [*said(TextDelta("Hi"))[:3], *events]
    with pytest.raises(errors.ServerError, match="Busy"):
        kit.sdk_chunks(kit.encode(events))
    assert "error" in json.loads(kit.encode(events, kit.ARRAY))[-1]
    assert json.loads(kit.encode(events, kit.GENERATE))["error"]["status"] == "UNAVAILABLE"


def test_estimated_usage_is_never_written() -> None:
    events = said(TextDelta("Hi"))
    used = Used(Usage(fresh=3, output=1, estimated=True))
    for path in (kit.STREAM, kit.GENERATE):
        assert b"usageMetadata" not in kit.encode([*events[:-1], used, events[-1]], path)


def test_arguments_that_are_no_object_end_as_googles_do() -> None:
    events: list[Event] = [
        Started("up", "m"),
        PartStarted(PartKind.TOOL, id="c", name="f"),
        ToolDelta('{"a'),
        PartEnded(),
        ChoiceEnded(Reason.TOOL),
        Finished(),
    ]
    for path in (kit.STREAM, kit.GENERATE):
        error = failure(round_trip_failed(events, path))
        assert "MALFORMED_FUNCTION_CALL" in error.message


def round_trip_failed(events: list[Event], path: str) -> list[Event]:
    headers = kit.SSE if path == kit.STREAM else kit.JSON
    return kit.decode(kit.encode(events, path), headers, path=path)


def thought(*inside: Event) -> list[Event]:
    return [
        Started("up", "m"),
        PartStarted(PartKind.THINKING),
        *inside,
        PartEnded(),
        PartStarted(PartKind.TEXT, 1),
        TextDelta("So.", 1),
        PartEnded(1),
        ChoiceEnded(Reason.STOP),
        Finished(),
    ]


@pytest.mark.parametrize("kind", [NoteKind.SIGNATURE, NoteKind.REDACTED])
def test_a_foreign_signature_travels_through_the_client(kind: NoteKind) -> None:
    note = Note(kind, "sig+/=\u2713", dialect="anthropic_messages")
    words = [] if kind is NoteKind.REDACTED else [ThinkingDelta("Hm"), ThinkingDelta(", yes")]
    events = thought(*words, note)
    for path in (kit.STREAM, kit.GENERATE):
        chunks = kit.sdk_any(kit.encode(events, path))
        echoed = [part for chunk in chunks for part in echo(chunk)]
        contents = [
            {"role": "user", "parts": [{"text": "x"}]},
            {"role": "model", "parts": echoed},
            {"role": "user", "parts": [{"text": "y"}]},
        ]
        chat = kit.parse({"contents": contents})
        first = chat.messages[1].parts[0]
        assert isinstance(first, Thinking)
        field = first.redacted if kind is NoteKind.REDACTED else first.signature
        assert (field, first.origin) == ("sig+/=\u2713", "anthropic_messages")
        assert first.text == ("" if kind is NoteKind.REDACTED else "Hm, yes")
        assert b"c2x1aWNl" in chat.raw
        sent = kit.DIALECT.render_request(chat, kit.target())
        assert b"c2x1aWNl" not in sent.body
        assert sent.dropped == ("thinking",)


def echo(chunk: types.GenerateContentResponse) -> list[Any]:
    """The parts as a client sends them back."""
    contents = [candidate.content for candidate in chunk.candidates or []]
    parts = [part for content in contents if content for part in content.parts or []]
    return [part.model_dump(mode="json", exclude_none=True, by_alias=True) for part in parts]


def test_lone_surrogates_do_not_break_a_reply() -> None:
    """trap 17."""
    for path in (kit.STREAM, kit.GENERATE, kit.ARRAY):
        body = kit.encode(said(TextDelta("a"), TextDelta("\ud800b")), path)
        assert "\ufffdb" in body.decode()
