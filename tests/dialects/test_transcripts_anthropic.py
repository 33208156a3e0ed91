"""Recorded exchanges with Anthropic, read where they lie: laws hold, and the SDK agrees.

`SLUICE_TRANSCRIPTS` names the folder; without it the tests look beside the checkout.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.lib.bedrock._stream_decoder import AWSEventStreamDecoder
from anthropic.types.beta import BetaMessage

from extproc.model.dialect import Rendered
from extproc.model.reply import (
    Counted,
    Event,
    Finished,
    Note,
    NoteKind,
    PartKind,
    PartStarted,
)

from . import kit_anthropic as kit
from . import reading

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("SLUICE_TRANSCRIPTS", ROOT.parent / "shared" / "transcripts"))
FILE = FOLDER / "anthropic-messages.jsonl"

pytestmark = pytest.mark.skipif(
    not FILE.exists(),
    reason=f"{FILE} is not there; set SLUICE_TRANSCRIPTS to the transcripts' folder",
)


def exchanges(name: str, *apis: str) -> Iterator[dict[str, Any]]:
    path = FOLDER / name
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                exchange = json.loads(line)
                if exchange["api"] in apis:
                    yield exchange


ALL = list(exchanges("anthropic-messages.jsonl", "anthropic-messages"))
ERRORS = list(exchanges("errors.jsonl", "anthropic-messages"))
COUNTS = list(exchanges("other.jsonl", "anthropic-count-tokens"))
INVOKED = [
    exchange
    for exchange in exchanges("other.jsonl", "bedrock-invoke")
    if "anthropic" in exchange["path"]
]


def by_id(exchange: dict[str, Any]) -> str:
    return exchange["id"]


def test_they_are_all_here() -> None:
    assert (len(ALL), len(ERRORS), len(COUNTS), len(INVOKED)) == (187, 2, 4, 2)


def path_and_query(exchange: dict[str, Any]) -> tuple[str, str]:
    path, _, query = exchange["path"].partition("?")
    return path, query


@pytest.mark.parametrize("exchange", ALL + ERRORS, ids=by_id)
def test_the_request_comes_back(exchange: dict[str, Any]) -> None:
    request = exchange["request"]
    raw = json.dumps(request).encode()
    chat = kit.parse(raw, path_and_query(exchange)[1])
    assert kit.rebuilt(chat) == request
    untouched = kit.rendered(chat)
    assert untouched.body is raw
    assert untouched.path == exchange["path"]
    assert untouched.dropped == ()


@pytest.mark.parametrize("exchange", COUNTS, ids=by_id)
def test_counts(exchange: dict[str, Any]) -> None:
    count = kit.parse_count(exchange["request"])
    asked = kit.rendered(count)
    assert asked.path == path_and_query(exchange)[0]
    assert json.loads(asked.body) == exchange["request"]
    events = kit.decode(exchange["response"].encode(), exchange["response_headers"], to=asked)
    said = json.loads(exchange["response"])["input_tokens"]
    assert [event for event in events if isinstance(event, Counted)] == [Counted(said)]


@pytest.mark.parametrize("exchange", ERRORS, ids=by_id)
def test_errors_are_understood(exchange: dict[str, Any]) -> None:
    body = exchange["response"].encode()
    error = reading.failure(kit.decode(body, exchange["response_headers"], exchange["status"]))
    assert error.status == exchange["status"]
    assert error.message == json.loads(body)["error"]["message"]


# --- replies, as the SDK reads them


def sdk_message(exchange: dict[str, Any]) -> Any:
    """The message as the real SDK returns or accumulates it from the very bytes."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        headers = {"content-type": exchange["response_headers"]["content-type"]}
        return httpx2.Response(200, headers=headers, content=exchange["response"].encode())

    client = anthropic.Anthropic(
        api_key="k", http_client=httpx2.Client(transport=httpx2.MockTransport(answer))
    )
    messages: Any = client.beta.messages
    asked = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}
    if not exchange["stream"]:
        return messages.create(**asked)
    with messages.stream(**asked) as stream:
        return stream.get_final_message()


def decoded(exchange: dict[str, Any]) -> list[Event]:
    """The events, the same for several cuts; every byte passes."""
    body = exchange["response"].encode()
    headers = exchange["response_headers"]
    whole, raw = reading.drain(kit.decoder(headers), [body])
    assert raw == body
    reading.assert_well_formed(whole)
    reading.assert_cuts_agree(lambda: kit.decoder(headers), body, (61, 997, 4096))
    return whole


