"""`python -m tests.bench.dialects`: what the dialects cost, without Envoy and without the machine.

For each dialect that speaks to providers: a streamed event that passes untouched, and one
that is decoded and written in another language; a conversation that is read, and written
for a provider of another language, at three sizes; a long stream beside a short one.
Prints Markdown. Each figure is the best of a few short runs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from extproc.codec import aws_eventstream
from extproc.discover import registry
from extproc.model.call import CallId, Target
from extproc.model.chat import Chat
from extproc.model.dialect import (
    Dialect,
    Rendered,
    ReplyContext,
    ReplyDecoder,
    ReplyHead,
    RequestHead,
)
from extproc.model.reply import TextDelta

RUNS = 5
SIZES = ((10, 10_000), (40, 100_000), (200, 1_000_000))
"""turns and bytes of the conversations"""
SHORT, LONG = 1_000, 100_000
"""events of the streams that are compared"""
_WORDS = 'The quick brown fox jumps over the lazy dog.\nIt said "no" - and went on. '
_SSE, _LINES = "text/event-stream", "application/x-ndjson"
_FRAMES = "application/vnd.amazon.eventstream"
_CALL = CallId("gw-00000000-0000-4000-8000-000000000000")
_MICRO = 1e6


@dataclass(frozen=True, slots=True)
class Language:
    """Where a dialect takes conversations, and a stream of it: `first`, many times `again`."""

    path: str
    content_type: str
    first: bytes
    again: bytes
    operation: str = ""


def _data(*values: object) -> bytes:
    return b"".join(b"data: " + _json(value) + b"\n\n" for value in values)


def _named(*values: dict[str, object]) -> bytes:
    return b"".join(f"event: {v['type']}\n".encode() + _data(v) for v in values)


def _frame(kind: str, payload: object) -> bytes:
    return aws_eventstream.write({":event-type": kind, ":message-type": "event"}, _json(payload))


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _chunk(**delta: object) -> dict[str, object]:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    about = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**about, "choices": [choice]}


_MESSAGE = {"id": "m1", "type": "message", "role": "assistant", "model": "m", "content": []}
_USED = {"input_tokens": 9, "output_tokens": 1}
_RESPONSE = {"id": "r", "object": "response", "created_at": 1, "model": "m", "output": []}
_ITEM = {"id": "i", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
_PLACE = {"item_id": "i", "output_index": 0, "content_index": 0}
_LINE = {"model": "m", "created_at": "2026-03-01T10:00:00.1Z", "done": False}

LANGUAGES = {
    "openai_chat": Language(
        "/v1/chat/completions",
        _SSE,
        _data(_chunk(role="assistant", content="")),
        _data(_chunk(content="word ")),
    ),
    "openai_responses": Language(
        "/v1/responses",
        _SSE,
        _named(
            {"type": "response.created", "sequence_number": 0, "response": _RESPONSE},
            {"type": "response.output_item.added", "output_index": 0, "item": _ITEM},
            {
                "type": "response.content_part.added",
                **_PLACE,
                "part": {"type": "output_text", "text": "", "annotations": []},
            },
        ),
        _named({"type": "response.output_text.delta", **_PLACE, "delta": "word ", "logprobs": []}),
    ),
    "anthropic_messages": Language(
        "/v1/messages",
        _SSE,
        _named(
            {"type": "message_start", "message": {**_MESSAGE, "usage": _USED}},
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "text", "text": ""},
            },
        ),
        _named(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": "word "},
            }
        ),
    ),
    "gemini_generate": Language(
        "/v1beta/models/m:generateContent",
        _SSE,
        b"",
        _data(
            {
                "candidates": [{"content": {"parts": [{"text": "word "}], "role": "model"}}],
                "modelVersion": "m",
                "responseId": "r",
            }
        ),
    ),
    "bedrock_converse": Language(
        "/model/m/converse",
        _FRAMES,
        _frame("messageStart", {"role": "assistant"}),
        _frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "word "}}),
        "converse",
    ),
    "ollama_chat": Language(
        "/api/chat",
        _LINES,
        b"",
        _json({**_LINE, "message": {"role": "assistant", "content": "word "}}) + b"\n",
    ),
    "cohere_chat": Language(
        "/v2/chat",
        _SSE,
        _named(
            {"type": "message-start", "id": "m1", "delta": {"message": {"role": "assistant"}}},
            {
                "type": "content-start",
                "index": 0,
                "delta": {"message": {"content": {"type": "text", "text": ""}}},
            },
        ),
        _named(
            {
                "type": "content-delta",
                "index": 0,
                "delta": {"message": {"content": {"text": "word "}}},
            }
        ),
    ),
}


def best(run: Callable[[], object], times: int) -> float:
    """Microseconds of one call: the best of a few rounds of `times`."""
    fastest = float("inf")
    for _ in range(RUNS):
        begun = time.process_time()
        for _ in range(times):
            run()
        fastest = min(fastest, time.process_time() - begun)
    return fastest / times * _MICRO


# --- replies


def untouched(dialect: Dialect, language: Language, events: int) -> float:
    """Microseconds for an event that is decoded for the account, and passes as it is."""
    begun = time.process_time()
    decoder = _begun(dialect, language)
    for _ in range(events):
        decoder.feed(language.again)
        decoder.take()
    return (time.process_time() - begun) / events * _MICRO


def translated(dialect: Dialect, language: Language, client: Dialect, events: int) -> float:
    """Microseconds for an event that is written again, in the client's language."""
    request = Chat(client.name, "m", (), stream=True)
    begun = time.process_time()
    decoder = _begun(dialect, language)
    encoder = client.encoder(request, ReplyContext(_CALL, "m", 1))
    for _ in range(events):
        for event in decoder.feed(language.again):
            encoder.feed(event)
        decoder.take()
    return (time.process_time() - begun) / events * _MICRO


