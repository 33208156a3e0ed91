"""Traps that every language may meet, put to every dialect that lies in the folder.

Each dialect's own tests have those that only its wire has; here the same spoiled
bytes go to all of them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from extproc.codec.sse import Frame, SseSplitter
from extproc.model.call import Target
from extproc.model.chat import Chat, Message, Role, Text
from extproc.model.dialect import Rendered, ReplyHead, RequestHead
from extproc.model.errors import GatewayError, InvalidRequest, Kind
from extproc.model.reply import (
    ChoiceEnded,
    Event,
    Failed,
    Finished,
    PartEnded,
    PartKind,
    PartStarted,
    Reason,
    Started,
    TextDelta,
    ToolDelta,
)
from tests.dialects.kit_laws import DIALECTS, asked, at_home, endpoint, reply, written
from tests.dialects.reading import calls, drain, endings, joined, text

WORDS = ["Grüße", " 🌊"]
BIG = '{"n":123456789012345678901234567890}'

each = pytest.mark.parametrize("name", DIALECTS)
both = pytest.mark.parametrize("stream", [False, True])


def stream_of(name: str) -> tuple[Rendered, ReplyHead, bytes]:
    rendered = asked(name, "x", stream=True)
    head, body = written(name, at_home(name, rendered), reply(WORDS, Reason.STOP))
    return rendered, head, body


def by_sse() -> list[str]:
    return [name for name in DIALECTS if stream_of(name)[1].content_type == "text/event-stream"]


def decoded(name: str, head: ReplyHead, body: bytes, rendered: Rendered) -> list[Event]:
    return drain(DIALECTS[name].decoder(head, rendered), [body])[0]


# --- framing


def frames(body: bytes) -> list[Frame]:
    return [frame for frame in SseSplitter().feed(body) if frame.data is not None]


def pretty(frame: Frame) -> bytes:
    """The frame with its datum over several lines."""
    named = b"event: %b\n" % frame.event if frame.event else b""
    assert frame.data is not None
    try:
        data = json.dumps(json.loads(frame.data), indent=1).encode()
    except ValueError:
        data = frame.data
    return named + b"".join(b"data: %b\n" % line for line in data.split(b"\n")) + b"\n"


SPOILED: dict[str, Callable[[bytes], bytes]] = {
    "trap 1: no space": lambda body: body.replace(b"data: ", b"data:"),
    "trap 2: CRLF": lambda body: body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
    "trap 2: CR": lambda body: body.replace(b"\r\n", b"\n").replace(b"\n", b"\r"),
    "trap 3: several lines": lambda body: b"".join(map(pretty, frames(body))),
    "trap 5: byte order mark": lambda body: b"\xef\xbb\xbf" + body,
    "trap 6: between events": lambda body: (
        b": hi\n\n"
        + b"\n\n: ping\n\nid: 4\nretry: 10\n\n\n\n".join(
            body.replace(b"\r\n", b"\n").split(b"\n\n")[:-1]
        )
        + b"\n\n"
    ),
    "trap 7: no blank line at the end": lambda body: body.rstrip(b"\r\n"),
    "trap 8: what follows": lambda body: body + b"data: [DONE]\n\ndata: {\n\ngarbage",
}


@pytest.mark.parametrize(
    ("name", "spoiled"),
    [
        (name, spoiled)
        for name in by_sse()
        for spoiled in SPOILED
        # Its streams end with the connection, so nothing can follow.
        if (name, spoiled) != ("gemini_generate", "trap 8: what follows")
    ],
)
def test_odd_framing_says_the_same(name: str, spoiled: str) -> None:
    """trap 1, trap 2, trap 3, trap 4, trap 5, trap 6, trap 7, trap 8: whole, and byte by byte."""
    rendered, head, body = stream_of(name)
    plain = joined(decoded(name, head, body, rendered))
    odd = SPOILED[spoiled](body)
    pieces = [odd[at : at + 1] for at in range(len(odd))]
    for cut in ([odd], pieces):
        events, passed = drain(DIALECTS[name].decoder(head, rendered), cut)
        assert repr(joined(events)) == repr(plain)
        assert passed == odd
    assert text(plain) == "".join(WORDS)


@each
@both
def test_a_reply_that_nobody_can_read_fails(name: str, stream: bool) -> None:
    """trap 10: compressed; trap 14: a page of HTML, text or nothing, with any status."""
    rendered = asked(name, "x", stream=stream)
    head, good = written(name, at_home(name, rendered), reply(WORDS, Reason.STOP))
    packed = ReplyHead(200, {**head.headers, "content-encoding": "gzip"})
    events, passed = drain(DIALECTS[name].decoder(packed, rendered), [good])
    assert [type(event) for event in events] == [Failed]
    assert passed == b""
    for status in (200, 502):
        for body in (b"<!DOCTYPE html><html><body>no</body></html>", b"no healthy upstream", b""):
            for kind in ("text/html", head.content_type, ""):
                failed = decoded(name, ReplyHead(status, {"content-type": kind}), body, rendered)
                assert len(failed) == 1 and isinstance(failed[0], Failed)
                assert failed[0].error.kind is Kind.UPSTREAM_BAD
                assert "html" not in failed[0].error.message.lower()


@each
def test_what_it_is_counts_and_not_what_it_is_called(name: str) -> None:
    """trap 15: a whole reply under a stream's type, and the other way round."""
    rendered, head, body = stream_of(name)
    whole = asked(name, "x", stream=False)
    plain, one = written(name, at_home(name, whole), reply(WORDS, Reason.STOP))
    assert text(decoded(name, head, one, rendered)) == "".join(WORDS)
    assert text(decoded(name, plain, body, whole)) == "".join(WORDS)


