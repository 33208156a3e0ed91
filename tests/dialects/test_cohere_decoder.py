"""Cohere's replies as they are read: every cut, every oddity, and what is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.codec.sse import MAX_EVENT
from extproc.dialects import _parts
from extproc.dialects.cohere_chat.words import NAME
from extproc.model.chat import Extra
from extproc.model.errors import UpstreamBad
from extproc.model.reply import (
    ChoiceEnded,
    Event,
    Failed,
    Finished,
    Reason,
    Started,
    Usage,
    Used,
)
from tests.dialects.kit_cohere import WHOLE

from . import kit_cohere as kit
from .reading import (
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

STREAMS = kit.fixtures("*.sse")
GOOD = [name for name in STREAMS if not name.startswith("error")]


@pytest.mark.parametrize("name", GOOD)
def test_trap_2_and_4_however_the_bytes_are_cut(name: str) -> None:
    """trap 2: line ends cut in two; trap 4: inside a character; trap 5: a byte order mark."""
    body = kit.fixture(name)
    assert_cuts_agree(kit.decoder, body, [1, 2, 3, 7, 61, 200, len(body)])
    assert_cuts_agree(kit.decoder, b"\xef\xbb\xbf" + body.replace(b"\n", b"\r\n"), [1, 5])
    assert_truncation_fails(kit.decoder, body)
    assert_well_formed(kit.decode(body))
    assert drain(kit.decoder(), [body])[1] == body


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(STREAMS), st.data())
def test_law_any_split_gives_the_same(name: str, data: st.DataObject) -> None:
    body = kit.fixture(name)
    points = data.draw(st.lists(st.integers(0, len(body)), max_size=6))
    whole, passed = drain(kit.decoder(), [body])
    events, raw = drain(kit.decoder(), cut(body, points))
    assert repr(joined(events)) == repr(joined(whole))
    assert raw == passed


def test_a_stream_in_full() -> None:
    events = kit.decode(kit.fixture("text.sse"))
    assert events[0] == Started("5f0c9b1e-0000-4000-8000-000000000001", "")
    assert text(events) == "Tides follow the moon 🌙 twice."
    assert endings(events) == {0: ChoiceEnded(Reason.STOP, 0, "COMPLETE", None, Extra(NAME, {}))}
    found = usage(events)
    billed: Any = {"billed_units": {"input_tokens": 63.0, "output_tokens": 7.0}}
    assert found == Usage(fresh=68, output=7, extra=Extra(NAME, billed))


def test_trap_59_counts_are_floats_and_calls_are_objects() -> None:
    """trap 59: whole numbers come out, and a call in pieces is one call."""
    found = usage(kit.decode(kit.fixture("text.sse")))
    assert found is not None
    assert [type(n) for n in (found.fresh, found.output)] == [int, int]
    events = kit.decode(kit.fixture("tools.sse"))
    assert calls(events) == [
        ("tide_q1w2e3", "tide", '{"port": "Brest"}'),
        ("wind_r4t5y6", "wind", "{}"),
    ]
    assert endings(events)[0].reason is Reason.TOOL
    assert thinking(events) == "I will ask foré both."
    listed = kit.fixture("tools.sse").replace(b'"tool_calls":{', b'"tool_calls":[{')
    listed = listed.replace(b'"arguments":""}}}}}', b'"arguments":""}}]}}}')
    listed = listed.replace(b'"}}}}}', b'"}}]}}}')
    assert calls(kit.decode(listed)) == calls(events)


def test_trap_3_6_and_8_comments_retries_and_what_follows_the_end() -> None:
    """trap 3: several data lines; trap 6: comments and empty events; trap 8: `[DONE]`, and more."""
    events = kit.decode(kit.fixture("crlf_pretty.sse"))
    assert text(events) == "Salt"
    assert endings(events)[0].reason is Reason.LENGTH
    body = kit.fixture("text.sse") + b"data: more\n\n"
    found, raw = drain(kit.decoder(), [body[:-9], body[-9:]])
    assert isinstance(found[-1], Finished) and raw == body


def test_trap_1_and_7_spaces_and_the_last_blank_line() -> None:
    """trap 1: `data:` without a space; trap 7: complete JSON counts without its blank line."""
    body = kit.fixture("text.sse").replace(b"data: ", b"data:")
    assert kit.decode(body) == kit.decode(kit.fixture("text.sse"))
    end = body[: body.index(b"data:[DONE]")].rstrip(b"\n")
    assert kit.decode(end) == kit.decode(body)
    assert isinstance(kit.decode(end[:-1])[-1], Failed)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("COMPLETE", Reason.STOP),
        ("STOP_SEQUENCE", Reason.STOP_SEQUENCE),
        ("MAX_TOKENS", Reason.LENGTH),
        ("TOOL_CALL", Reason.TOOL),
        ("USER_CANCEL", Reason.OTHER),
    ],
)
def test_reasons(word: str, reason: Reason) -> None:
    body = kit.fixture("text.sse").replace(b"COMPLETE", word.encode())
    found = endings(kit.decode(body))[0]
    assert (found.reason, found.raw) == (reason, word)
    assert kit.data(kit.encode(kit.decode(body)))[-1]["delta"]["finish_reason"] == word


def test_an_end_after_calls_is_a_tool_turn() -> None:
    body = kit.fixture("tools.sse").replace(b"TOOL_CALL", b"COMPLETE")
    assert endings(kit.decode(body))[0].reason is Reason.TOOL


@pytest.mark.parametrize("name", ["error_midway.sse", "error_bare.sse"])
def test_a_stream_that_fails_midway(name: str) -> None:
    body = kit.fixture(name)
    events, raw = drain(kit.decoder(), [body])
    error = failure(events)
    assert isinstance(error, UpstreamBad)
    assert error.message in (
        "the model stopped answering",
        "internal server error, this has been reported",
    )
    assert error.message.encode() not in raw
    if name == "error_midway.sse":
        found = usage(events)
        assert found is not None and found.output == 1


@pytest.mark.parametrize("word", ["ERROR", "TIMEOUT", "ERROR_TOXIC"])
def test_a_whole_reply_that_failed(word: str) -> None:
    body = kit.fixture("text.json").replace(b"COMPLETE", word.encode())
    error = failure(kit.decode(body, kit.JSON))
    assert isinstance(error, UpstreamBad) and word in error.message


def test_examples_of_usage() -> None:
    """Example A: 1000 prompt tokens, 800 from the cache, 300 generated; B: 500 written to a cache."""
    end = {"tokens": {"input_tokens": 1000.0, "output_tokens": 300.0}, "cached_tokens": 800.0}
    body = {"id": "x", "message": {"role": "assistant", "content": []}, "usage": end}
    found = usage(kit.decode(json.dumps(body).encode(), kit.JSON))
    assert found == Usage(fresh=200, cache_read=800, output=300)
    a: list[Event] = [Used(Usage(200, 800, output=300, reasoning=120)), Finished()]
    assert kit.data(kit.encode(a))[-1]["delta"]["usage"] == {
        "tokens": {"input_tokens": 1000, "output_tokens": 300},
        "cached_tokens": 800,
    }
    b: list[Event] = [Used(Usage(100, 0, 500, 500, output=40)), Finished()]
    assert kit.data(kit.encode(b))[-1]["delta"]["usage"]["tokens"]["input_tokens"] == 600


def test_only_what_was_billed_counts_where_nothing_else_does() -> None:
    body = {"message": {}, "usage": {"billed_units": {"input_tokens": 3.0, "output_tokens": 2.0}}}
    found = usage(kit.decode(json.dumps(body).encode(), kit.JSON))
    assert found is not None and (found.prompt, found.output) == (3, 2)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  \n",
        b"<html>bad gateway</html>",
        b"[]",
        b'{"odd":1}',
        b'{"message":"no"}',
        b'{"id":"x","message":{"role":"assist',
        b"data: nonsense\n\n",
        b"data: [1]\n\n",
        b"data: [DONE]\n\n",
        b'data: {"type":"message-start"}\n\n',
        b'data: {"type":7}\n\n',
        b"event: message-start\n\n",
    ],
)
def test_trap_14_and_15_what_is_no_reply_fails(body: bytes) -> None:
    """trap 14: a page with status 200; trap 15: labels that are wrong."""
    for headers in (kit.SSE, kit.JSON, {"content-type": "text/html"}, {}):
        assert failure(kit.decode(body, headers)).status == 502


@pytest.mark.parametrize("name", ["text.sse", "text.json", "tools.json", "crlf_pretty.sse"])
def test_trap_15_labels_do_not_matter(name: str) -> None:
    """trap 15: a stream under JSON's name, and JSON under a stream's."""
    body = kit.fixture(name)
    expected = kit.decode(body)
    assert isinstance(expected[-1], Finished)
    for headers in (kit.JSON, kit.SSE, {}, {"content-type": "text/plain"}):
        assert drain(kit.decoder(headers), [body]) == (expected, body)


def test_trap_10_a_compressed_reply_fails() -> None:
    """trap 10: nobody asked for gzip."""
    headers = {**kit.SSE, "content-encoding": "gzip"}
    assert "compressed" in failure(kit.decode(b"\x1f\x8b", headers)).message


def test_too_much_is_refused() -> None:
    call = {"id": "x", "function": {"name": "f", "arguments": "{}"}}
    many = [{**call, "id": f"x{i}"} for i in range(_parts.MAX_PARTS + 1)]
    body = {"message": {"role": "assistant", "tool_calls": many}}
    assert "too many parts" in failure(kit.decode(json.dumps(body).encode(), kit.JSON)).message
    decoder = kit.decoder()
    piece = b"data: " + b"x" * (1 << 20)
    events: list[Event] = []
    for _ in range(MAX_EVENT // len(piece) + 2):
        events.extend(decoder.feed(piece))
    assert "too large" in failure(events).message


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=200) | st.sampled_from([*STREAMS, *WHOLE, "embed.json"]).map(kit.fixture),
    st.data(),
)
def test_no_bytes_raise(body: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(body)))
    damaged = body[:at] + data.draw(st.binary(max_size=4)) + body[at + 1 :]
    for operation in ("chat", "embed", "rerank"):
        events = kit.decode(damaged, {}, operation=operation)
        assert isinstance(events[-1], Finished | Failed)


ODD: Any = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["type", "delta", "message", "content", "text", "tool_calls", "function", "usage",
                 "tokens", "citations", "index", "logprobs", "finish_reason", "input_tokens"]
            ), inner, max_size=3)
    ),
    max_leaves=8,
)  # fmt: skip
TYPES = st.sampled_from(
    ["message-start", "content-start", "content-delta", "tool-plan-delta", "tool-call-start",
     "tool-call-delta", "citation-start", "message-end"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(TYPES, ODD, ODD), max_size=5))
def test_no_shape_raises(shapes: list[tuple[str, Any, Any]]) -> None:
    frames = [
        {"type": kind, "index": index, "delta": {"message": message, "usage": message}}
        for kind, message, index in shapes
    ]
    body = b"".join(b"data: %b\n\n" % json.dumps(frame).encode() for frame in frames)
    events = kit.decode(body)
    assert isinstance(events[-1], Finished | Failed)
    assert_well_formed(events)
    for value in (shapes[0][1] if shapes else None, {"message": frames[0] if frames else {}}):
        assert isinstance(kit.decode(json.dumps(value).encode(), kit.JSON)[-1], Finished | Failed)


def test_a_stream_without_its_first_event_is_read_all_the_same() -> None:
    body = kit.fixture("text.sse")
    events = kit.decode(body[body.index(b"event: content-delta") :])
    assert_well_formed(events)
    assert events[0] == Started("", "")
    assert text(events) == "Tides follow the moon 🌙 twice."
