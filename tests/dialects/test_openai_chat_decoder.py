"""OpenAI Chat replies to events: every cut, every framing. What they say: `test_openai_chat_content.py`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.model.errors import Kind, UpstreamBad
from extproc.model.reply import (
    ChoiceEnded,
    Counted,
    Event,
    Failed,
    Finished,
    OpaqueChunk,
    PartEnded,
    PartStarted,
    Ranked,
    Started,
    Used,
    Vector,
)

from . import kit_chat as kit

GOOD = [name for name in kit.streams() if name != "error_midway.sse"]


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
