"""What a provider cannot carry: told to the client in its own words, and to the log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from extproc import discover
from extproc.app import line
from extproc.config.schema import Settings
from extproc.flow.messages import Continue, Reply
from extproc.model.call import Outcome
from extproc.model.fields import Field
from tests.flow.test_exchange import ANSWER, continued
from tests.kit import Dialogue, provider, settings

HI: list[Any] = [{"role": "user", "content": "hi"}]
ANTHROPIC = {"anthropic-version": "2023-06-01"}


def speaking(dialect: str, **changes: Any) -> Settings:
    """One provider that speaks only `dialect`."""
    return settings(providers={"acme": provider(dialect=dialect, **changes)})


async def asked(
    dialogue: Dialogue, path: str, body: Any, headers: Mapping[str, str] | None = None
) -> Any:
    await dialogue.head(path, headers=headers)
    return await dialogue.body(json.dumps(body).encode())


async def answered(dialogue: Dialogue) -> dict[str, str]:
    """The headers that the client gets with a good answer of OpenAI's language."""
    await dialogue.reply_head(headers={"content-length": str(len(ANSWER))})
    return dict(continued(await dialogue.reply_body(ANSWER)).set)


async def test_what_is_dropped_is_told_in_the_clients_words() -> None:
    """OpenAI has no `top_k`; a client of Cohere calls it `k`, and the log says what the client hears."""
    dialogue = Dialogue()
    body = {"model": "gpt-4o", "messages": HI, "k": 5, "safety_mode": "OFF"}
    assert isinstance(await asked(dialogue, "/v2/chat", body), Continue)
    assert (await answered(dialogue))["x-sluice-dropped"] == "safety_mode,k"
    assert line(await dialogue.exchange.close())["dropped"] == ("safety_mode", "k")


async def test_the_simple_language_has_words_of_its_own() -> None:
    dialogue = Dialogue(speaking("ollama_chat"))
    await asked(dialogue, "/query", {"prompt": "hi", "user_id": "ann"})
    record = await dialogue.exchange.close()
    assert line(record)["dropped"] == ("user_id",)


async def test_a_member_of_the_clients_own_keeps_its_name() -> None:
    """`top_k` is no member that Cohere has: what the client wrote is not called by another name."""
    dialogue = Dialogue()
    await asked(dialogue, "/v2/chat", {"model": "gpt-4o", "messages": HI, "top_k": 5})
    assert (await answered(dialogue))["x-sluice-dropped"] == "top_k"


async def test_nothing_is_said_when_nothing_is_lost() -> None:
    dialogue = Dialogue()
    await asked(dialogue, "/v2/chat", {"model": "gpt-4o", "messages": HI})
    assert "x-sluice-dropped" not in await answered(dialogue)
    assert "dropped" not in line(await dialogue.exchange.close())


async def test_strict_refuses_in_the_clients_words() -> None:
    dialogue = Dialogue()
    body = {"model": "gpt-4o", "messages": HI, "k": 5}
    refused = await asked(dialogue, "/v2/chat", body, {"x-sluice-strict": "1"})
    assert isinstance(refused, Reply) and refused.status == 400
    assert json.loads(refused.body)["message"].startswith("Provider acme cannot carry k, and")
    assert line(await dialogue.exchange.close())["error"] == "unsupported"


async def test_a_refusal_names_the_field_as_the_client_does() -> None:
    """Cohere takes five stop sequences; OpenAI's client has `stop`, Anthropic's `stop_sequences`."""
    body = {"model": "gpt-4o", "messages": HI, "stop": list("abcdef")}
    refused = await asked(Dialogue(speaking("cohere_chat")), "/v1/chat/completions", body)
    assert isinstance(refused, Reply) and refused.status == 400
    error = json.loads(refused.body)["error"]
    assert error["param"] == "stop" and "`stop`" in error["message"]


async def test_a_refusal_in_words_that_differ() -> None:
    """A client of Cohere says `image_url`, where we say image."""
    image = {"type": "image_url", "image_url": {"url": "https://e.com/a.png"}}
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": [image]}]}
    refused = await asked(Dialogue(speaking("ollama_chat")), "/v2/chat", body)
    assert isinstance(refused, Reply) and refused.status == 400
    assert "`image_url`" in json.loads(refused.body)["message"]


