"""What an exchange costs: by the tokens that the provider counted, at the price of who answered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from extproc.app import line, measured
from extproc.flow.record import Record
from extproc.model.call import Price
from tests.kit import Dialogue, provider, settings

USED = {
    "prompt_tokens": 1000,
    "completion_tokens": 100,
    "total_tokens": 1100,
    "prompt_tokens_details": {"cached_tokens": 800},
}
BY_PRICE: dict[str, Any] = {"prices": {"gpt-4o*": Price(2.5, 10, 1.25)}}


def answer() -> bytes:
    message = {"role": "assistant", "content": "hi"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    said = {"id": "c", "object": "chat.completion", "model": "gpt-4o", "choices": [choice]}
    return json.dumps({**said, "usage": USED}).encode()


async def played(
    path: str = "/v1/chat/completions", name: str = "acme", **said: Any
) -> tuple[Record, bytes]:
    """An exchange with one provider of which the configuration says this, and what the client got."""
    dialogue = Dialogue(settings(providers={name: provider(name, **said)}, models={}))
    asked: dict[str, Any] = {"model": "gpt-4o"}
    asked |= (
        {"prompt": "hi"} if path == "/query" else {"messages": [{"role": "user", "content": "x"}]}
    )
    await dialogue.head(path)
    await dialogue.body(json.dumps(asked).encode())
    await dialogue.reply_head()
    out = await dialogue.reply_body(answer())
    return await dialogue.exchange.close(), getattr(out, "body", None) or b""


async def test_each_kind_of_token_has_its_price() -> None:
    """S1-20, S1-83: 200 fresh ones, 800 of a cache, 100 written."""
    record, _ = await played(**BY_PRICE)
    assert record.cost == pytest.approx(0.0005 + 0.001 + 0.001)
    assert line(record)["cost"] == 0.0025
    assert measured(record).cost == record.cost


async def test_one_price_for_all() -> None:
    record, _ = await played(cost_per_token=0.00003)
    assert line(record)["cost"] == 0.033


async def test_the_catalogue_knows_who_sells() -> None:
    record, _ = await played(name="openai")
    assert line(record)["cost"] == 0.0025


async def test_what_nobody_knows_the_price_of_is_not_free() -> None:
    record, _ = await played()
    assert record.usage is not None
    assert record.cost is None
    assert "cost" not in line(record)
    assert measured(record).cost is None


async def test_what_is_free_costs_nothing() -> None:
    record, _ = await played(name="vllm")
    assert line(record)["cost"] == 0


@pytest.mark.parametrize(("said", "cost"), [(BY_PRICE, 0.0025), ({}, None)])
async def test_the_answer_to_a_plain_query_says_it(
    said: dict[str, Any], cost: float | None
) -> None:
    """S1-40"""
    _, body = await played("/query", **said)
    assert json.loads(body)["cost"] == cost
