"""Events to OpenAI Responses replies: what is written is read again, by us and by the real SDK."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response

from extproc.dialects.openai_responses import DIALECT
from extproc.dialects.openai_responses.out_items import Item, Wire
from extproc.dialects.openai_responses.placing import carries
from extproc.model.call import CallId
from extproc.model.chat import Extra
from extproc.model.dialect import ReplyContext
from extproc.model.embed import Count
from extproc.model.errors import ContentBlocked, GatewayError, Internal, Overloaded, RateLimited
from extproc.model.reply import (
    ChoiceEnded,
    Counted,
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
from tests.dialects import kit_responses as kit
from tests.dialects.reading import assert_well_formed, calls, joined, text
from tests.dialects.strategies import replies

BROKEN = ("failed.sse", "error_flat.sse", "error_nested.sse")
GOOD = [name for name in kit.streams() if name not in BROKEN]


def settled(events: list[Event], said: list[Event]) -> list[Event]:
    """Without the settings that every reply echoes, unless they were said."""
    out: list[Event] = []
    for event in events:
        if isinstance(event, Started):
            first = next(one for one in said if isinstance(one, Started))
            home = first.extra.home(kit.NAME)
            fields = {k: v for k, v in event.extra.fields.items() if k in home}
            event = replace(event, created=event.created or 0, extra=Extra(kit.NAME, fields))
        if isinstance(event, Failed):
            event = Failed(GatewayError("failed"))
        out.append(event)
    return joined(out)


def comparable(events: list[Event]) -> list[str]:
    return [repr(event) for event in events]


# --- decode(encode(events)) == carries(events)


@pytest.mark.parametrize("name", GOOD)
def test_what_this_language_said_survives(name: str) -> None:
    events = kit.decode(kit.fixture(name))
    assert joined(carries(events)) == joined(events)
    assert settled(kit.decode(kit.encode(events)), events) == settled(events, events)


@pytest.mark.parametrize("name", GOOD)
def test_what_is_written_at_home_is_what_came(name: str) -> None:
    events = kit.decode(kit.fixture(name))
    again = kit.sdk_final(kit.encode(events), False).model_dump(exclude_none=True)
    wanted = kit.sdk_final(kit.fixture(name), False).model_dump(exclude_none=True)
    if name == "terse.sse":
        wanted["output"][0]["encrypted_content"] = "gAAAx"
    assert again["id"] == wanted["id"]
    assert again == {**again, **wanted}


ANYWHERE = st.sampled_from([kit.NAME, "openai_chat", "anthropic_messages"])
ANY_REPLY = ANYWHERE.flatmap(
    lambda dialect: replies(dialect, kinds=frozenset(PartKind), choices=2, failing=False)
)


@settings(max_examples=60)
@given(ANY_REPLY)
def test_any_reply_survives_as_far_as_it_can(events: list[Event]) -> None:
    got = kit.decode(kit.encode(events))
    assert_well_formed(got)
    assert comparable(settled(got, events)) == comparable(settled(carries(events), events))


@settings(max_examples=25)
@given(ANY_REPLY)
def test_whole_and_streamed_are_one_reply(events: list[Event]) -> None:
    whole = json.loads(kit.encode(events, stream=False))
    streamed = kit.encode(events)
    last = json.loads(streamed.rstrip().rpartition(b"data: ")[2])
    assert last["response"] == whole


@settings(max_examples=25)
@given(ANY_REPLY)
def test_the_sdks_own_accumulator_takes_any_of_it(events: list[Event]) -> None:
    stream = kit.encode(events)
    final = kit.sdk_final(stream)
    carried = carries(events)
    assert final.output_text == text(carried)
    found = [
        (item.call_id, item.name, item.arguments)
        for item in final.output
        if item.type == "function_call"
    ]
    assert found == calls(carried)
    Response.model_validate_json(kit.encode(events, stream=False))


def test_a_failing_reply_ends_in_a_failed_response() -> None:
    events = [*SIMPLE[:3], Used(Usage(3, output=2)), Failed(RateLimited("slow down"))]
    stream = kit.encode(events)
    assert [event.sequence_number for event in kit.sdk_events(stream)] == list(range(6))
    last = kit.sdk_events(stream)[-1]
    assert last.type == "response.failed"
    assert last.response.error.code == "rate_limit_exceeded"
    assert last.response.usage.total_tokens == 5
    assert last.response.output[0].content[0].text == "Hello"
    got = kit.decode(stream)
    assert isinstance(got[-1], Failed)
    assert isinstance(got[-1].error, RateLimited)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RateLimited("x"), "rate_limit_exceeded"),
        (Overloaded("x"), "server_error"),
        (ContentBlocked("x", code="bio_policy"), "bio_policy"),
        (ContentBlocked("x"), "invalid_prompt"),
        (Internal("x", code="odd"), "server_error"),
    ],
)
def test_codes_of_failed_responses_are_openais(error: GatewayError, code: str) -> None:
    last = kit.sdk_events(kit.encode([*SIMPLE[:1], Failed(error)]))[-1]
    assert last.response.error.code == code


def test_a_break_before_anything_was_said_is_the_flat_event() -> None:
    (event,) = kit.sdk_events(kit.encode([Failed(Overloaded("no room"))]))
    assert (event.type, event.message, event.code) == ("error", "no room", "server_is_overloaded")


# --- replies of other languages

SIMPLE: list[Event] = [
    Started("chatcmpl-1", "m"),
    PartStarted(PartKind.TEXT),
    TextDelta("Hello"),
    PartEnded(),
    ChoiceEnded(Reason.STOP),
    Used(Usage(10, 2, 1, output=5, reasoning=2)),
    Finished(),
]


def whole(events: list[Event], **request: Any) -> Any:
    asked = {**kit.ASK, **request}
    return json.loads(kit.encode(events, stream=False, request=asked))


def test_ids_are_ours_and_the_model_is_the_clients() -> None:
    context = ReplyContext(CallId("gw-12-34"), "my-model", 7)
    encoder = DIALECT.encoder(kit.parse(kit.ASK), context)
    body = json.loads(b"".join(encoder.feed(event) for event in SIMPLE))
    assert (body["id"], body["model"], body["created_at"]) == ("resp_1234", "my-model", 7)
    assert body["output"][0]["id"] == "msg_1234000"
    assert encoder.head() == (200, {"content-type": "application/json"})


def test_usage_is_written() -> None:
    assert whole(SIMPLE)["usage"] == {
        "input_tokens": 13,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 18,
    }


def test_estimated_usage_is_no_fact() -> None:
    events = [*SIMPLE[:-2], Used(Usage(10, output=5, estimated=True)), Finished()]
    assert whole(events)["usage"] is None


@pytest.mark.parametrize(
    ("reason", "status", "why"),
    [
        (Reason.STOP, "completed", None),
        (Reason.STOP_SEQUENCE, "completed", None),
        (Reason.TOOL, "completed", None),
        (Reason.PAUSED, "completed", None),
        (Reason.OTHER, "completed", None),
        (Reason.LENGTH, "incomplete", "max_output_tokens"),
        (Reason.CONTEXT, "incomplete", "max_output_tokens"),
        (Reason.FILTER, "incomplete", "content_filter"),
        (Reason.REFUSAL, "incomplete", "content_filter"),
    ],
)
def test_how_replies_end(reason: Reason, status: str, why: str | None) -> None:
    events = [*SIMPLE[:4], ChoiceEnded(reason), Finished()]
    body = whole(events)
    assert (body["status"], (body["incomplete_details"] or {}).get("reason")) == (status, why)
    assert body["output"][0]["status"] == status
    last = kit.sdk_events(kit.encode(events))[-1]
    assert last.type == f"response.{status}"


def test_the_request_is_echoed() -> None:
    request = {
        "instructions": "Be brief.",
        "temperature": 0.2,
        "top_p": 0.5,
        "max_output_tokens": 99,
        "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": True}],
        "tool_choice": {"type": "function", "name": "f"},
        "parallel_tool_calls": False,
        "reasoning": {"effort": "low"},
        "text": {"format": {"type": "json_object"}, "verbosity": "low"},
        "metadata": {"a": "b"},
        "user": "u",
        "truncation": "auto",
        "top_logprobs": 2,
        "prompt_cache_key": "k",
    }
    body = whole(SIMPLE, **request)
    for name, value in request.items():
        assert body[name] == ({"summary": None, **value} if name == "reasoning" else value)
    assert body["store"] is False
    plain = whole(SIMPLE)
    assert (plain["tools"], plain["tool_choice"], plain["parallel_tool_calls"]) == (
        [],
        "auto",
        True,
    )


def test_the_grammar_of_a_stream() -> None:
    events: list[Event] = [
        Started("x", "m"),
        PartStarted(PartKind.THINKING, 0),
        ThinkingDelta("Hm", 0),
        PartEnded(0),
        PartStarted(PartKind.TEXT, 1),
        TextDelta("Hi", 1),
        PartEnded(1),
        PartStarted(PartKind.TOOL, 2, id="call_1", name="f"),
        ToolDelta("{}", 2),
        PartEnded(2),
        ChoiceEnded(Reason.TOOL),
        Finished(),
    ]
    stream = kit.encode(events)
    assert [event.type.removeprefix("response.") for event in kit.sdk_events(stream)] == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    numbers = [event.sequence_number for event in kit.sdk_events(stream)]
    assert numbers == list(range(len(numbers)))
    for line in stream.split(b"\n\n"):
        name, _, data = line.partition(b"\ndata: ")
        assert not data or name == b"event: " + json.loads(data)["type"].encode()


def test_texts_that_follow_each_other_are_one_message() -> None:
    events: list[Event] = [Started("x", "m")]
    for part, word in enumerate(("One ", "two.")):
        events += [PartStarted(PartKind.TEXT, part), TextDelta(word, part), PartEnded(part)]
    (item,) = whole([*events, ChoiceEnded(Reason.STOP), Finished()])["output"]
    assert [part["text"] for part in item["content"]] == ["One ", "two."]


def test_signatures_of_others_are_sealed() -> None:
    events: list[Event] = [
        Started("x", "m"),
        PartStarted(PartKind.THINKING),
        ThinkingDelta("Hm"),
        Note(NoteKind.SIGNATURE, "sig==", dialect="anthropic_messages"),
        PartEnded(),
        PartStarted(PartKind.THINKING, 1),
        Note(NoteKind.REDACTED, "dark", 1, dialect="anthropic_messages"),
        PartEnded(1),
        PartStarted(PartKind.TOOL, 2, id="call_1", name="f"),
        Note(NoteKind.SIGNATURE, "thought", 2, dialect="gemini_generate"),
        PartEnded(2),
        ChoiceEnded(Reason.TOOL),
        Finished(),
    ]
    output = whole(events)["output"]
    assert [item["type"] for item in output] == [
        "reasoning",
        "reasoning",
        "function_call",
        "reasoning",
    ]
    back = kit.parse({"model": "m", "input": output})
    parts = back.messages[0].parts
    found = [(getattr(p, "signature", None), getattr(p, "redacted", None)) for p in parts]
    assert found == [("sig==", None), (None, "dark"), (None, None), ("thought", None)]
    assert [getattr(p, "origin", "-") for p in parts] == [
        "anthropic_messages",
        "anthropic_messages",
        "-",
        "gemini_generate",
    ]


def test_citations_of_chat_are_flat_here() -> None:
    cited = {"type": "url_citation", "url_citation": {"url": "https://a.example", "title": "A"}}
    events = [*SIMPLE[:3], Note(NoteKind.CITATION, [cited], dialect="openai_chat"), *SIMPLE[3:]]
    (part,) = whole(events)["output"][0]["content"]
    assert part["annotations"] == [
        {"type": "url_citation", "url": "https://a.example", "title": "A"}
    ]


def test_logprobs_of_chat_are_the_same_here() -> None:
    token = {"token": "Hello", "logprob": -0.5, "bytes": [72], "top_logprobs": []}
    note = Note(NoteKind.LOGPROBS, {"content": [token], "refusal": None}, dialect="openai_chat")
    events = [*SIMPLE[:3], note, *SIMPLE[3:]]
    assert whole(events)["output"][0]["content"][0]["logprobs"] == [token]
    assert kit.sdk_final(kit.encode(events)).output_text == "Hello"


def test_lone_surrogates_do_no_harm() -> None:
    """Trap 17."""
    events = [SIMPLE[0], SIMPLE[1], TextDelta("a\ud800b"), *SIMPLE[3:]]
    assert text(kit.decode(kit.encode(events))) == "a\ufffdb"


def test_a_count_is_written() -> None:
    encoder = DIALECT.encoder(Count(kit.parse(kit.ASK)), ReplyContext(CallId("gw-1"), "m", 0))
    events = [Started("", ""), Counted(42), Finished()]
    body = b"".join(encoder.feed(event) for event in events)
    assert json.loads(body) == {"object": "response.input_tokens", "input_tokens": 42}


@pytest.mark.parametrize("kind", ["response.\ud800", "response.x\n\ndata: {}", ["response.x"]])
def test_an_event_whose_type_is_no_word_is_left_out(kind: Any) -> None:
    """At home an event that only this language knows is written as it came."""
    stream = kit.fixture("text.sse")
    at = stream.index(b"event: response.output_text.delta")
    odd = {"type": "response.odd", "item_id": "x", "output_index": 0, "content_index": 0}

    def written(event: Any) -> bytes:
        data = b"event: odd\ndata: " + json.dumps(event).encode() + b"\n\n"
        return kit.encode(kit.decode(stream[:at] + data + stream[at:]))

    assert b"event: response.odd" in written(odd)
    assert written(odd | {"type": kind}).count(b"\n\n") == kit.encode(kit.decode(stream)).count(
        b"\n\n"
    )


def test_an_item_without_a_form_cannot_be_made() -> None:
    """It would be noticed only in the midst of a reply."""

    class Formless(Item):
        pass

    with pytest.raises(TypeError, match="json"):
        Formless(Wire(streamed=True), 0, {})  # pyright: ignore[reportAbstractUsage]