# --- JSON


def post(name: str, rendered: Rendered, body: bytes) -> Any:
    dialect = DIALECTS[name]
    path, _, query = rendered.path.partition("?")
    found, path = endpoint(dialect, path)
    head = RequestHead("POST", path, query, dict(rendered.headers), found.operation)
    return dialect.parse_request(head, body)


@each
def test_bodies_that_parsers_disagree_on(name: str) -> None:
    """trap 16, trap 18, trap 19, trap 20: refused on the way in."""
    rendered = asked(name, "x", stream=False)
    first = next(iter(json.loads(rendered.body)))
    value = json.dumps(json.loads(rendered.body)[first])
    for odd in (
        f'"{first}":{value},',
        '"zz":1e400,',
        '"zz":NaN,',
        '"zz":-Infinity,',
        '"zz":' + "[" * 10_000 + "]" * 10_000 + ",",
    ):
        body = b"{" + odd.encode() + rendered.body[1:]
        with pytest.raises(InvalidRequest):
            post(name, rendered, body)


@each
def test_half_of_a_surrogate_pair(name: str) -> None:
    """trap 17: untouched bytes keep it; written anew or translated, it is U+FFFD."""
    rendered = asked(name, "half-a-pair", stream=False)
    raw = rendered.body.replace(b"half-a-pair", b"\\ud83d")
    request = post(name, rendered, raw)
    target = Target("acme", "a-model", name)
    assert b"\\ud83d" in DIALECTS[name].render_request(request, target).body
    again = DIALECTS[name].render_request(replace(request, raw=b""), target)
    assert "\ufffd" in json.dumps(json.loads(again.body), ensure_ascii=False)
    for other in DIALECTS.values():
        body = other.render_request(request, Target("acme", "a-model", other.name)).body
        assert "\ufffd" in body.decode() or other.name == name


def called(arguments: str) -> list[Event]:
    return [
        Started("id", "a-model", 1_772_359_200),
        PartStarted(PartKind.TOOL, 0, 0, "call_1", "f"),
        ToolDelta(arguments),
        PartEnded(),
        ChoiceEnded(Reason.TOOL),
        Finished(),
    ]


def refuse(word: str) -> float:
    raise AssertionError(f"{word} was written")


def strict(body: bytes) -> None:
    """Every JSON document of a reply is JSON by the letter."""
    for line in body.replace(b"\r\n", b"\n").split(b"\n"):
        data = line.removeprefix(b"data:").strip()
        if data.startswith(b"{"):
            json.loads(data, parse_constant=refuse)


WITH_TOOLS = [name for name in DIALECTS if name != "openai_completions"]


@pytest.mark.parametrize("name", WITH_TOOLS)
@both
def test_numbers_in_arguments(name: str, stream: bool) -> None:
    """trap 18: 30 digits stay exact; trap 19: what is no number is never written as one."""
    home = at_home(name, asked(name, "x", stream=stream))
    head, body = written(name, home, called(BIG))
    found = calls(decoded(name, head, body, asked(name, "x", stream=stream)))
    assert [json.loads(arguments) for _, _, arguments in found] == [json.loads(BIG)]
    for odd in ('{"n":NaN}', '{"n":-Infinity}', '{"n":1e999}', '{"n":'):
        try:
            _, body = written(name, home, called(odd))
        except GatewayError:
            continue
        if b"{" in body and head.content_type != "application/vnd.amazon.eventstream":
            strict(body)


