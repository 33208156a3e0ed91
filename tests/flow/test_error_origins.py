"""Every class of failure says whose it is, in a header and in the log, in each client's language."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from extproc.app import line
from extproc.config.schema import Limits, Settings
from extproc.flow.messages import Continue, Outgoing, Reply
from extproc.model.call import Attempt, Call
from extproc.model.errors import ContentBlocked, Origin
from extproc.model.stage import Stage
from tests.kit import ALICE, Dialogue, provider, settings

HI: list[Any] = [{"role": "user", "content": "hi"}]
CLIENTS: dict[str, tuple[str, dict[str, str], Any]] = {
    "openai_chat": ("/v1/chat/completions", {}, {"model": "gpt-4o", "messages": HI}),
    "openai_responses": ("/v1/responses", {}, {"model": "gpt-4o", "input": "hi"}),
    "openai_completions": ("/v1/completions", {}, {"model": "gpt-4o", "prompt": "hi"}),
    "anthropic_messages": (
        "/v1/messages",
        {"anthropic-version": "2023-06-01"},
        {"model": "gpt-4o", "max_tokens": 9, "messages": HI},
    ),
    "gemini_generate": (
        "/v1beta/models/gpt-4o:generateContent",
        {},
        {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
    ),
    "bedrock_converse": (
        "/model/gpt-4o/converse",
        {},
        {"messages": [{"role": "user", "content": [{"text": "hi"}]}]},
    ),
    "ollama_chat": ("/api/chat", {}, {"model": "gpt-4o", "messages": HI, "stream": False}),
    "cohere_chat": ("/v2/chat", {}, {"model": "gpt-4o", "messages": HI}),
    "simple_query": ("/query", {}, {"prompt": "hi"}),
}
ERROR = b'{"error":{"message":"Oh.","type":"t","param":null,"code":"c"}}'


class Refuses(Stage):
    async def on_attempt(self, call: Call, attempt: Attempt) -> None:
        raise ContentBlocked("A stage says no.")


class Breaks(Stage):
    async def on_request(self, call: Call) -> Any:
        raise RuntimeError("a defect")


@dataclass
class Talk:
    """A dialogue in one client's language."""

    client: str

    async def head(self, config: Settings | None = None, **more: Any) -> Outgoing:
        self.dialogue = Dialogue(config, stages=more.pop("stages", ()))
        path, headers, _ = CLIENTS[self.client]
        headers = {**headers, **more.pop("headers", {})}
        return await self.dialogue.head(more.pop("path", path), headers=headers, **more)

    async def ask(self, body: bytes | None = None) -> Outgoing:
        default = json.dumps(CLIENTS[self.client][2]).encode()
        return await self.dialogue.body(default if body is None else body)

    async def answered(self, status: int, body: bytes, **head: Any) -> Outgoing:
        await self.head()
        assert isinstance(await self.ask(), Continue)
        head.setdefault("headers", {"content-length": str(len(body))})
        first = await self.dialogue.reply_head(status, **head)
        return first if isinstance(first, Reply) else await self.dialogue.reply_body(body)


# --- how an exchange can fail ---


async def no_key(talk: Talk) -> Outgoing:
    return await talk.head(settings(keys=(ALICE,)), peer="192.0.2.1")


async def wrong_method(talk: Talk) -> Outgoing:
    return await talk.head(method="DELETE", end=True)


async def too_large(talk: Talk) -> Outgoing:
    return await talk.head(settings(limits=Limits(body=10)), headers={"content-length": "11"})


async def compressed(talk: Talk) -> Outgoing:
    return await talk.head(headers={"content-encoding": "gzip"})


async def no_json(talk: Talk) -> Outgoing:
    await talk.head()
    return await talk.ask(b"{")


async def no_provider(talk: Talk) -> Outgoing:
    lost = provider(unavailable="api_key: LOST is not set", models=("other",))
    await talk.head(settings(providers={"acme": lost}, models={}))
    return await talk.ask()


async def busy(talk: Talk) -> Outgoing:
    await talk.head()
    talk.dialogue.live.hold(1 << 30)
    return await talk.ask()


async def a_stages_no(talk: Talk) -> Outgoing:
    await talk.head(stages=(Refuses,))
    return await talk.ask()


async def a_defect(talk: Talk) -> Outgoing:
    await talk.head(stages=(Breaks,))
    return await talk.ask()


async def their_refusal(talk: Talk) -> Outgoing:
    return await talk.answered(400, ERROR)


async def their_rate_limit(talk: Talk) -> Outgoing:
    return await talk.answered(429, ERROR)


async def our_key_refused(talk: Talk) -> Outgoing:
    return await talk.answered(401, ERROR)


