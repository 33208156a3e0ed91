"""The Responses wire of the mock, driven by the vendor's own SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from extproc.mock import MockProvider

ASK = "What is the capital of France?"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


@pytest.fixture
def client(mock: MockProvider) -> Iterator[Any]:
    with openai.OpenAI(base_url=mock.base_url, api_key="k", max_retries=0) as client:
        yield client


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "name": name, "parameters": SCHEMA, "strict": True}


TOOLS = [tool("get_weather"), tool("get_news")]


def streamed(client: Any, **request: Any) -> tuple[list[Any], Any]:
    """All events, and what the SDK's accumulator made of them."""
    with client.responses.stream(**request) as stream:
        events = list(stream)
        return events, stream.get_final_response() if events[-1].type.endswith("ed") else None


def test_whole_and_stream_say_the_same(client: Any) -> None:
    whole = client.responses.create(model="gpt-5", input=ASK)
    assert whole.output_text.startswith(f"You said: {ASK}")
    assert whole.status == "completed"
    events, final = streamed(client, model="gpt-5", input=ASK)
    assert final.output_text == whole.output_text
    assert final.usage == whole.usage
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert final.id != whole.id


def test_parallel_calls_and_their_results(client: Any) -> None:
    ask = {"role": "user", "content": "Use the tools in parallel"}
    _, reply = streamed(client, model="gpt-5", input=[ask], tools=TOOLS)
    calls = [item for item in reply.output if item.type == "function_call"]
    assert [call.name for call in calls] == ["get_weather", "get_news"]
    back = [item.to_dict() for item in reply.output]
    for item in back:
        item.pop("parsed_arguments", None)
    results = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "fine"}
        for call in calls
    ]
    final = client.responses.create(model="gpt-5", input=[ask, *back, *results], tools=TOOLS)
    assert final.output_text


def test_a_forced_tool_and_a_custom_one(client: Any) -> None:
    forced = client.responses.create(
        model="gpt-5",
        input=ASK,
        tools=TOOLS,
        tool_choice={"type": "function", "name": "get_news"},
    )
    assert forced.output[0].name == "get_news"
    custom = client.responses.create(
        model="gpt-5", input=ASK, tools=[{"type": "custom", "name": "sql"}], tool_choice="required"
    )
    assert (custom.output[0].type, custom.output[0].input) == (
        "custom_tool_call",
        "What is the capital",
    )


def test_structured_output(client: Any) -> None:
    class City(BaseModel):
        city: str

    reply = client.responses.parse(model="gpt-5", input=ASK, text_format=City)
    assert isinstance(reply.output_parsed, City)


def test_length_refusal_and_logprobs(client: Any) -> None:
    cut = client.responses.create(model="gpt-5;words=40", input=ASK, max_output_tokens=16)
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    refused = client.responses.create(model="gpt-5", input="please refuse")
    assert refused.output[0].content[0].type == "refusal"
    weighed = client.responses.create(
        model="gpt-5", input=ASK, include=["message.output_text.logprobs"]
    )
    assert weighed.output[0].content[0].logprobs[0].token


def test_thinking_when_asked(client: Any) -> None:
    request = {
        "model": "gpt-5",
        "input": ASK,
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
    }
    whole = client.responses.create(**request)
    assert whole.output[0].summary[0].text.startswith("First")
    assert whole.output[0].encrypted_content.startswith("gAAAA")
    assert whole.usage.output_tokens_details.reasoning_tokens == 7
    events, final = streamed(client, **request)
    assert "response.reasoning_summary_text.delta" in [event.type for event in events]
    assert final.output[0].type == "reasoning"


CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"input": [CALL]}, "No tool output found"),
    ({"input": [{"type": "function_call_output", "call_id": "x", "output": ""}]}, "No tool call"),
    ({"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, "Invalid value"),
    ({"input": [{"role": "tool", "content": "x"}]}, "Invalid value"),
    ({"extra_body": {"stop": "x"}}, "Unknown parameter: 'stop'"),
    ({"max_output_tokens": 3}, "below minimum"),
    ({"temperature": -1}, "below minimum"),
    ({"previous_response_id": "resp_x"}, "not found"),
    ({"tools": [{**TOOLS[0], "name": "a.b"}]}, "does not match pattern"),
    ({"tools": TOOLS, "tool_choice": {"type": "function", "name": "x"}}, "not found"),
    ({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, "required following item"),
    (
        {
            "input": [
                {"type": "reasoning", "summary": [], "encrypted_content": "sluice1.x.y"},
                {"role": "assistant", "content": "x"},
            ]
        },
        "could not be verified",
    ),
    ({"model": "gpt-4.1", "include": ["reasoning.encrypted_content"]}, "not supported"),
    ({"model": "gpt-4.1", "reasoning": {"effort": "low"}}, "not supported"),
    ({"model": "missing-model"}, "does not exist"),
]


@pytest.mark.parametrize(("members", "said"), WRONG, ids=lambda x: x if isinstance(x, str) else "")
def test_it_is_as_strict_as_the_provider(client: Any, members: dict[str, Any], said: str) -> None:
    with pytest.raises(openai.BadRequestError, match=said):
        client.responses.create(**{"model": "gpt-5", "input": ASK, **members})


def test_stored_responses_and_counts(client: Any) -> None:
    assert client.responses.input_tokens.count(model="gpt-5", input="one two").input_tokens == 5
    assert client.responses.retrieve("resp_1").id == "resp_1"
    assert client.responses.cancel("resp_1").status == "cancelled"
    assert client.responses.input_items.list("resp_1").data == []
    client.responses.delete("resp_1")
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_missing")


def test_a_failure_in_the_stream_is_the_flat_event(client: Any) -> None:
    stream = client.responses.create(model="gpt-5;error=3", input=ASK, stream=True)
    last = list(stream)[-1]
    assert (last.type, last.code) == ("error", "server_error")
