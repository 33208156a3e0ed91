"""Long talks: tool loops on a foreign provider, and one conversation that moves at every turn.

Nobody loses a word on the way: what was thought and signed somewhere goes home
when the talk comes home, and is named as dropped elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from extproc.mock.speakers.anthropic_rules import SIGNATURE
from tests.e2e.everyone import THINKERS
from tests.e2e.harness import Gateway

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

TURNS = 20
CLAUDES = ("anthropic", "bedrock")
"""houses of Claude, who speak her language and know her signatures"""
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.fixture(scope="module")
def sdk(shared_everyone: Gateway) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=shared_everyone.url,
        api_key="none",
        max_retries=0,
        timeout=10.0,
        http_client=anthropic.DefaultHttpxClient(trust_env=False),
    ) as client:
        yield client


def body_of(gateway: Gateway) -> Any:
    """What the provider got for the last turn."""
    (request,) = gateway.mock.requests
    return request.json


# --- OpenAI Responses, as coding agents speak it


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["anthropic", "gemini", "ollama"])
def test_a_tool_loop_of_ten_turns_abroad(everyone: Gateway, name: str, stream: bool) -> None:
    """A2, S4-38: parallel calls, thinking that comes back encrypted, results by call id."""
    client, items = everyone.openai(), list[Any]()

    def ask() -> Any:
        everyone.mock.clear()
        options: dict[str, Any] = {
            "model": THINKERS[name],
            "input": items,
            "instructions": "You are an agent.",
            "store": False,
            "reasoning": {"effort": "low"},
            "include": ["reasoning.encrypted_content"],
            "tools": [
                {"type": "function", "name": one, "parameters": SCHEMA, "strict": False}
                for one in ("get_weather", "get_time")
            ],
        }
        if stream:
            events = client.responses.create(**options, stream=True)
            done = [event for event in events if event.type == "response.completed"]
            reply = done[-1].response
        else:
            reply = client.responses.create(**options)
        items.extend(item.to_dict() for item in reply.output)
        return reply

    for turn in range(10):
        items.append(
            {"role": "user", "content": f"Use get_weather and get_time in parallel, turn {turn}"}
        )
        called = [item for item in ask().output if item.type == "function_call"]
        assert [call.name for call in called] == ["get_weather", "get_time"]
        assert all(list(json.loads(call.arguments)) == ["city"] for call in called)
        items.extend(
            {
                "type": "function_call_output",
                "call_id": call.call_id,
                "output": f"result {turn} of {call.name}",
            }
            for call in called
        )
        assert ask().output_text
    sent = json.dumps(body_of(everyone))
    for turn in range(10):
        assert f"turn {turn}" in sent
        assert f"result {turn} of get_weather" in sent
        assert f"result {turn} of get_time" in sent


# --- Anthropic Messages, from house to house


def turn_of(sdk: anthropic.Anthropic, messages: list[Any], model: str, stream: bool) -> Any:
    """One turn; the reply joins the messages. Gives it, and the names of what was dropped."""
    options: dict[str, Any] = {
        "model": model,
        "max_tokens": 4096,
        "messages": messages,
        "tools": [{"name": "get_weather", "input_schema": SCHEMA}],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    if stream:
        with sdk.messages.stream(**options) as events:
            reply = events.get_final_message()
            dropped = events.response.headers.get("x-sluice-dropped", "")
    else:
        got = sdk.messages.with_raw_response.create(**options)
        reply, dropped = got.parse(), got.headers.get("x-sluice-dropped", "")
    messages.append({"role": "assistant", "content": [block.to_dict() for block in reply.content]})
    return reply, dropped.split(",")


def signatures(value: Any) -> int:
    """How many of Anthropic's own signatures stand in it."""
    return json.dumps(value).count(json.dumps(SIGNATURE))


@pytest.mark.parametrize("stream", [False, True])
def test_a_talk_that_moves_at_every_turn(
    everyone: Gateway, sdk: anthropic.Anthropic, stream: bool
) -> None:
    """A12, S0-6: thinking and tools over seven providers, moved within tool loops too."""
    houses = list(THINKERS)
    messages: list[Any] = []
    results: list[Any] = []
    signed = 0
    for turn in range(TURNS):
        house = houses[turn % len(houses)]
        messages.append({"role": "user", "content": results or f"Use get_weather, turn {turn}"})
        everyone.mock.clear()
        reply, dropped = turn_of(sdk, messages, THINKERS[house], stream)
        if house in CLAUDES:
            assert signatures(body_of(everyone)) == signed, "its own did not come back"
            signed += signatures(messages[-1])
        else:
            assert signatures(body_of(everyone)) == 0
            assert "thinking" in dropped
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": f"result {turn}"}
            for block in reply.content
            if block.type == "tool_use"
        ]
    assert signed >= 2
    sent = json.dumps(body_of(everyone))
    assert all(f"turn {turn}" in sent for turn in range(0, TURNS, 2))
    assert all(f"result {turn}" in sent for turn in range(0, TURNS - 1, 2))


@pytest.mark.parametrize("name", ["anthropic", "gemini", "bedrock", "responses"])
def test_how_much_to_think_is_carried_and_counted(everyone: Gateway, name: str) -> None:
    """A9: an effort becomes what the provider understands, and what was thought is told and counted."""
    labels = {"provider": name, "kind": "reasoning"}
    before = everyone.metric("sluice_tokens_total", **labels)
    reply: Any = everyone.openai().chat.completions.create(
        model=THINKERS[name],
        messages=[{"role": "user", "content": "Hello"}],
        reasoning_effort="low",
    )
    sent = json.dumps(body_of(everyone))
    assert "budget" in sent.lower() or '"effort": "low"' in sent
    told = reply.usage.completion_tokens_details.reasoning_tokens
    assert everyone.metric("sluice_tokens_total", **labels) == before + told
    # Converse does not tell how much of the output was thinking.
    assert told > 0 or name == "bedrock"


# --- counting


@pytest.mark.parametrize("name", THINKERS)
def test_tokens_are_counted_for_every_model(
    everyone: Gateway, sdk: anthropic.Anthropic, name: str
) -> None:
    """A19, S4-5: by the provider where it can, else by us, and the head says who."""
    got = sdk.messages.with_raw_response.count_tokens(
        model=THINKERS[name], messages=[{"role": "user", "content": "Hello"}]
    )
    assert got.parse().input_tokens > 0
    assert got.headers["x-sluice-count"] in ("provider", "estimate")
    told = got.headers["x-sluice-count"] == "provider"
    assert told == bool(everyone.mock.requests)
    assert told or name not in ("anthropic", "gemini")
    line = everyone.wait_exchange(got.headers["x-sluice-call-id"])
    assert "output_tokens" not in line, "counting costs nothing"
