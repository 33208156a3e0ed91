"""Ollama replies: lines in, lines out, and the real SDK reads what we write."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ollama
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.codec.ndjson import MAX_LINE
from extproc.dialects import _parts
from extproc.dialects.ollama_chat import DIALECT
from extproc.dialects.ollama_chat.parts import carries
from extproc.dialects.ollama_chat.words import NAME
from extproc.model.call import CallId
from extproc.model.chat import Extra
from extproc.model.dialect import ReplyContext, ReplyDecoder
from extproc.model.errors import Overloaded, UpstreamBad
from extproc.model.reply import (
    ChoiceEnded,
    Event,
    Failed,
    Finished,
    Note,
    PartEnded,
    PartKind,
    PartStarted,
    Reason,
    Started,
    TextDelta,
    ToolDelta,
    Usage,
    Used,
)

from . import kit_ollama as kit
from .reading import (
    assert_cuts_agree,
    assert_truncation_fails,
    assert_well_formed,
    calls,
    drain,
    endings,
    failure,
    joined,
    text,
    thinking,
    usage,
)
from .strategies import replies

STREAMS = kit.fixtures("*.ndjson")
GOOD = [name for name in STREAMS if not name.startswith("error")]


def new(name: str = "text.ndjson") -> Callable[[], ReplyDecoder]:
    path = "/api/generate" if "generate" in name else "/api/chat"
    return lambda: kit.decoder(path=path)


@pytest.mark.parametrize("name", STREAMS)
def test_trap_12_however_the_lines_are_cut(name: str) -> None:
    """trap 12: half lines, blank lines, two objects in a piece; trap 4: inside a character."""
    body = kit.fixture(name)
    if name in GOOD:
        assert_cuts_agree(new(name), body, [1, 2, 3, 7, 61, 200, len(body)])
        assert_cuts_agree(new(name), b"\xef\xbb\xbf" + body.replace(b"\n", b"\r\n\r\n"), [1, 5])
        assert_truncation_fails(new(name), body)
        assert_well_formed(kit.decode(body))
        assert drain(new(name)(), [body])[1] == body


def test_trap_12_a_line_of_a_megabyte() -> None:
    line = kit.fixture("text.ndjson").splitlines(keepends=True)
    long = line[0].replace(b"Rivers", b"R" * (1 << 20))
    events, raw = drain(
        kit.decoder(), [(long + line[-1])[i : i + 9999] for i in range(0, 1 << 21, 9999)]
    )
    assert text(events) == "R" * (1 << 20)
    assert raw == long + line[-1]


def test_a_line_without_end_is_refused() -> None:
    decoder = kit.decoder()
    piece = b'{"message":"' + b"x" * (1 << 20)
    events: list[Event] = []
    for _ in range(MAX_LINE // len(piece) + 2):
        events.extend(decoder.feed(piece))
    assert "too large" in failure(events).message


def test_a_stream_in_full() -> None:
    events = kit.decode(kit.fixture("text.ndjson"))
    assert events[0] == Started("", "llama3.2", 1772359200)
    assert text(events) == "Rivers run to the sé 🌊."
    assert usage(events) == Usage(fresh=12, output=7)
    durations = {
        "total_duration": 412000000,
        "load_duration": 9000000,
        "prompt_eval_duration": 70000000,
        "eval_duration": 300000000,
    }
    assert endings(events) == {0: ChoiceEnded(Reason.STOP, 0, "stop", None, Extra(NAME, durations))}
    assert isinstance(events[-1], Finished)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("length.ndjson", Reason.LENGTH),
        ("thinking_tools.ndjson", Reason.TOOL),
        ("load.json", Reason.OTHER),
        ("unload_generate.json", Reason.OTHER),
    ],
)
def test_reasons(name: str, reason: Reason) -> None:
    assert endings(kit.decode(kit.fixture(name)))[0].reason is reason


@pytest.mark.parametrize(
    ("word", "reason"), [("", Reason.OTHER), ("stop", Reason.STOP), (None, Reason.STOP)]
)
def test_a_reason_that_is_not_said(word: str | None, reason: Reason) -> None:
    last: dict[str, Any] = {"message": {"role": "assistant", "content": "x"}, "done": True}
    if word is not None:
        last["done_reason"] = word
    assert endings(kit.decode(json.dumps(last).encode()))[0].reason is reason


def test_finish_in_the_line_of_the_last_text() -> None:
    assert text(kit.decode(kit.fixture("length.ndjson"))) == "One two three"


def test_thinking_then_calls() -> None:
    events = kit.decode(kit.fixture("thinking_tools.ndjson"))
    assert thinking(events) == "They ask for two towns."
    assert calls(events) == [
        ("call_a1b2c3d4", "weather", '{"city":"Bern","days":2}'),
        ("call_e5f6a7b8", "weather", '{"city":"Genève"}'),
    ]


def test_trap_56_calls_without_ids_get_one_each_and_once() -> None:
    """trap 56: no ids on old servers; the tool line comes before the last one."""
    body = kit.fixture("old_tools.ndjson")
    found = calls(kit.decode(body))
    assert [(name, arguments) for _, name, arguments in found] == [
        ("weather", '{"city":"Bern"}'),
        ("weather", "{}"),
    ]
    assert len({call_id for call_id, _, _ in found}) == 2
    assert all(call_id.startswith("call_") for call_id, _, _ in found)
    assert found == calls(drain(kit.decoder(), [body[i : i + 1] for i in range(len(body))])[0])
    later = calls(kit.decode(body.replace(b"00.1Z", b"09.1Z")))
    assert {call_id for call_id, _, _ in found}.isdisjoint(call_id for call_id, _, _ in later)


def test_a_repeated_id_is_two_calls() -> None:
    call = {"id": "x", "function": {"name": "f", "arguments": {"a": 1}}}
    line = {
        "message": {"role": "assistant", "content": "", "tool_calls": [call, call]},
        "done": True,
    }
    found = calls(kit.decode(json.dumps(line).encode()))
    assert [arguments for _, _, arguments in found] == ['{"a":1}', '{"a":1}']
    assert found[0][0] != found[1][0]


def test_trap_57_an_error_line_after_200() -> None:
    """trap 57: the stream fails, and the line does not pass."""
    body = kit.fixture("error_after_text.ndjson")
    events, raw = drain(kit.decoder(), [body])
    error = failure(events)
    assert isinstance(error, UpstreamBad)
    assert error.message == "an error was encountered while running the model: CUDA error"
    assert raw == body.splitlines(keepends=True)[0]


def test_trap_57_usage_without_the_prompts_count_is_unknown_and_not_zero() -> None:
    events = kit.decode(kit.fixture("old_tools.ndjson"))
    assert usage(events) is None
    assert "prompt_eval_count" not in kit.lines(kit.encode(events))[-1]


def test_example_a_of_usage() -> None:
    """1000 prompt tokens of which 800 came from a cache that Ollama does not tell of."""
    line = {"message": {"role": "assistant", "content": "x"}, "done": True}
    found = usage(
        kit.decode(json.dumps({**line, "prompt_eval_count": 1000, "eval_count": 300}).encode())
    )
    assert found is not None
    assert (found.prompt, found.output) == (1000, 300)
    events: list[Event] = [
        Started("", "m"),
        Used(Usage(200, 800, output=300, reasoning=120)),
        Finished(),
    ]
    last = kit.lines(kit.encode(events))[-1]
    assert (last["prompt_eval_count"], last["eval_count"]) == (1000, 300)


def test_estimated_usage_is_never_said() -> None:
    events: list[Event] = [Started("", "m"), Used(Usage(5, output=5, estimated=True)), Finished()]
    for stream in (True, False):
        assert "eval_count" not in kit.lines(kit.encode(events, stream))[-1]


def test_logprobs_and_what_else_only_ollama_has_come_home() -> None:
    events = kit.decode(kit.fixture("logprobs.ndjson"))
    first, middle, last = kit.lines(kit.encode(events))
    assert first["remote_host"] == middle["remote_host"] == last["remote_host"] == "elsewhere"
    assert middle["logprobs"][0]["token"] == "Yes"
    whole = json.loads(kit.encode(events, stream=False))
    assert whole["logprobs"][0]["top_logprobs"] == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  \n",
        b"<html>bad gateway</html>",
        b"[]",
        b'{"odd":1}\n',
        b'{"message":{"role":"assistant","content":"x"},"done":false}',
        b'{"message":{"role":"assistant","content":"x"},"done":fal',
        b'{"message":{"role":"assistant"},"done":false}\nnonsense\n{"done":true}\n',
        b'{"message":{"role":"assistant"},"done":false}\n[1]\n{"done":true}\n',
        b'{"error":"no"}',
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_what_is_no_reply_fails(body: bytes, stream: bool) -> None:
    """trap 14: a page with status 200; trap 15: the other form than the one asked for."""
    for headers in (kit.NDJSON, kit.JSON, {"content-type": "text/html"}, {}):
        error = failure(kit.decode(body, headers, stream=stream))
        assert error.status in (502, 500)


@pytest.mark.parametrize("name", ["text.ndjson", "whole.json", "thinking_tools.ndjson"])
@pytest.mark.parametrize("headers", [kit.NDJSON, kit.JSON, {}, {"content-type": "text/plain"}])
def test_trap_15_labels_do_not_matter(name: str, headers: dict[str, str]) -> None:
    """trap 15: a stream where none was asked for, and a whole reply where one was."""
    body = kit.fixture(name)
    expected = kit.decode(body)
    assert isinstance(expected[-1], Finished)
    for stream in (True, False):
        events, raw = drain(kit.decoder(headers, stream=stream), [body])
        assert (joined(events), raw) == (joined(expected), body)


def test_trap_18_integers_in_arguments_are_exact() -> None:
    """trap 18: 30 digits, both ways."""
    arguments = '{"n":123456789012345678901234567890}'
    body = kit.encode(call_with(arguments, Reason.TOOL))
    assert [text for _, _, text in calls(kit.decode(body))] == [arguments]


def test_too_many_calls_are_refused() -> None:
    call = {"function": {"name": "f", "arguments": {}}}
    message = {"role": "assistant", "content": "", "tool_calls": [call] * (_parts.MAX_PARTS + 1)}
    events = kit.decode(json.dumps({"message": message, "done": True}).encode())
    assert "too many parts" in failure(events).message


def test_trap_10_a_compressed_reply_fails() -> None:
    headers = {**kit.NDJSON, "content-encoding": "gzip"}
    assert "compressed" in failure(kit.decode(b"\x1f\x8b", headers)).message


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.sampled_from(STREAMS).map(kit.fixture), st.data())
def test_no_bytes_raise(body: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(body)))
    damaged = body[:at] + data.draw(st.binary(max_size=4)) + body[at + 1 :]
    for path in ("/api/chat", "/api/generate", "/api/embed"):
        events = kit.decode(damaged, path=path)
        assert isinstance(events[-1], Finished | Failed)


# --- what we write --------------------------------------------------------------------------


def told(events: Sequence[Event]) -> list[Any]:
    """Events that can be compared: an error by its words."""
    return [e.error.message if isinstance(e, Failed) else e for e in joined(events)]


@settings(max_examples=150, deadline=None)
@given(replies(NAME, choices=2, broken=True), st.booleans())
def test_law_what_was_written_is_read_again(events: list[Event], generate: bool) -> None:
    started = events[0]
    assert isinstance(started, Started)
    context = ReplyContext(CallId("gw-1"), started.model, started.created or 0)
    expected = carries([Started("", started.model, started.created or 0), *events[1:]])
    operation = "generate" if generate else "chat"
    body = kit.encode(events, operation=operation, context=context)
    found = kit.decode(body, path=kit.PATHS[operation])
    assert told(found) == told(expected)
    if isinstance(expected[-1], Finished):
        whole = kit.encode(events, stream=False, operation=operation, context=context)
        assert told(in_order(kit.decode(whole, kit.JSON, stream=False))) == told(in_order(expected))


def in_order(events: Sequence[Event]) -> list[Any]:
    """What a whole reply keeps: it has no order of parts."""
    return [text(events), thinking(events), calls(events), endings(events), usage(events)]


@dataclass
class Clock:
    now: float

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 0.0


def test_every_line_by_the_letter() -> None:
    events: list[Event] = [
        Started("x", "theirs", 5),
        PartStarted(PartKind.TEXT),
        TextDelta("Hé"),
        PartEnded(),
        PartStarted(PartKind.TOOL, 1, id="c1", name="f"),
        ToolDelta('{"a":', 1),
        ToolDelta("1}", 1),
        PartEnded(1),
        ChoiceEnded(Reason.TOOL, raw="tool_use"),
        Used(Usage(fresh=3, output=2)),
        Finished(),
    ]
    context = ReplyContext(CallId("gw-1"), "mine", 1772359200, started=1.0, clock=Clock(1.25))
    line = b'{"model":"mine","created_at":"2026-03-01T10:00:00Z",'
    assert kit.encode(events, context=context).splitlines() == [
        line + '"message":{"role":"assistant","content":"Hé"},"done":false}'.encode(),
        line + b'"message":{"role":"assistant","content":"","tool_calls":'
        b'[{"id":"c1","function":{"index":0,"name":"f","arguments":{"a":1}}}]},"done":false}',
        line + b'"message":{"role":"assistant","content":""},"done_reason":"stop","done":true,'
        b'"total_duration":250000000,"prompt_eval_count":3,"eval_count":2}',
    ]
    assert kit.encode(events[:4], operation="generate", context=context) == (
        line + '"response":"Hé","done":false}\n'.encode()
    )
    whole = json.loads(kit.encode(events, stream=False, context=context))
    assert whole["message"]["content"] == "Hé"
    assert whole["message"]["tool_calls"][0]["function"]["arguments"] == {"a": 1}


def test_an_error_in_a_stream_is_a_line_without_a_last_one() -> None:
    assert kit.encode([Started("", "m"), Failed(Overloaded("full"))]) == b'{"error":"full"}\n'
    assert kit.encode([Failed(Overloaded("full"))], stream=False) == b'{"error":"full"}'


def call_with(arguments: str, reason: Reason) -> list[Event]:
    return [
        Started("", "m"),
        PartStarted(PartKind.TOOL, id="c", name="f"),
        ToolDelta(arguments),
        PartEnded(),
        ChoiceEnded(reason),
        Finished(),
    ]


def test_a_call_cut_short_is_left_out_and_a_broken_one_fails() -> None:
    assert "tool_calls" not in kit.lines(kit.encode(call_with('{"a', Reason.LENGTH)))[-1]["message"]
    for stream in (True, False):
        body = kit.lines(kit.encode(call_with('{"a', Reason.TOOL), stream))
        assert body == [
            {"error": "the model called the tool f with arguments that are not a JSON object"}
        ]
    encoder = DIALECT.encoder(
        kit.parse({"model": "m", "messages": [], "stream": False}),
        ReplyContext(CallId("g"), "m", 0),
    )
    for event in call_with("7", Reason.TOOL):
        encoder.feed(event)
    assert encoder.head()[0] == 502


def test_lone_surrogates_do_not_crash() -> None:
    """trap 17: translated, half a pair becomes U+FFFD."""
    body = rb'{"message":{"role":"assistant","content":"a\ud800"},"done":true,"done_reason":"stop"}'
    events = kit.decode(body)
    assert "a\ufffd" in kit.encode(events).decode()
    assert drain(kit.decoder(), [body])[1] == body


# --- the SDK reads it -----------------------------------------------------------------------


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("operation", ["chat", "generate"])
def test_the_sdks_types_read_every_line(name: str, operation: str) -> None:
    events = kit.decode(kit.fixture(name))
    kind: Any = ollama.ChatResponse if operation == "chat" else ollama.GenerateResponse
    said = [kind(**line) for line in kit.lines(kit.encode(events, operation=operation))]
    said += [kind(**json.loads(kit.encode(events, stream=False, operation=operation)))]
    assert said[-1].done
    assert said[-1].created_at == "1970-01-01T00:00:00Z"
    if operation == "chat":
        found = [call.function for one in said[:-1] for call in one.message.tool_calls or []]
        assert [(f.name, f.arguments) for f in found] == [
            (name, json.loads(arguments)) for _, name, arguments in calls(events)
        ]
        assert "".join(one.message.thinking or "" for one in said[:-1]) == thinking(events)
    else:
        assert said[-1].response == text(events)


def test_lines_that_nobody_asked_for_end_once() -> None:
    """A stream under a whole reply's content type, with lines after its last."""
    body = kit.fixture("text.ndjson")
    pieces = [body + body.splitlines(keepends=True)[0]]
    events, _ = drain(kit.decoder({"content-type": "text/plain"}), pieces)
    assert_well_formed(events)


def test_what_comes_beside_a_call_stands_in_a_part_that_is_open() -> None:
    call = {"function": {"name": "close", "arguments": {}}}
    message = {"role": "assistant", "content": "", "tool_calls": [call], "odd": "x"}
    events = kit.decode(json.dumps({"model": "m", "message": message, "done": True}).encode())
    assert_well_formed(events)
    assert any(isinstance(event, Note) and event.value == {"odd": "x"} for event in events)


def test_a_vector_with_a_number_beyond_all_floats_is_refused() -> None:
    body = b'{"model": "\\ud800", "embeddings": [[1' + b"0" * 400 + b"]]}"
    failure(kit.decode(body, {"content-type": "application/json"}, path="/api/embed"))
