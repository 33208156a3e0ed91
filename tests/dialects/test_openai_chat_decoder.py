"""OpenAI Chat replies to events: every cut, every oddity that providers are known for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.model.errors import Kind, Origin, UpstreamBad
from extproc.model.reply import (
    ChoiceEnded,
    Counted,
    Event,
    Failed,
    Finished,
    MediaDelta,
    Note,
    NoteKind,
    OpaqueChunk,
    PartEnded,
    PartKind,
    PartStarted,
    Ranked,
    Reason,
    Started,
    TextDelta,
    Used,
    Vector,
)

from . import kit_chat as kit

GOOD = [name for name in kit.streams() if name != "error_midway.sse"]
OSLO = [("call_a1", "weather", '{"city":"Oslo"}'), ("call_b2", "time", '{"zone":"CET"}')]


def shown(events: list[Any]) -> list[str]:
    return [repr(event) for event in events]


# --- laws


@pytest.mark.parametrize("name", kit.streams())
def test_trap_2_and_4_every_cut_gives_the_same_events_and_bytes(name: str) -> None:
    stream = kit.fixture(name)
    events, raw = kit.drain(kit.decoder(), [stream])
    for pieces in (
        *(kit.cut(stream, [i]) for i in range(0, len(stream), 7)),
        [stream[i : i + 1] for i in range(len(stream))],
    ):
        again, passed = kit.drain(kit.decoder(), pieces)
        assert shown(again) == shown(events)
        assert passed == raw


@given(name=st.sampled_from(kit.streams()), data=st.data(), withhold=st.booleans())
def test_any_cuts(name: str, data: st.DataObject, withhold: bool) -> None:
    stream = kit.fixture(name)
    points = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    whole = kit.drain(kit.decoder(withhold=withhold), [stream])
    parts = kit.drain(kit.decoder(withhold=withhold), kit.cut(stream, points))
    assert shown(parts[0]) == shown(whole[0])
    assert parts[1] == whole[1]


@pytest.mark.parametrize("name", GOOD)
def test_events_are_well_formed(name: str) -> None:
    events = kit.decode(kit.fixture(name))
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    opened: set[tuple[int, int]] = set()
    closed: set[tuple[int, int]] = set()
    for event in events:
        match event:
            case PartStarted():
                assert event.part == sum(1 for choice, _ in opened if choice == event.choice)
                opened.add((event.choice, event.part))
            case PartEnded():
                closed.add((event.choice, event.part))
            case Started() | ChoiceEnded() | Used() | Finished() | Failed():
                assert isinstance(event, Started) or opened == closed
            case Vector() | Ranked() | Counted() | OpaqueChunk():
                raise AssertionError(event)
            case _:
                assert (event.choice, event.part) in opened - closed
    assert opened == closed


@pytest.mark.parametrize("name", GOOD)
def test_a_truncated_stream_fails_and_passes_no_broken_frame(name: str) -> None:
    stream = kit.fixture(name)
    complete = kit.decode(stream)
    for end in range(len(stream)):
        events, raw = kit.drain(kit.decoder(), [stream[:end]])
        if isinstance(events[-1], Finished):
            assert shown([e for e in events if not isinstance(e, Used)]) == shown(
                [e for e in complete if not isinstance(e, Used)]
            )
        else:
            assert isinstance(kit.failure(events), UpstreamBad)
            assert raw == b"" or raw.endswith((b"\n\n", b"\r\n\r\n"))
            assert b"[DONE]" not in raw


@given(
    st.lists(
        st.binary(max_size=40)
        | st.sampled_from(
            [
                b"data: ",
                b"\n\n",
                b"{}",
                b'{"choices":[{"delta":{}}]}',
                b'{"choices":[1]}',
                b"data: [DONE]\n\n",
                b'data: {"choices":[{"index":-1}]}\n\n',
                b'data: {"choices":[{"index":{},"delta":{"tool_calls":[{"index":"x","function":3}]}}]}\n\n',
            ]
        ),
        max_size=8,
    ),
    st.sampled_from([{}, kit.SSE, kit.JSON, {"content-type": "text/html"}]),
    st.sampled_from([200, 204, 301, 400, 500]),
)
def test_no_input_raises(pieces: list[bytes], headers: dict[str, str], status: int) -> None:
    events, _ = kit.drain(kit.decoder(headers, status), pieces)
    assert isinstance(events[-1], Finished | Failed)
    assert sum(isinstance(event, Finished | Failed) for event in events) == 1


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.text(max_size=3),
    lambda below: (
        st.lists(below, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "index",
                    "type",
                    "text",
                    "function",
                    "name",
                    "arguments",
                    "data",
                    "thinking",
                    "custom",
                ]
            ),
            below,
            max_size=4,
        )
    ),
    max_leaves=8,
)
DELTA = st.dictionaries(
    st.sampled_from(
        [
            "content",
            "role",
            "tool_calls",
            "function_call",
            "refusal",
            "reasoning",
            "reasoning_content",
            "audio",
            "annotations",
            "x",
        ]
    ),
    JUNK,
    max_size=4,
)
CHUNKS = st.fixed_dictionaries(
    {},
    optional={
        "id": JUNK,
        "model": JUNK,
        "created": JUNK,
        "usage": st.dictionaries(
            st.sampled_from(
                ["prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details"]
            ),
            JUNK | st.floats(allow_nan=False),
            max_size=4,
        )
        | JUNK,
        "choices": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "index": JUNK,
                    "delta": DELTA | JUNK,
                    "finish_reason": JUNK,
                    "logprobs": JUNK,
                },
            ),
            max_size=3,
        )
        | JUNK,
        "error": JUNK,
    },
)


@given(st.lists(CHUNKS, max_size=4))
def test_no_json_raises(chunks: list[Any]) -> None:
    stream = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
    events = kit.decode(stream + b"data: [DONE]\n\n")
    assert isinstance(events[-1], Finished | Failed)
    for chunk in chunks:
        whole = kit.decode(json.dumps(chunk).encode(), kit.JSON)
        assert isinstance(whole[-1], Finished | Failed)


# --- untouched bytes


def test_what_may_pass_is_the_very_object() -> None:
    decoder = kit.decoder(withhold=True)
    for piece in kit.fixture("text.sse").split(b"\n\n")[:-4]:
        frame = piece + b"\n\n"
        decoder.feed(frame)
        assert decoder.take() is frame


def test_trap_24_the_usage_chunk_is_withheld_from_who_did_not_ask() -> None:
    stream = kit.fixture("text.sse")
    frames = [frame + b"\n\n" for frame in stream.split(b"\n\n")[:-1]]
    (usage,) = [frame for frame in frames if b'"choices":[]' in frame]
    for step in (1, 3, 50, 10_000):
        pieces = [stream[i : i + step] for i in range(0, len(stream), step)]
        assert kit.drain(kit.decoder(), pieces)[1] == stream
        events, raw = kit.drain(kit.decoder(withhold=True), pieces)
        assert raw == stream.replace(usage, b"")
        assert kit.usage(events) is not None


def test_usage_that_rides_on_a_choice_is_not_withheld() -> None:
    stream = kit.fixture("reasoning_content.sse")
    events, raw = kit.drain(kit.decoder(withhold=True), [stream])
    assert raw == stream
    assert kit.usage(events) is not None


# --- framing


def test_trap_1_data_without_a_space() -> None:
    stream = kit.fixture("text.sse").replace(b"data: ", b"data:")
    assert kit.text(kit.decode(stream)) == "Rivers run to the sea, été 🌊."


def test_trap_3_a_pretty_printed_event() -> None:
    assert kit.text(kit.decode(kit.fixture("crlf_pretty.sse"))) == "Hi"


@pytest.mark.parametrize("name", ["text.sse", "text.json"])
def test_trap_5_byte_order_mark(name: str) -> None:
    body = b"\xef\xbb\xbf" + kit.fixture(name)
    headers = kit.SSE if name.endswith("sse") else kit.JSON
    events, raw = kit.drain(kit.decoder(headers), [body[i : i + 1] for i in range(len(body))])
    assert isinstance(events[-1], Finished)
    assert raw == body


def test_trap_6_comments_and_other_fields() -> None:
    stream = kit.fixture("text.sse").replace(b"\n\n", b"\n\n: ping\n\nid: 4\nretry: 10\n\n\n\n")
    assert kit.text(kit.decode(stream)) == "Rivers run to the sea, été 🌊."


def test_trap_7_the_last_event_without_its_blank_line() -> None:
    stream = kit.fixture("text.sse")
    assert isinstance(kit.decode(stream.rstrip())[-1], Finished)
    no_done = stream.removesuffix(b"data: [DONE]\n\n")
    assert isinstance(kit.decode(no_done)[-1], Finished)
    assert kit.usage(kit.decode(no_done.rstrip())) is not None
    upto_finish = stream[: stream.index(b'"finish_reason":"stop"')]
    assert kit.failure(kit.decode(upto_finish)).message == "the provider's stream ended early"


def test_trap_8_bytes_after_done() -> None:
    stream = kit.fixture("text.sse")
    for rest in (
        b"data: {}\n\n",
        b"garbage",
        b"data: [DONE]\n\n",
        b'data: {"error":{"message":"x"}}\n\n',
    ):
        for pieces in ([stream + rest], [stream, rest]):
            events, raw = kit.drain(kit.decoder(), pieces)
            assert isinstance(events[-1], Finished)
            assert raw == stream + rest


def test_trap_10_a_compressed_reply_fails() -> None:
    headers = {**kit.SSE, "content-encoding": "gzip"}
    events, raw = kit.drain(kit.decoder(headers), [b"\x1f\x8b\x08\x00rest"])
    assert "compressed" in kit.failure(events).message
    assert raw == b""


@pytest.mark.parametrize("status", [200, 502])
@pytest.mark.parametrize(
    "body", [b"<html><body>Bad gateway</body></html>", b"upstream connect error", b"", b"   "]
)
def test_trap_14_html_text_and_nothing(status: int, body: bytes) -> None:
    for headers in ({"content-type": "text/html"}, kit.SSE, kit.JSON, {}):
        error = kit.failure(kit.decode(body, headers, status))
        assert error.kind is Kind.UPSTREAM_BAD
        assert error.status == 502
        assert "html" not in error.message.lower()


def test_trap_15_the_first_byte_decides_not_the_label() -> None:
    error = kit.failure(kit.decode(kit.fixture("error_200.json"), kit.SSE))
    assert (error.kind, error.code) == (Kind.CONTENT_BLOCKED, "content_filter")
    assert kit.text(kit.decode(kit.fixture("text.json"), kit.SSE)) == "Rivers run to the sea."
    assert kit.text(kit.decode(kit.fixture("text.sse"), kit.JSON)).startswith("Rivers")
    assert kit.text(kit.decode(b"\n \n" + kit.fixture("text.json"), {})) == "Rivers run to the sea."


def test_an_event_without_end_is_refused_in_bounded_memory() -> None:
    decoder = kit.decoder()
    events: Sequence[Event] = ()
    for _ in range(40):
        events = decoder.feed(b"data: " + b"x" * 1024 * 1024)
        if events:
            break
    assert "too large" in kit.failure(list(events)).message
    assert decoder.feed(b"more") == ()
    assert decoder.take() == b""


def test_choices_and_parts_are_bounded() -> None:
    many = {"choices": [{"index": i, "delta": {"content": "x"}} for i in range(200)]}
    assert "too many" in kit.failure(kit.decode(json.dumps(many).encode(), kit.JSON)).message
    calls = {
        "choices": [
            {
                "delta": {
                    "tool_calls": [{"id": f"c{i}", "function": {"name": "f"}} for i in range(9000)]
                }
            }
        ]
    }
    stream = b"data: " + json.dumps(calls).encode() + b"\n\n"
    assert "too many" in kit.failure(kit.decode(stream)).message


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
