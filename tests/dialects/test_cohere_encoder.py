"""Cohere's replies as they are written: read again by us, and by its own SDK."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.dialects.cohere_chat import DIALECT
from extproc.dialects.cohere_chat.parts import PLANNED, carries
from extproc.dialects.cohere_chat.words import NAME
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
from tests.dialects.kit_cohere import WHOLE

from . import kit_cohere as kit
from .reading import (
    assert_well_formed,
    calls,
    drain,
    endings,
    joined,
    text,
    thinking,
    usage,
)
from .strategies import replies


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        (Reason.STOP, "COMPLETE"),
        (Reason.STOP_SEQUENCE, "STOP_SEQUENCE"),
        (Reason.LENGTH, "MAX_TOKENS"),
        (Reason.CONTEXT, "MAX_TOKENS"),
        (Reason.TOOL, "TOOL_CALL"),
        (Reason.FILTER, "COMPLETE"),
        (Reason.REFUSAL, "COMPLETE"),
        (Reason.PAUSED, "COMPLETE"),
        (Reason.OTHER, "COMPLETE"),
    ],
)
def test_words_of_foreign_reasons(reason: Reason, word: str) -> None:
    events: list[Event] = [Started("", "m"), ChoiceEnded(reason, raw="theirs"), Finished()]
    assert kit.data(kit.encode(events))[-1]["delta"]["finish_reason"] == word
    encoder = whole_encoder()
    assert json.loads(b"".join(map(encoder.feed, events)))["finish_reason"] == word
    warned = "warning" in encoder.head()[1]
    assert warned is (reason in (Reason.FILTER, Reason.REFUSAL))


def whole_encoder() -> Any:
    asked = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    return DIALECT.encoder(kit.parse(asked), kit.CONTEXT)


def renamed(events: Sequence[Event]) -> Started:
    """The start as our encoder writes it: under our own id."""
    assert isinstance(events[0], Started)
    return Started("1", "")


def told(events: Sequence[Event]) -> list[Any]:
    """Events that can be compared: an error by its words."""
    return [e.error.message if isinstance(e, Failed) else e for e in joined(events)]


@st.composite
def at_home(draw: st.DrawFn) -> list[Event]:
    """Replies with plans, citations and token probabilities among them."""
    out: list[Event] = []
    for event in draw(replies(NAME, choices=2, broken=True)):
        match event:
            case PartStarted(PartKind.THINKING, part, choice) if draw(st.booleans()):
                event = PartStarted(PartKind.THINKING, part, choice, extra=PLANNED)
            case _:
                pass
        out.append(event)
        if isinstance(event, TextDelta) and draw(st.booleans()):
            kind = draw(st.sampled_from([NoteKind.CITATION, NoteKind.LOGPROBS]))
            out.append(Note(kind, {"text": "x", "token_ids": []}, event.part, event.choice, NAME))
    return out


@settings(max_examples=150, deadline=None)
@given(at_home())
def test_law_what_was_written_is_read_again(events: list[Event]) -> None:
    expected = carries([renamed(events), *events[1:]])
    found = kit.decode(kit.encode(events))
    assert told(found) == told(expected)
    if isinstance(expected[-1], Finished):
        whole = kit.decode(kit.encode(events, stream=False), kit.JSON)
        assert_well_formed(whole)
        assert in_order(whole) == in_order(expected)


def in_order(events: Sequence[Event]) -> list[Any]:
    """What a whole reply keeps: it has no order of plans, content and calls."""
    plans = {e.part for e in events if isinstance(e, PartStarted) and e.extra == PLANNED}
    planned = [e for e in events if isinstance(e, ThinkingDelta) and e.part in plans]
    thought = [e for e in events if isinstance(e, ThinkingDelta) and e.part not in plans]
    notes = sorted(e.kind for e in events if isinstance(e, Note))
    return [
        text(events), thinking(planned), thinking(thought), calls(events), endings(events),
        usage(events), notes,
    ]  # fmt: skip


def test_every_event_by_the_letter() -> None:
    events: list[Event] = [
        Started("x", "theirs", 5),
        PartStarted(PartKind.THINKING),
        ThinkingDelta("Hm"),
        PartEnded(),
        PartStarted(PartKind.TEXT, 1),
        TextDelta("Hé", 1),
        TextDelta("", 1),
        TextDelta("!", 1),
        PartEnded(1),
        PartStarted(PartKind.TOOL, 2, id="c1", name="f"),
        ToolDelta('{"a":', 2),
        ToolDelta("1}", 2),
        PartEnded(2),
        ChoiceEnded(Reason.TOOL, raw="tool_use"),
        Used(Usage(fresh=3, output=2)),
        Finished(),
    ]
    body = kit.encode(events).decode()
    assert body.endswith("data: [DONE]\n\n")
    assert body.split("\n\n")[2:9] == [
        'event: content-delta\ndata: {"type":"content-delta","index":0,'
        '"delta":{"message":{"content":{"thinking":"Hm"}}}}',
        'event: content-end\ndata: {"type":"content-end","index":0}',
        'event: content-start\ndata: {"type":"content-start","index":1,'
        '"delta":{"message":{"content":{"type":"text","text":""}}}}',
        'event: content-delta\ndata: {"type":"content-delta","index":1,'
        '"delta":{"message":{"content":{"text":"Hé"}}}}',
        'event: content-delta\ndata: {"type":"content-delta","index":1,'
        '"delta":{"message":{"content":{"text":"!"}}}}',
        'event: content-end\ndata: {"type":"content-end","index":1}',
        'event: tool-call-start\ndata: {"type":"tool-call-start","index":0,"delta":{"message":'
        '{"tool_calls":{"id":"c1","type":"function","function":{"name":"f","arguments":""}}}}}',
    ]
    assert json.loads(kit.encode(events, stream=False)) == {
        "id": "1",
        "message": {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": "Hé!"}],
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
            ],
        },
        "finish_reason": "TOOL_CALL",
        "usage": {"tokens": {"input_tokens": 3, "output_tokens": 2}},
    }
    for stream in (True, False):
        said = kit.Sdk(kit.encode(events, stream), kit.SSE if stream else kit.JSON).chat(stream)
        assert (said["text"], said["thinking"]) == ("Hé!", "Hm")
        assert said["calls"] == [("c1", "f", '{"a":1}')]
        assert (said["finish"], said["id"]) == ("TOOL_CALL", "1")
        assert said["usage"].tokens.input_tokens == 3


def test_an_error_in_a_stream_is_an_end_that_says_why() -> None:
    events: list[Event] = [
        Started("", "m"), PartStarted(PartKind.TEXT), TextDelta("a"), Failed(Overloaded("full")),
    ]  # fmt: skip
    body = kit.encode(events)
    assert b"[DONE]" not in body
    said = kit.Sdk(body).chat(True)
    assert (said["text"], said["finish"], said["error"]) == ("a", "ERROR", "full")
    assert json.loads(kit.encode([Failed(Overloaded("full"))], stream=False)) == {
        "id": "1",
        "message": "full",
    }


def test_trap_17_lone_surrogates_do_not_crash() -> None:
    """trap 17: the untouched path keeps them; translated, they become U+FFFD."""
    body = kit.fixture("text.sse").replace(b" follow", rb"\ud800")
    events, raw = drain(kit.decoder(), [body])
    assert raw == body
    assert "Tides\ufffd" in text(kit.decode(kit.encode(events)))


@pytest.mark.parametrize("pieces", [1, 7])
def test_names_of_tools_come_back(pieces: int) -> None:
    """The client hears its own name of a tool that had to be called something else."""
    body = kit.fixture("tools.sse")
    decoder = kit.decoder(renamed={"tide": "tide-height"})
    step = len(body) // pieces
    events, _ = drain(decoder, [body[i : i + step] for i in range(0, len(body), step)])
    assert [name for _, name, _ in calls(events)] == ["tide-height", "wind"]


def test_trap_62_what_never_passes() -> None:
    """trap 62: a provider's cookies and credentials are nobody's."""
    assert DIALECT.reply_headers == {"content-type", "retry-after"}
    assert DIALECT.request_headers == {"traceparent", "tracestate"}


def test_an_answer_without_a_word_has_content_all_the_same() -> None:
    events: list[Event] = [Started("", "m"), ChoiceEnded(Reason.STOP), Finished()]
    assert json.loads(kit.encode(events, stream=False))["message"]["content"] == []
    assert kit.Sdk(kit.encode(events)).chat(True)["text"] == ""


def test_estimated_usage_is_never_said() -> None:
    events: list[Event] = [Started("", "m"), Used(Usage(5, output=5, estimated=True)), Finished()]
    assert b"usage" not in kit.encode(events)
    assert b"usage" not in kit.encode(events, stream=False)


@pytest.mark.parametrize("name", ["citations.sse", "logprobs.sse", "thinking.sse", "tools.sse"])
def test_what_only_cohere_has_comes_home(name: str) -> None:
    events = kit.decode(kit.fixture(name))
    assert told(kit.decode(kit.encode(events))) == told([renamed(events), *events[1:]])
    before = kit.Sdk(kit.fixture(name)).chat(True)
    assert {**kit.Sdk(kit.encode(events)).chat(True), "id": before["id"]} == before


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_reply_comes_home(name: str) -> None:
    body = kit.fixture(name)
    events, raw = drain(kit.decoder(kit.JSON), [body[:40], body[40:]])
    assert raw == body
    assert_well_formed(events)
    again = json.loads(kit.encode(events, stream=False))
    assert again == {**json.loads(body), "id": "1"}