async def test_a_client_cannot_write_headers_with_what_it_names() -> None:
    """A member may be called anything, and there may be thousands of them."""
    dialogue = Dialogue()
    odd = {"a\r\nset-cookie: b": 1, "\N{SNOWMAN}": 1, "x" * 5000: 1}
    many = {f"member_{i}": 1 for i in range(5000)}
    await asked(dialogue, "/v2/chat", {"model": "gpt-4o", "messages": HI, **odd, **many})
    told = (await answered(dialogue))["x-sluice-dropped"]
    assert told.isascii() and told.isprintable() and len(told) < 4096
    assert told.startswith("a\\r\\nset-cookie: b,\\u2603,xxx")
    assert told.endswith(",and 4971 more")
    assert len(str(line(await dialogue.exchange.close())["dropped"])) < 4096


@pytest.mark.parametrize("name", sorted(discover.registry().dialects))
def test_a_dialects_names_are_of_fields(name: str) -> None:
    """A word for a field that there is none of would never be said."""
    words = discover.registry().dialects[name].field_names
    assert set(words) <= set(Field)
    assert all(word and word != field for field, word in words.items())


COUNT = {"model": "gpt-4o", "messages": HI}


async def test_a_count_by_the_provider_says_so() -> None:
    dialogue = Dialogue(speaking("anthropic_messages", endpoint="http://127.0.0.1:9001"))
    await asked(dialogue, "/v1/messages/count_tokens", COUNT, ANTHROPIC)
    body = b'{"input_tokens":7}'
    await dialogue.reply_head(headers={"content-length": str(len(body))})
    last = continued(await dialogue.reply_body(body))
    assert dict(last.set)["x-sluice-count"] == "provider"
    assert last.body is None


async def test_a_count_that_failed_is_nobodys() -> None:
    dialogue = Dialogue(speaking("anthropic_messages", endpoint="http://127.0.0.1:9001"))
    await asked(dialogue, "/v1/messages/count_tokens", COUNT, ANTHROPIC)
    body = b'{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}'
    await dialogue.reply_head(429, headers={"content-length": str(len(body))})
    changes = dict(continued(await dialogue.reply_body(body)).set)
    assert "x-sluice-count" not in changes
    assert changes["x-sluice-error-origin"] == "provider"


async def test_a_count_of_ours_says_that_it_is_an_estimate() -> None:
    dialogue = Dialogue()
    reply = await asked(dialogue, "/v1/messages/count_tokens", COUNT, ANTHROPIC)
    assert isinstance(reply, Reply) and reply.status == 200
    assert reply.headers["x-sluice-count"] == "estimate"
    assert json.loads(reply.body)["input_tokens"] > 0


@pytest.mark.parametrize("status", [404, 405, 501])
@pytest.mark.parametrize("end", [True, False])
async def test_a_count_that_a_provider_has_no_path_for_is_an_estimate(
    status: int, end: bool
) -> None:
    dialogue = Dialogue(speaking("anthropic_messages", endpoint="http://127.0.0.1:9001"))
    await asked(dialogue, "/v1/messages/count_tokens", COUNT, ANTHROPIC)
    reply = await dialogue.reply_head(status, "text/html", end=end)
    assert isinstance(reply, Reply) and reply.status == 200
    assert reply.headers["x-sluice-count"] == "estimate"
    assert reply.headers["x-sluice-provider"] == "acme"
    assert json.loads(reply.body)["input_tokens"] > 0
    record = await dialogue.exchange.close()
    assert (record.outcome, record.status, record.error) == (Outcome.OK, 200, None)


async def test_a_chat_where_there_is_no_path_is_no_estimate() -> None:
    dialogue = Dialogue()
    await asked(dialogue, "/v1/chat/completions", {"model": "gpt-4o", "messages": HI})
    reply = await dialogue.reply_head(404, "text/html", end=True)
    assert isinstance(reply, Reply) and reply.status == 502


async def test_an_answer_that_counts_nothing_says_nothing_of_it() -> None:
    dialogue = Dialogue()
    await asked(dialogue, "/v1/chat/completions", {"model": "gpt-4o", "messages": HI})
    assert "x-sluice-count" not in await answered(dialogue)
