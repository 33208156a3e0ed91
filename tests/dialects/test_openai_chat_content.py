"""What OpenAI Chat replies say, as events: every oddity that providers are known for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from extproc.model.errors import Kind, Origin
from extproc.model.reply import (
    ChoiceEnded,
    MediaDelta,
    Note,
    NoteKind,
    PartKind,
    PartStarted,
    Reason,
    Started,
    TextDelta,
    Used,
)

from . import kit_chat as kit

OSLO = [("call_a1", "weather", '{"city":"Oslo"}'), ("call_b2", "time", '{"zone":"CET"}')]

# --- content


def test_text_identity_and_usage() -> None:
    events = kit.decode(kit.fixture("text.sse"))
    assert kit.text(events) == "Rivers run to the sea, été 🌊."
    started = events[0]
    assert isinstance(started, Started)
    assert (started.id, started.created) == ("chatcmpl-Lk2vQ0aTextExample", 1790000000)
    usage = kit.usage(events)
    assert usage is not None
    assert (usage.fresh, usage.cache_read, usage.output, usage.total) == (5, 16, 9, 30)


def test_trap_17_surrogates_in_a_stream() -> None:
    stream = kit.fixture("text.sse").replace(b'"Rivers"', b'"\\ud83d"')
    assert kit.text(kit.decode(stream)).startswith("\ud83d run")


def test_trap_23_chunks_without_choices() -> None:
    events = kit.decode(kit.fixture("azure.sse"))
    assert kit.text(events) == "Hei"
    started = events[0]
    assert isinstance(started, Started)
    assert started.id == "chatcmpl-az"


def test_trap_25_repeated_usage_counts_once() -> None:
    events = kit.decode(kit.fixture("reasoning_openrouter.sse"))
    assert len([event for event in events if isinstance(event, Used)]) == 1
    stream = b"".join(
        b'data: {"id":"i","choices":[{"delta":{"content":"x"}%b}],"usage":{"prompt_tokens":3,"completion_tokens":%d}}\n\n'
        % (b',"finish_reason":"stop"' if n == 3 else b"", n)
        for n in (1, 2, 3)
    )
    usage = kit.usage(kit.decode(stream))
    assert usage is not None
    assert (usage.prompt, usage.output) == (3, 3)


@pytest.mark.parametrize(
    "name", ["tools_index_missing", "tools_index_null", "tools_index_always_0", "tools_parallel"]
)
def test_trap_26_indexes_of_tool_calls(name: str) -> None:
    assert kit.calls(kit.decode(kit.fixture(name + ".sse"))) == OSLO


@pytest.mark.parametrize("name", ["tools_whole_call", "tools_name_late", "tools_arguments_object"])
def test_trap_27_forms_of_tool_calls(name: str) -> None:
    events = kit.decode(kit.fixture(name + ".sse"))
    assert kit.calls(events) == OSLO[:1]
    assert kit.endings(events)[0].reason is Reason.TOOL


def test_tool_calls_without_ids_get_the_same_one_every_time() -> None:
    stream = b'data: {"id":"i","choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":""}}]},"finish_reason":"stop"}]}\n\n'
    ids = {kit.calls(kit.decode(stream))[0][0] for _ in range(2)}
    assert len(ids) == 1
    assert all(name.startswith("call_") and len(name) == 29 for name in ids)


def test_trap_28_finish_reasons_that_lie() -> None:
    events = kit.decode(kit.fixture("finish_oddities.sse"))
    assert [(e.reason, e.raw) for e in events if isinstance(e, ChoiceEnded)] == [
        (Reason.TOOL, "stop")
    ]
    assert kit.text(events) == "Well then"


def test_a_terminal_without_finish_reason_is_an_end() -> None:
    events = kit.decode(kit.fixture("no_finish_but_done.sse"))
    assert [(e.reason, e.raw) for e in events if isinstance(e, ChoiceEnded)] == [
        (Reason.TOOL, None)
    ]
    assert "ended early" in kit.failure(kit.decode(b"data: [DONE]\n\n")).message


def test_unknown_finish_reasons_keep_their_word() -> None:
    stream = kit.fixture("text.sse").replace(b'"finish_reason":"stop"', b'"finish_reason":"eos"')
    ended = kit.endings(kit.decode(stream))[0]
    assert (ended.reason, ended.raw) == (Reason.OTHER, "eos")


def test_trap_29_finish_with_the_last_text() -> None:
    stream = b'data: {"id":"i","choices":[{"delta":{"content":"all"},"finish_reason":"stop"}]}\n\n'
    assert kit.text(kit.decode(stream)) == "all"


def test_trap_30_empty_arguments_stay_empty() -> None:
    assert kit.calls(kit.decode(kit.fixture("tools.json"), kit.JSON))[1] == ("call_b2", "time", "")


def test_trap_31_no_empty_deltas() -> None:
    for name in kit.streams():
        events = kit.decode(kit.fixture(name))
        assert all(event.text for event in events if isinstance(event, TextDelta))


def test_trap_32_reasoning_under_both_names() -> None:
    assert kit.thinking(kit.decode(kit.fixture("reasoning_content.sse"))) == "Let me think."
    events = kit.decode(kit.fixture("reasoning_openrouter.sse"))
    assert kit.thinking(events) == "Hm"
    assert kit.text(events) == "42"
    both = b'data: {"id":"i","choices":[{"delta":{"reasoning":"a","reasoning_content":"a"},"finish_reason":"stop"}]}\n\n'
    assert kit.thinking(kit.decode(both)) == "a"
    assert kit.thinking(kit.decode(kit.fixture("content_list.sse"))) == "Hm."


def test_choices_are_kept_apart_with_their_logprobs() -> None:
    events = kit.decode(kit.fixture("two_choices_logprobs.sse"))
    assert (kit.text(events, 0), kit.text(events, 1)) == ("Yes!", "No.")
    reasons = {choice: ended.reason for choice, ended in kit.endings(events).items()}
    assert reasons == {0: Reason.STOP, 1: Reason.LENGTH}
    assert len([e for e in events if isinstance(e, Note) and e.kind is NoteKind.LOGPROBS]) == 4


def test_refusals_audio_and_unknown_members() -> None:
    events = kit.decode(kit.fixture("refusal.sse"))
    assert kit.text(events) == ""
    assert [e.kind for e in events if isinstance(e, PartStarted)] == [PartKind.REFUSAL]
    events = kit.decode(kit.fixture("audio.sse"))
    assert [e.data for e in events if isinstance(e, MediaDelta)] == ["UklGRg=="]
    notes = [e.value for e in events if isinstance(e, Note)]
    assert {"audio": {"transcript": "lo"}} in notes
    events = kit.decode(kit.fixture("reasoning_openrouter.sse"))
    assert any(
        isinstance(e, Note) and isinstance(e.value, dict) and "reasoning_details" in e.value
        for e in events
    )


def test_xai_counts_reasoning_beside_the_completion() -> None:
    usage = kit.usage(kit.decode(kit.fixture("reasoning.json"), kit.JSON))
    assert usage is not None
    assert (usage.fresh, usage.cache_read, usage.output, usage.reasoning) == (200, 800, 300, 120)


# --- failures


def test_an_error_in_the_stream_fails_with_the_usage_so_far() -> None:
    stream = kit.fixture("error_midway.sse")
    events, raw = kit.drain(kit.decoder(), [stream])
    error = kit.failure(events)
    assert (error.kind, error.code, error.origin) == (
        Kind.INVALID_REQUEST,
        "tool_use_failed",
        Origin.PROVIDER,
    )
    assert raw == stream[: stream.index(b"event: error")]


@pytest.mark.parametrize(
    ("datum", "kind"),
    [
        ({"error": {"message": "slow", "type": "rate_limit_error"}}, Kind.RATE_LIMITED),
        ({"error": {"message": "m", "code": "server_is_overloaded"}}, Kind.OVERLOADED),
        ({"error": {"message": "m", "type": "server_error"}}, Kind.UPSTREAM_BAD),
        ({"code": "x", "error": "text"}, Kind.UPSTREAM_BAD),
        ({"object": "error", "message": "m", "code": 400}, Kind.INVALID_REQUEST),
        ({"error": {"message": "m", "code": 429}, "choices": []}, Kind.RATE_LIMITED),
        ({"error": {"message": "key sk-123", "code": 401}}, Kind.UPSTREAM_BAD),
        ({"error": True}, Kind.UPSTREAM_BAD),
    ],
)
def test_error_data(datum: dict[str, Any], kind: Kind) -> None:
    for body in (
        b"data: " + json.dumps(datum).encode() + b"\n\ndata: [DONE]\n\n",
        json.dumps(datum).encode(),
    ):
        error = kit.failure(kit.decode(body))
        assert error.kind is kind
        assert "sk-123" not in error.message


def test_whole_replies_without_sense() -> None:
    for body in (
        b"[]",
        b"{}",
        b'{"choices":{}}',
        b'{"choices":[}',
        b"null",
        b'{"choices":[{"message":{"content":"x"}}',
    ):
        events, raw = kit.drain(kit.decoder(kit.JSON), [body])
        assert kit.failure(events).kind is Kind.UPSTREAM_BAD
        assert raw == b""


def test_trap_18_integers_in_arguments_that_are_objects_are_exact() -> None:
    """trap 18: some providers send an object where a text should be."""
    arguments = '{"n":123456789012345678901234567890}'
    call = f'{{"index":0,"id":"a","function":{{"name":"f","arguments":{arguments}}}}}'
    stream = f'data: {{"choices":[{{"index":0,"delta":{{"tool_calls":[{call}]}}}}]}}\n\n'
    whole = f'{{"choices":[{{"message":{{"tool_calls":[{call}]}},"finish_reason":"stop"}}]}}'
    first = b'data: {"choices":[{"index":0,"delta":{"content":""}}]}\n\n'
    streamed, _ = kit.drain(kit.decoder(), [first, stream.encode(), b"data: [DONE]\n\n"])
    for events in (streamed, kit.drain(kit.decoder(kit.JSON), [whole.encode()])[0]):
        assert kit.calls(events) == [("a", "f", arguments)]


def test_a_reply_that_is_nobodys_and_says_nothing_is_none() -> None:
    body = b'{"id": "", "choices": [], "usage": {"prompt_tokens": 8}}'
    kit.failure(kit.drain(kit.decoder(kit.JSON), [body])[0])
