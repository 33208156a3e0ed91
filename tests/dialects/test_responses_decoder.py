"""OpenAI Responses replies to events, from fixtures in the shapes that providers send."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.dialects.openai_responses.reader import MAX_ITEMS
from extproc.model.dialect import Rendered, ReplyHead
from extproc.model.errors import ContextTooLong, RateLimited, UpstreamBad
from extproc.model.reply import (
    Event,
    Failed,
    Finished,
    Note,
    NoteKind,
    PartKind,
    PartStarted,
    Reason,
    TextDelta,
    Used,
)
from tests.dialects import kit_responses as kit
from tests.dialects.reading import (
    assert_cuts_agree,
    assert_truncation_fails,
    assert_well_formed,
    calls,
    cut,
    drain,
    endings,
    failure,
    joined,
    text,
    thinking,
    usage,
)

ALL = kit.streams()
BROKEN = ("failed.sse", "error_flat.sse", "error_nested.sse")
GOOD = [name for name in ALL if name not in BROKEN]


def last_response(name: str) -> dict[str, Any]:
    line = [x for x in kit.fixture(name).splitlines() if x.startswith(b"data: ")][-1]
    return json.loads(line[6:])["response"]


def notes(events: list[Event], kind: NoteKind) -> list[Any]:
    return [event.value for event in events if isinstance(event, Note) and event.kind is kind]


@pytest.mark.parametrize("name", ALL)
def test_any_cut_gives_the_same(name: str) -> None:
    """Traps 2, 4: also within a character."""
    assert_cuts_agree(kit.decoder, kit.fixture(name), (1, 2, 3, 7, 64, 1000))


@pytest.mark.parametrize("name", GOOD)
def test_a_truncated_stream_fails(name: str) -> None:
    body = kit.fixture(name)
    assert_truncation_fails(kit.decoder, body)
    events = kit.decode(body[: body.rindex(b"event: ")])
    assert "ended early" in failure(events).message


@pytest.mark.parametrize("name", GOOD)
def test_whole_and_streamed_say_the_same(name: str) -> None:
    streamed = kit.decode(kit.fixture(name))
    whole = kit.decode(json.dumps(last_response(name)).encode(), kit.JSON)
    for events in (streamed, whole):
        assert_well_formed(events)
    assert (text(streamed), thinking(streamed)) == (text(whole), thinking(whole))
    assert calls(streamed) == calls(whole)
    assert endings(streamed)[0].reason is endings(whole)[0].reason
    assert usage(streamed) == usage(whole)


@pytest.mark.parametrize("line_end", [b"\r\n", b"\r"])
def test_other_line_ends_and_comments(line_end: bytes) -> None:
    """Traps 2, 6."""
    body = kit.fixture("text.sse")
    noisy = body.replace(b"\n\n", b"\n\n: still here\n\n").replace(b"\n", line_end)
    assert kit.decode(noisy) == kit.decode(body)


def test_the_order_of_lines_does_not_matter() -> None:
    """Some providers write `data:` before `event:`."""
    body = kit.fixture("text.sse")
    turned = b"".join(
        b"\n".join(reversed(event.split(b"\n"))) + b"\n\n" for event in body.split(b"\n\n") if event
    )
    assert kit.decode(turned) == kit.decode(body)


def test_text() -> None:
    events = kit.decode(kit.fixture("text.sse"))
    assert text(events) == "The tide turns at six 🌊."
    assert endings(events)[0].reason is Reason.STOP
    assert isinstance(events[-1], Finished)


def test_parallel_calls_in_turn_and_interleaved() -> None:
    wanted = [
        ("call_boat", "find_boat", '{"name":"Mira"}'),
        ("call_tide", "tide_at", '{"port":"Oban"}'),
    ]
    for name in ("parallel_calls.sse", "interleaved_calls.sse"):
        events = kit.decode(kit.fixture(name))
        assert calls(events) == wanted
        assert endings(events)[0].reason is Reason.TOOL


def test_calls_link_by_call_id_and_not_by_the_items_id() -> None:
    """Trap 36."""
    body = kit.fixture("parallel_calls.sse").replace(b"call_boat", b"fc_two")
    assert [call_id for call_id, _, _ in calls(kit.decode(body))] == ["fc_two", "call_tide"]


def test_a_renamed_tool_gets_its_name_back() -> None:
    head, rendered = ReplyHead(200, kit.SSE), Rendered("", b"", renamed={"tide_at": "tide.at!"})
    events, _ = drain(kit.DIALECT.decoder(head, rendered), [kit.fixture("parallel_calls.sse")])
    assert [name for _, name, _ in calls(events)] == ["find_boat", "tide.at!"]


def test_reasoning_is_one_part_and_signed_as_it_ended() -> None:
    """Trap 38: `encrypted_content` in `output_item.added` may be partial."""
    events = kit.decode(kit.fixture("reasoning.sse"))
    assert thinking(events) == (
        "**Looking at the chart**\n\nIt is near.\n\n**Counting knots**\n\nFour suffice."
    )
    assert notes(events, NoteKind.SIGNATURE) == ["gAAAwhole-and-longer"]
    kinds = [event.kind for event in events if isinstance(event, PartStarted)]
    assert kinds == [PartKind.THINKING, PartKind.TOOL]


def test_reasoning_without_words_or_seal_is_nobodys_thought() -> None:
    item = {"id": "rs_1", "type": "reasoning", "summary": []}
    reply = {**last_response("text.sse"), "output": [item]}
    events = kit.decode(json.dumps(reply).encode(), kit.JSON)
    (start,) = [event for event in events if isinstance(event, PartStarted)]
    assert start.kind is PartKind.OPAQUE


def test_reasoning_in_the_open() -> None:
    events = kit.decode(kit.fixture("reasoning_text.sse"))
    assert (thinking(events), text(events)) == ("We need a port.", "Oban.")


def test_a_refusal() -> None:
    events = kit.decode(kit.fixture("refusal.sse"))
    (start,) = [event for event in events if isinstance(event, PartStarted)]
    assert start.kind is PartKind.REFUSAL
    words = [event.text for event in events if isinstance(event, TextDelta)]
    assert "".join(words) == "I cannot help with that."


def test_server_tools_are_opaque_and_citations_come_once() -> None:
    events = kit.decode(kit.fixture("web_search.sse"))
    kinds = [event.kind for event in events if isinstance(event, PartStarted)]
    assert kinds == [PartKind.OPAQUE, PartKind.TEXT]
    assert [c[0]["title"] for c in notes(events, NoteKind.CITATION)] == ["Tides at Oban"]
    assert endings(events)[0].reason is Reason.STOP


def test_logprobs_follow_their_words() -> None:
    found = notes(kit.decode(kit.fixture("logprobs.sse")), NoteKind.LOGPROBS)
    assert [note["content"][0]["token"] for note in found] == ["Yes", "."]


def test_a_custom_tool_is_called_with_text() -> None:
    events = kit.decode(kit.fixture("custom_tool.sse"))
    assert calls(events) == [("call_sql", "run_sql", "SELECT name FROM boats")]


def test_a_stream_that_skips_its_events_is_read_from_its_end() -> None:
    events = kit.decode(kit.fixture("terse.sse"))
    assert_well_formed(events)
    assert (thinking(events), text(events)) == ("Short.", "Aye.")
    assert calls(events) == [("call_t", "tide_at", "{}")]


def test_a_reply_begins_once() -> None:
    body = kit.fixture("text.sse")
    first, rest = body.split(b"\n\n", 1)
    events = kit.decode(b"\n\n".join((first, first, rest)))
    assert_well_formed(events)
    assert text(events) == text(kit.decode(body))


# --- how replies end


def test_incomplete_is_billed() -> None:
    """Trap 35."""
    events = kit.decode(kit.fixture("incomplete.sse"))
    ending = endings(events)[0]
    assert (ending.reason, ending.raw) == (Reason.LENGTH, "max_output_tokens")
    used = usage(events)
    assert used is not None
    assert (used.prompt, used.output) == (30, 16)


def test_failed_is_billed() -> None:
    """Trap 35."""
    events = kit.decode(kit.fixture("failed.sse"))
    assert isinstance(failure(events), RateLimited)
    used = usage(events)
    assert used is not None
    assert (used.prompt, used.output) == (30, 4)
    assert isinstance(events[-2], Used)


def test_a_whole_failed_response_is_billed_and_does_not_pass() -> None:
    """Trap 35."""
    body = json.dumps(last_response("failed.sse")).encode()
    events, passed = drain(kit.decoder(kit.JSON), [body])
    assert isinstance(failure(events), RateLimited)
    assert usage(events) is not None
    assert passed == b""


def test_the_flat_error_event() -> None:
    """Trap 37."""
    error = failure(kit.decode(kit.fixture("error_flat.sse")))
    assert (error.code, error.message) == ("server_error", "The server had an error.")


def test_the_error_event_with_an_object() -> None:
    error = failure(kit.decode(kit.fixture("error_nested.sse")))
    assert isinstance(error, ContextTooLong)
    assert error.param == "input"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("queued", None),
        ("in_progress", None),
        ("cancelled", None),
        ("incomplete", {"reason": "max_messages"}),
        ("incomplete", {"reason": "steered"}),
        ("complete", None),
    ],
)
def test_words_that_no_other_language_has(status: str, reason: Any) -> None:
    reply = {**last_response("text.sse"), "status": status, "incomplete_details": reason}
    ending = endings(kit.decode(json.dumps(reply).encode(), kit.JSON))[0]
    assert ending.reason is Reason.OTHER
    assert ending.raw == (reason["reason"] if reason else status)


# --- usage


def test_usage_example_a() -> None:
    used = usage(kit.decode(kit.fixture("reasoning.sse")))
    assert used is not None
    assert (used.fresh, used.cache_read, used.cache_write) == (200, 800, 0)
    assert (used.output, used.reasoning, used.total) == (300, 120, 1300)


def test_usage_with_cache_writes() -> None:
    """Example B, as this language says it."""
    reply = last_response("text.sse")
    reply["usage"] = {
        "input_tokens": 600,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 500},
        "output_tokens": 40,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 640,
    }
    used = usage(kit.decode(json.dumps(reply).encode(), kit.JSON))
    assert used is not None
    assert (used.fresh, used.cache_write, used.prompt, used.output) == (100, 500, 600, 40)


def test_reasoning_counted_beside_the_output_is_added() -> None:
    reply = last_response("text.sse")
    reply["usage"] = {
        "input_tokens": 1000,
        "output_tokens": 180,
        "output_tokens_details": {"reasoning_tokens": 120},
        "total_tokens": 1300,
    }
    used = usage(kit.decode(json.dumps(reply).encode(), kit.JSON))
    assert used is not None
    assert (used.output, used.reasoning) == (300, 120)


@pytest.mark.parametrize("odd", ["x", -3, True, None, 1e300, [], {}])
def test_usage_that_makes_no_sense_is_nothing(odd: Any) -> None:
    reply = last_response("text.sse")
    reply["usage"] = {"input_tokens": odd, "output_tokens": odd, "input_tokens_details": odd}
    used = usage(kit.decode(json.dumps(reply).encode(), kit.JSON))
    assert used is not None
    assert (used.prompt, used.output) == (0, 0)


# --- what no provider should send


@pytest.mark.parametrize("status", [200, 502])
def test_a_page_is_no_reply(status: int) -> None:
    """Trap 14."""
    events = kit.decode(b"<html>Bad gateway</html>", {"content-type": "text/html"}, status)
    assert isinstance(failure(events), UpstreamBad)


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b"{}", b'{"output":{}}', b'{"output":'])
def test_a_body_that_is_no_response(body: bytes) -> None:
    assert isinstance(failure(kit.decode(body, kit.JSON)), UpstreamBad)


def test_a_stream_is_told_by_its_first_byte() -> None:
    """Trap 15."""
    events = kit.decode(kit.fixture("text.sse"), kit.JSON)
    assert text(events) == "The tide turns at six 🌊."
    whole = json.dumps(last_response("text.sse")).encode()
    assert text(kit.decode(whole, kit.SSE)) == "The tide turns at six 🌊."
    error = b'{"error":{"message":"no","type":"invalid_request_error","code":null,"param":null}}'
    assert failure(kit.decode(error, kit.SSE)).message == "no"


def test_compressed_replies_fail() -> None:
    """Trap 10."""
    events = kit.decode(b"\x1f\x8b", {**kit.SSE, "content-encoding": "gzip"})
    assert "compressed" in failure(events).message


def added(index: int, item: Any) -> bytes:
    return event("response.output_item.added", output_index=index, item=item)


def event(kind: str, **members: Any) -> bytes:
    return b"data: " + json.dumps({"type": kind, **members}).encode() + b"\n\n"


def test_items_without_end_are_too_many() -> None:
    item = {"type": "message", "content": []}
    body = b"".join(added(i, item) for i in range(MAX_ITEMS + 1))
    assert "too many parts" in failure(kit.decode(body)).message


def test_contents_without_end_are_too_many() -> None:
    body = added(0, {"type": "message", "content": []}) + b"".join(
        event("response.output_text.delta", output_index=0, content_index=i, delta="x")
        for i in range(2000)
    )
    assert "too many parts" in failure(kit.decode(body)).message


WILD = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["type", "id", "item", "content", "text", "delta", "call_id", "name", "summary"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
KINDS = st.sampled_from(
    sorted(
        {line[7:].decode() for n in ALL for line in kit.fixture(n).split(b"\n") if line[:1] == b"e"}
    )
)


@st.composite
def wild_events(draw: st.DrawFn) -> bytes:
    members = {
        name: draw(WILD)
        for name in draw(
            st.sets(
                st.sampled_from(
                    [
                        "output_index",
                        "content_index",
                        "summary_index",
                        "item",
                        "part",
                        "delta",
                        "text",
                        "arguments",
                        "logprobs",
                        "annotation",
                        "response",
                    ]
                )
            )
        )
    }
    if draw(st.booleans()):
        members["output_index"] = draw(st.integers(0, 2))
        members["content_index"] = draw(st.integers(0, 2))
    if draw(st.booleans()):
        kind = draw(
            st.sampled_from(["message", "reasoning", "function_call", "custom_tool_call", "x"])
        )
        members["item"] = {"type": kind, "id": "i", **draw(st.just({}) | WILD_OBJECTS)}
    return event(draw(KINDS), **members)


WILD_OBJECTS = st.dictionaries(
    st.sampled_from(["content", "summary", "encrypted_content", "name", "call_id", "arguments"]),
    WILD,
    max_size=4,
)


@settings(max_examples=80)
@given(st.lists(wild_events(), max_size=12), st.data())
def test_nothing_that_a_provider_sends_raises(events: list[bytes], data: st.DataObject) -> None:
    body = b"".join(events)
    points = data.draw(st.lists(st.integers(0, len(body)), max_size=4))
    got, _ = drain(kit.decoder(), cut(body, points))
    assert isinstance(got[-1], Failed | Finished)
    if isinstance(got[-1], Finished):
        assert_well_formed(got)
    whole, _ = drain(kit.decoder(), [body])
    assert joined(whole)[:-1] == joined(got)[:-1]