async def their_defect(talk: Talk) -> Outgoing:
    return await talk.answered(500, ERROR)


async def a_page(talk: Talk) -> Outgoing:
    return await talk.answered(502, b"<html></html>", content_type="text/html")


async def nonsense(talk: Talk) -> Outgoing:
    return await talk.answered(200, b"{}")


async def nothing(talk: Talk) -> Outgoing:
    return await talk.answered(200, b"", end=True)


async def a_compressed_reply(talk: Talk) -> Outgoing:
    return await talk.answered(200, b"x", headers={"content-encoding": "br"})


async def unreachable(talk: Talk) -> Outgoing:
    return await talk.answered(503, b"x", details="upstream_reset{connection_failure}")


async def broken_off(talk: Talk) -> Outgoing:
    return await talk.answered(503, b"x", details="upstream_reset{connection_termination}")


async def too_late(talk: Talk) -> Outgoing:
    return await talk.answered(504, b"x", details="upstream_response_timeout")


async def too_many(talk: Talk) -> Outgoing:
    return await talk.answered(503, b"x", details="upstream_reset{overflow}")


FAILURES: dict[Callable[[Talk], Awaitable[Outgoing]], Origin] = {
    no_key: Origin.GATEWAY,
    wrong_method: Origin.GATEWAY,
    too_large: Origin.GATEWAY,
    compressed: Origin.GATEWAY,
    no_json: Origin.GATEWAY,
    no_provider: Origin.GATEWAY,
    busy: Origin.GATEWAY,
    a_stages_no: Origin.GATEWAY,
    a_defect: Origin.GATEWAY,
    too_many: Origin.GATEWAY,
    their_refusal: Origin.PROVIDER,
    their_rate_limit: Origin.PROVIDER,
    our_key_refused: Origin.PROVIDER,
    their_defect: Origin.PROVIDER,
    a_page: Origin.PROVIDER,
    nonsense: Origin.PROVIDER,
    nothing: Origin.PROVIDER,
    a_compressed_reply: Origin.PROVIDER,
    unreachable: Origin.NETWORK,
    broken_off: Origin.NETWORK,
    too_late: Origin.NETWORK,
}


@pytest.mark.parametrize("client", sorted(CLIENTS))
@pytest.mark.parametrize("fail", FAILURES, ids=lambda fail: fail.__name__)
async def test_a_failure_says_whose_it_is(
    fail: Callable[[Talk], Awaitable[Outgoing]], client: str
) -> None:
    talk = Talk(client)
    answer = await fail(talk)
    assert isinstance(answer, Reply | Continue)
    said = dict(answer.headers) if isinstance(answer, Reply) else dict(answer.set)
    assert said["x-sluice-error-origin"] == FAILURES[fail].value
    record = await talk.dialogue.exchange.close()
    assert record.status >= 400
    assert record.dialect == client
    logged = line(record)
    assert (logged["error_origin"], bool(logged["message"])) == (FAILURES[fail].value, True)


async def test_what_nobody_answers_is_the_gateways() -> None:
    answer = await Dialogue().head("/nope", end=True)
    assert isinstance(answer, Reply)
    assert (answer.status, answer.headers["x-sluice-error-origin"]) == (404, "gateway")


BUSY: dict[str, Any] = {"message": "Busy.", "type": "overloaded_error"}


@pytest.mark.parametrize(
    ("client", "status", "seen", "wait"),
    [
        ("openai_chat", 529, 503, "2"),
        ("openai_chat", 503, 503, None),
        ("anthropic_messages", 529, 529, None),
        ("anthropic_messages", 503, 503, None),
    ],
)
async def test_a_status_that_only_one_language_has_reaches_no_other(
    client: str, status: int, seen: int, wait: str | None
) -> None:
    """The bytes pass where the status does; 529 is Anthropic's, whoever else says it."""
    path, headers, body = CLIENTS[client]
    endpoint = "http://127.0.0.1:9001"
    dialogue = Dialogue(settings(providers={"acme": provider(dialect=client, endpoint=endpoint)}))
    await dialogue.head(path, headers=headers)
    await dialogue.body(json.dumps(body).encode())
    said = json.dumps({"type": "error", "error": BUSY}).encode()
    await dialogue.reply_head(status, headers={"content-length": str(len(said))})
    answer = await dialogue.reply_body(said)
    assert isinstance(answer, Continue)
    told = dict(answer.set)
    assert (told.get(":status", str(status)), told.get("retry-after")) == (str(seen), wait)
    assert (answer.body is None) is (seen == status)
    assert b"Busy." in (answer.body or said)
