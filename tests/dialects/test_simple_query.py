"""The simple query language: exactly its fields, both ways."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from extproc.dialects.openai_chat import DIALECT as OPENAI
from extproc.dialects.simple_query import DIALECT
from extproc.model.call import CallId, Target
from extproc.model.chat import Chat
from extproc.model.dialect import Rendered, ReplyContext, ReplyHead, RequestHead
from extproc.model.errors import InvalidRequest, Overloaded, RateLimited, Unsupported
from extproc.model.reply import Event, Failed

from . import kit_chat as kit

CALL = CallId("gw-1234567890")


@dataclass
class StillClock:
    now: float

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 0.0


def ask(members: Any, operation: str = "query", **headers: str) -> Chat:
    head = RequestHead("POST", "/" + operation, "", headers, operation)
    chat = DIALECT.parse_request(head, json.dumps(members).encode())
    assert isinstance(chat, Chat)
    return chat


def reply(events: list[Event], operation: str = "query") -> bytes:
    context = ReplyContext(
        CALL, "m", 0, "acme", started=10.0, price_per_token=0.001, clock=StillClock(12.34)
    )
    encoder = DIALECT.encoder(ask({"prompt": "x"}, operation), context)
    return b"".join(encoder.feed(event) for event in events)


def test_every_field() -> None:
    chat = ask(
        {
            "prompt": "Summarize:",
            "context": "Text",
            "provider": "acme",
            "model": "gpt-4o",
            "temperature": 0.7,
            "max_tokens": 1024,
            "user_id": "user123",
            "force_refresh": True,
        }
    )
    out = OPENAI.render_request(chat, Target("acme", "gpt-4o", "openai_chat"))
    assert json.loads(out.body) == {
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": "Text"},
            {"role": "user", "content": "Summarize:"},
        ],
        "temperature": 0.7,
        "max_tokens": 1024,
        "user": "user123",
    }
    assert (chat.provider, chat.options.cache, chat.options.user) == ("acme", "refresh", "user123")


def test_a_prompt_alone_is_enough() -> None:
    chat = ask({"prompt": "Hello, world!", "provider": "auto", "context": None})
    assert (chat.provider, chat.model, chat.stream, len(chat.messages)) == (None, "", False, 1)
    assert ask({"prompt": "x"}, "stream").stream


@pytest.mark.parametrize(
    ("members", "param", "message"),
    [
        ({}, "prompt", "Missing required parameter: 'prompt'."),
        ({"prompt": " "}, "prompt", "prompt must not be empty"),
        ({"prompt": 1}, "prompt", "prompt must be a string, got a number"),
        ({"prompt": "x", "temperature": 1.1}, "temperature", "from 0.0 to 1.0"),
        ({"prompt": "x", "temperature": "0"}, "temperature", "must be a number"),
        ({"prompt": "x", "max_tokens": 0}, "max_tokens", "1 or more"),
        ({"prompt": "x", "force_refresh": 1}, "force_refresh", "must be a boolean"),
        ({"prompt": "x", "stream": True}, "stream", "'stream' is not known here"),
        ([], None, "must be a JSON object"),
    ],
)
def test_what_is_refused_names_the_member(members: Any, param: str | None, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ask(members)
    assert caught.value.param == param
    assert message in caught.value.message


def test_a_whole_reply_has_exactly_its_fields() -> None:
    events = kit.decode(kit.fixture("text.json"), kit.JSON)
    assert json.loads(reply(events)) == {
        "response": "Rivers run to the sea.",
        "provider": "acme",
        "tokens_used": 30,
        "processing_time": 2.34,
        "cost": 0.03,
        "cached": False,
        "correlation_id": "gw-1234567890",
    }


def test_a_stream_by_the_letter() -> None:
    events = kit.decode(kit.fixture("reasoning_content.sse"))
    assert reply(events, "stream") == (
        b'data: {"chunk":"42","finished":false}\n\n'
        b'data: {"chunk":"","finished":true}\n\n'
        b"data: [DONE]\n\n"
    )


def test_failures() -> None:
    failed: list[Event] = [Failed(Overloaded("full"))]
    assert reply(failed, "stream") == b'data: {"error":"full","finished":true}\n\n'
    assert json.loads(reply(failed)) == {"error": "full", "correlation_id": CALL}
    wire = DIALECT.render_error(RateLimited("slow", retry_after=0.5), CALL)
    assert (wire.status, wire.headers["retry-after"]) == (429, "1")
    assert json.loads(wire.body) == {"error": "slow", "correlation_id": CALL}


def test_it_does_not_speak_to_providers() -> None:
    assert not DIALECT.speaks_to_providers
    with pytest.raises(Unsupported):
        DIALECT.render_request(ask({"prompt": "x"}), Target("acme", "m", "simple_query"))
    with pytest.raises(Unsupported):
        DIALECT.decoder(ReplyHead(200, {}), Rendered("", b""))
    with pytest.raises(Unsupported):
        DIALECT.render_models([], ask({"prompt": "x"}), CALL)