def joined_text(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def said_usage(usage: Any) -> tuple[int, int, int, int, int]:
    details = getattr(usage, "output_tokens_details", None)
    return (
        usage.input_tokens,
        usage.cache_creation_input_tokens or 0,
        usage.cache_read_input_tokens or 0,
        usage.output_tokens,
        (details and details.thinking_tokens) or 0,
    )


def assert_same(events: list[Event], message: Any) -> None:
    assert reading.text(events) == joined_text(message)
    assert reading.thinking(events) == "".join(
        block.thinking for block in message.content if block.type == "thinking"
    )
    calls = [(i, name, json.loads(arguments)) for i, name, arguments in reading.calls(events)]
    assert calls == [(b.id, b.name, b.input) for b in message.content if b.type == "tool_use"]
    ended = reading.endings(events)[0]
    assert (ended.raw, ended.stop) == (message.stop_reason, message.stop_sequence)
    usage = reading.usage(events)
    assert usage is not None
    assert said_usage(message.usage) == (
        usage.fresh,
        usage.cache_write,
        usage.cache_read,
        usage.output,
        usage.reasoning,
    )
    kinds = [event.kind for event in events if isinstance(event, PartStarted)]
    assert len(kinds) == len(message.content)
    notes = [event for event in events if isinstance(event, Note)]
    assert [note.value for note in notes if note.kind is NoteKind.SIGNATURE] == [
        block.signature for block in message.content if block.type == "thinking" and block.signature
    ]
    assert [note.value for note in notes if note.kind is NoteKind.REDACTED] == [
        block.data for block in message.content if block.type == "redacted_thinking"
    ]
    cited = [note for note in notes if note.kind is NoteKind.CITATION]
    assert len(cited) == sum(
        len(block.citations or []) for block in message.content if block.type == "text"
    )
    known = ("text", "thinking", "redacted_thinking", "tool_use")
    assert kinds.count(PartKind.OPAQUE) == sum(b.type not in known for b in message.content)


@pytest.mark.parametrize("exchange", ALL, ids=by_id)
def test_the_reply_reads_as_the_sdk_reads_it(exchange: dict[str, Any]) -> None:
    events = decoded(exchange)
    assert isinstance(events[-1], Finished)
    assert_same(events, sdk_message(exchange))


@pytest.mark.parametrize("exchange", ALL, ids=by_id)
def test_the_reply_comes_back_from_events(exchange: dict[str, Any]) -> None:
    """Written anew, whole and streamed, the SDK reads the same message."""
    events = decoded(exchange)
    before = sdk_message(exchange)
    for stream in (True, False):
        written = {
            "stream": stream,
            "response_headers": kit.SSE if stream else kit.JSON,
            "response": kit.encode(events, stream).decode(),
        }
        again = sdk_message(written)
        assert_same(events, again)
        assert comparable(again) == comparable(before)


def comparable(message: Any) -> list[Any]:
    """The blocks, less what says nothing."""
    return [
        {name: value for name, value in block.to_dict().items() if value not in (None, [])}
        for block in message.content
    ]


# --- the same language on Bedrock (InvokeModel)


@pytest.mark.parametrize("exchange", INVOKED, ids=by_id)
def test_invoked_requests_come_back(exchange: dict[str, Any]) -> None:
    request = exchange["request"]
    stream = exchange["path"].endswith("-stream")
    model = exchange["path"].split("/")[2]
    chat = kit.parse({**request, "model": "claude", "stream": stream})
    to = kit.target(model, "bedrock")
    assert kit.sent(chat, to) == request
    assert kit.rebuilt(chat, to) == request
    assert kit.rendered(chat, to).path == exchange["path"]


@pytest.mark.parametrize("exchange", INVOKED, ids=by_id)
def test_invoked_replies_read_as_the_sdk_reads_them(exchange: dict[str, Any]) -> None:
    body = exchange["response"].encode()
    if exchange.get("response_encoding") == "base64":
        body = base64.b64decode(body)
    headers = exchange["response_headers"]
    to = Rendered(exchange["path"], b"")
    events, passed = reading.drain(kit.decoder(headers, to=to), [body])
    reading.assert_well_formed(events)
    reading.assert_cuts_agree(lambda: kit.decoder(headers, to=to), body, (1, 7, 100))
    if not exchange["stream"]:
        assert_same(events, BetaMessage.construct(**json.loads(body)))
        return
    found = AWSEventStreamDecoder().iter_bytes(iter([body]))
    plain = "".join(f"event: {event.event}\ndata: {event.data}\n\n" for event in found)
    stream = {"stream": True, "response_headers": kit.SSE, "response": plain}
    assert_same(events, sdk_message(stream))
    # What an Anthropic client is given reads the same.
    assert_same(events, sdk_message({**stream, "response": passed.decode()}))