def _begun(dialect: Dialect, language: Language) -> ReplyDecoder:
    head = ReplyHead(200, {"content-type": language.content_type})
    decoder = dialect.decoder(head, Rendered("", b"", stream=True, operation=language.operation))
    decoder.feed(language.first)
    assert any(isinstance(event, TextDelta) for event in decoder.feed(language.again))
    decoder.take()
    return decoder


def per_event(client: str, provider: str) -> tuple[float, float]:
    """Microseconds of an event of `client`'s own language, and of one of `provider`'s for it."""
    mine, other = (registry().dialects[name] for name in (client, provider))
    return (
        min(untouched(mine, LANGUAGES[client], SHORT) for _ in range(RUNS)),
        min(translated(other, LANGUAGES[provider], mine, SHORT) for _ in range(RUNS)),
    )


# --- requests


def conversation(turns: int, size: int) -> bytes:
    """An OpenAI Chat request as its SDK writes it, with tools, calls and their results."""
    each = max(40, size // turns)
    words = (_WORDS * (each // len(_WORDS) + 1))[:each]
    messages: list[object] = [{"role": "system", "content": "You are a helpful assistant."}]
    for at in range(turns):
        match at % 5:
            case 0 | 2:
                messages.append({"role": "user", "content": words})
            case 3:
                call = {"name": "tool_1", "arguments": '{"city":"Bern","unit":"c"}'}
                one = {"id": f"call_{at}", "type": "function", "function": call}
                messages.append({"role": "assistant", "content": None, "tool_calls": [one]})
            case 4:
                result = {"role": "tool", "tool_call_id": f"call_{at - 1}", "content": words}
                messages.append(result)
            case _:
                messages.append({"role": "assistant", "content": words})
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    about = "Looks up what is asked of it."
    tools = [
        {
            "type": "function",
            "function": {"name": f"tool_{i}", "description": about, "parameters": schema},
        }
        for i in range(3)
    ]
    body = {"model": "m", "messages": messages, "tools": tools, "temperature": 0.5}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Translation:
    """From `client`, whose body it is, to a provider of `dialect`."""

    client: Dialect
    head: RequestHead
    body: bytes
    dialect: Dialect

    def __call__(self) -> Rendered:
        request = self.client.parse_request(self.head, self.body)
        return self.dialect.render_request(request, _target(self.dialect))


def _target(dialect: Dialect) -> Target:
    return Target("acme", "m", dialect.name)


def _head(dialect: Dialect, path: str) -> RequestHead:
    def answers(pattern: str) -> bool:
        return path == pattern or (pattern[-1] == "*" and path.startswith(pattern[:-1]))

    operation = next(e.operation for e in dialect.endpoints if answers(e.path))
    return RequestHead("POST", path, "", {}, operation)


def translations(turns: int, size: int) -> Iterator[tuple[str, Translation]]:
    """Each dialect as the client of OpenAI Chat; that one as the client of Anthropic's."""
    dialects = registry().dialects
    chat = dialects["openai_chat"]
    head = _head(chat, LANGUAGES[chat.name].path)
    first = chat.parse_request(head, conversation(turns, size))
    for name, language in LANGUAGES.items():
        client = dialects[name]
        assert isinstance(first, Chat)
        body = client.render_request(first, _target(client)).body
        other = chat if client is not chat else dialects["anthropic_messages"]
        yield name, Translation(client, _head(client, language.path), body, other)


# --- the report


def report() -> str:
    """The two tables; some ten seconds."""
    return f"{_events()}\n\n{_requests()}"


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _events() -> str:
    dialects = registry().dialects
    rows: list[list[str]] = []
    for name, language in LANGUAGES.items():
        dialect = dialects[name]
        other = dialects["openai_chat" if name != "openai_chat" else "anthropic_messages"]
        short = min(untouched(dialect, language, SHORT) for _ in range(RUNS))
        ratio = min(untouched(dialect, language, LONG) for _ in range(2)) / short
        again = min(translated(dialect, language, other, SHORT) for _ in range(RUNS))
        rows.append([name, f"{short:.1f}", f"{again:.1f}", f"{ratio:.2f}"])
    rows.append(["target", "< 5", "< 15", "< 1.2"])
    header = ["streamed event", "untouched us", "translated us"]
    return _table([*header, f"{LONG:,} events : {SHORT:,}, an event"], rows)


def _requests() -> str:
    found: dict[str, list[float]] = {}
    for (turns, size), times in zip(SIZES, (100, 15, 2), strict=True):
        for name, translation in translations(turns, size):
            found.setdefault(name, []).append(best(translation, times))
    rows = [
        [name, f"{ten:.0f}", f"{hundred:.0f}", f"{million / 1000:.2f}", f"{million / hundred:.1f}"]
        for name, (ten, hundred, million) in found.items()
    ]
    rows.append(["target", "< 60", "", "< 6", "linear: < 10"])
    return _table(
        ["request translated from", "10 KB us", "100 KB us", "1 MB ms", "1 MB : 100 KB"], rows
    )


if __name__ == "__main__":
    print(report())
