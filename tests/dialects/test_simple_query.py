"""The simple query language: exactly its fields, both ways."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from extproc.dialects.openai_chat import DIALECT as OPENAI
from extproc.dialects.simple_query import DIALECT
from extproc.discover import registry
from extproc.model.call import CallId, Price, Target
from extproc.model.chat import Chat
from extproc.model.dialect import Rendered, ReplyContext, ReplyHead, RequestHead
from extproc.model.embed import Embed, Request
from extproc.model.errors import InvalidRequest, Overloaded, RateLimited, Unsupported
from extproc.model.reply import (
    Event,
    Failed,
    Finished,
    PartKind,
    PartStarted,
    Started,
    TextDelta,
    Usage,
    Used,
    Vector,
)

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


def embed(members: Any) -> Embed:
    head = RequestHead("POST", "/embeddings", "", {}, "embeddings")
    request = DIALECT.parse_request(head, json.dumps(members).encode())
    assert isinstance(request, Embed)
    return request


def reply(
    events: list[Event],
    operation: str = "query",
    request: Request | None = None,
    price: Price | None = Price(1000, 1000),
) -> bytes:
    context = ReplyContext(CALL, "m", 0, "acme", started=10.0, price=price, clock=StillClock(12.34))
    encoder = DIALECT.encoder(request or ask({"prompt": "x"}, operation), context)
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


def test_what_nobody_knows_the_price_of_costs_null() -> None:
    events = kit.decode(kit.fixture("text.json"), kit.JSON)
    assert json.loads(reply(events, price=None))["cost"] is None
    assert json.loads(reply(events, price=Price()))["cost"] == 0


def test_a_stream_by_the_letter() -> None:
    texts: list[Event] = [PartStarted(PartKind.TEXT), *map(TextDelta, ("The answer", "", " is 42"))]
    assert reply([*texts, Finished()], "stream") == (
        b'data: {"chunk": "The answer", "finished": false}\n\n'
        b'data: {"chunk": " is 42", "finished": true}\n\n'
        b"data: [DONE]\n\n"
    )
    assert reply(kit.decode(kit.fixture("reasoning_content.sse")), "stream") == (
        b'data: {"chunk": "42", "finished": true}\n\ndata: [DONE]\n\n'
    )
    assert reply([Finished()], "stream") == (
        b'data: {"chunk": "", "finished": true}\n\ndata: [DONE]\n\n'
    )


def test_a_stream_that_breaks_is_never_finished() -> None:
    texts: list[Event] = [TextDelta("a"), TextDelta('"b"\n')]
    assert reply([*texts, Failed(Overloaded("full"))], "stream") == (
        b'data: {"chunk": "a", "finished": false}\n\n'
        b'data: {"chunk": "\\"b\\"\\n", "finished": false}\n\n'
        b'data: {"error":"full","finished":false,"correlation_id":"gw-1234567890"}\n\n'
    )


def test_failures() -> None:
    failed: list[Event] = [Failed(Overloaded("full"))]
    assert reply(failed, "stream") == (
        b'data: {"error":"full","finished":false,"correlation_id":"gw-1234567890"}\n\n'
    )
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


# --- /chat ----------------------------------------------------------------------------------


def test_a_turn_of_a_conversation() -> None:
    members = {
        "prompt": "Tell me more",
        "context": "We spoke of rivers",
        "conversation_id": "conv_123",
        "user_id": "user123",
    }
    chat = ask(members, "chat")
    assert (chat.user, chat.options.user, chat.stream) == ("user123", "user123", False)
    assert [message.role.value for message in chat.messages] == ["system", "user"]
    out = OPENAI.render_request(chat, Target("acme", "gpt-4o", "openai_chat"))
    assert (chat.options.conversation, out.dropped) == ("conv_123", ())
    events = kit.decode(kit.fixture("text.json"), kit.JSON)
    said = json.loads(reply(events, request=chat))
    assert (said["conversation_id"], said["response"]) == ("conv_123", "Rivers run to the sea.")
    assert "conversation_id" not in json.loads(reply(events, request=ask({"prompt": "x"}, "chat")))


@pytest.mark.parametrize("name", ["a b", "x" * 129, "caf\u00e9", "a\n", "../\0"])
def test_a_conversation_s_name_is_short_and_plain(name: str) -> None:
    with pytest.raises(InvalidRequest, match="1 to 128 letters of ASCII") as caught:
        ask({"prompt": "x", "conversation_id": name}, "chat")
    assert caught.value.param == "conversation_id"
    assert name not in caught.value.message
    assert ask({"prompt": "x", "conversation_id": ""}, "chat").options.conversation is None
    longest = ask({"prompt": "x", "conversation_id": "a/b=+~@:._-" * 11 + "0123456"}, "chat")
    assert len(longest.options.conversation or "") == 128


@pytest.mark.parametrize("name", ["model", "provider", "temperature", "max_tokens", "text"])
def test_a_conversation_takes_just_its_four_members(name: str) -> None:
    with pytest.raises(InvalidRequest, match="is not known here") as caught:
        ask({"prompt": "x", name: "y"}, "chat")
    assert caught.value.param == name
    with pytest.raises(InvalidRequest):
        ask({"prompt": "x", "conversation_id": "c"})


# --- /embeddings ----------------------------------------------------------------------------


def test_one_text_becomes_one_flat_vector() -> None:
    request = embed({"text": "a", "model": "e", "provider": "openai", "user_id": "u"})
    assert (request.inputs, request.single, request.model) == (("a",), True, "e")
    assert (request.provider, request.user, request.options.user) == ("openai", "u", "u")
    events: list[Event] = [Started("", "x"), Vector(0, (0.5, -1.0)), Used(Usage(3)), Finished()]
    assert json.loads(reply(events, request=request)) == {
        "embeddings": [0.5, -1.0],
        "model": "m",
        "provider": "acme",
        "dimensions": 2,
    }


def test_packed_vectors_become_numbers_and_failures_are_told() -> None:
    request = embed({"text": "a"})
    assert (request.model, request.provider) == ("", None)
    packed: list[Event] = [Vector(0, packed="AAAAPwAAgL8="), Finished()]
    assert json.loads(reply(packed, request=request))["embeddings"] == [0.5, -1.0]
    failed: list[Event] = [Failed(Overloaded("full"))]
    assert json.loads(reply(failed, request=request)) == {"error": "full", "correlation_id": CALL}


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({}, "text"),
        ({"text": ""}, "text"),
        ({"text": ["a"]}, "text"),
        ({"text": "a", "input": "b"}, "input"),
        ({"text": "a", "dimensions": 3}, "dimensions"),
    ],
)
def test_embeddings_that_are_refused(members: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        embed(members)
    assert caught.value.param == param


def test_an_sdk_without_v1_in_its_base_url_is_answered_in_its_own_form() -> None:
    request = embed({"input": ["a"], "model": "e"})
    assert request.dialect == "openai_chat"
    events: list[Event] = [Started("", "x"), Vector(0, (0.5,)), Finished()]
    said = json.loads(reply(events, request=request))
    assert said["data"] == [{"object": "embedding", "index": 0, "embedding": [0.5]}]


def test_its_four_paths_are_no_other_dialects() -> None:
    mine = {endpoint.path for endpoint in DIALECT.endpoints}
    assert mine == {"/query", "/chat", "/stream", "/embeddings"}
    for dialect in registry().dialects.values():
        if dialect.name != DIALECT.name:
            assert mine.isdisjoint(endpoint.path for endpoint in dialect.endpoints), dialect.name