@each
@both
def test_nesting_without_end_in_a_reply(name: str, stream: bool) -> None:
    """trap 20: no provider's depth brings a decoder or an encoder down."""
    rendered = asked(name, "x", stream=stream)
    home = at_home(name, rendered)
    head, _ = written(name, home, reply(WORDS, Reason.STOP))
    deep = b"[" * 10_000
    for body in (deep, b'{"a":' + deep, b'data: {"a":' + deep + b"\n\n"):
        assert isinstance(decoded(name, head, body, rendered)[-1], Failed)
    if name in WITH_TOOLS:
        try:
            written(name, home, called('{"a":' + "[" * 10_000 + "]" * 10_000 + "}"))
        except GatewayError as error:
            assert error.status >= 400


# --- one language's own


def spoken(*choices: dict[str, Any]) -> bytes:
    chunks = [{"id": "i", "choices": [{"index": 0, **choice}]} for choice in choices]
    return b"".join(b"data: %b\n\n" % json.dumps(one).encode() for one in chunks)


def chat(*choices: dict[str, Any]) -> list[Event]:
    rendered = asked("openai_chat", "x", stream=True)
    head = ReplyHead(200, {"content-type": "text/event-stream"})
    return decoded("openai_chat", head, spoken(*choices) + b"data: [DONE]\n\n", rendered)


def test_a_role_in_every_chunk_and_empty_deltas() -> None:
    """trap 31"""
    events = chat(
        {"delta": {"role": "assistant", "content": ""}},
        {"delta": {}},
        {"delta": {"role": "assistant", "content": "a"}},
        {"delta": {"role": "assistant", "content": None}},
        {"delta": {"role": "assistant", "content": "b"}},
        {"delta": {"role": "assistant", "content": ""}, "finish_reason": "stop"},
    )
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["a", "b"]
    assert sum(isinstance(event, PartStarted) for event in events) == 1


TOOL = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize("reason", ["stop", "", None, "tool_calls", "function_call"])
def test_a_finish_that_lies_beside_a_call(reason: str | None) -> None:
    """trap 28: whatever is said, and how often, a call ends as one."""
    for endings_said in (1, 2):
        end = [{"delta": {}, "finish_reason": reason}] * endings_said
        events = chat({"delta": {"tool_calls": [TOOL]}}, *end)
        assert [e.reason for e in events if isinstance(e, ChoiceEnded)] == [Reason.TOOL]
        assert calls(events) == [("c", "f", "{}")]


def test_a_ping_at_every_place() -> None:
    """trap 40: before the start, between any two events, after the end."""
    name = "anthropic_messages"
    rendered, head, body = stream_of(name)
    plain = joined(decoded(name, head, body, rendered))
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'
    one_by_one = [frame.raw for frame in SseSplitter().feed(body)]
    for at in range(len(one_by_one) + 1):
        odd = b"".join([*one_by_one[:at], ping, *one_by_one[at:]])
        events, passed = drain(DIALECTS[name].decoder(head, rendered), [odd])
        assert joined(events) == plain
        assert passed == odd
    everywhere = ping + b"".join(frame + ping for frame in one_by_one)
    assert joined(decoded(name, head, everywhere, rendered)) == plain


@pytest.mark.parametrize(
    "candidate",
    [
        {"finishReason": "STOP"},
        {"finishReason": "STOP", "content": {}},
        {"finishReason": "STOP", "content": {"role": "model"}},
        {"finishReason": "STOP", "content": {"parts": []}},
        {"finishReason": "STOP", "content": None},
    ],
    ids=str,
)
@both
def test_a_finish_without_content(candidate: dict[str, Any], stream: bool) -> None:
    """trap 46"""
    body = json.dumps({"candidates": [candidate]}).encode()
    kind = "text/event-stream" if stream else "application/json"
    rendered = asked("gemini_generate", "x", stream=stream)
    head = ReplyHead(200, {"content-type": kind})
    body = b"data: %b\r\n\r\n" % body if stream else body
    events = decoded("gemini_generate", head, body, rendered)
    assert isinstance(events[-1], Finished)
    assert endings(events)[0].reason is Reason.STOP
    assert text(events) == ""


def test_no_text_of_a_turn_is_blank_and_turns_alternate() -> None:
    """trap 52: where the conversation begins with an answer, and says nothing in between."""
    said = [Role.ASSISTANT, Role.ASSISTANT, Role.USER, Role.USER, Role.ASSISTANT, Role.USER]
    words = ["hello", " ", "", "a", "\n", "b"]
    messages = tuple(Message(r, (Text(w),)) for r, w in zip(said, words, strict=True))
    asked_for = Chat("elsewhere", "m", messages)
    body = json.loads(
        DIALECTS["bedrock_converse"]
        .render_request(asked_for, Target("acme", "m", "bedrock_converse"))
        .body
    )
    roles = [message["role"] for message in body["messages"]]
    assert roles[0] == "user"
    assert all(a != b for a, b in itertools.pairwise(roles))
    blocks = [block for message in body["messages"] for block in message["content"]]
    assert all(block["text"].strip() for block in blocks)
