"""The legacy completions wire, driven by the vendor's own SDK."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from extproc.mock import MockProvider
from tests.mock.raw import request, send

ASK = "What is the capital of France?"
MODEL = "gpt-3.5-turbo-instruct"


@pytest.fixture
def client(mock: MockProvider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=mock.base_url, api_key="k", max_retries=0) as client:
        yield client


def test_whole_and_stream_say_the_same(client: openai.OpenAI) -> None:
    whole = client.completions.create(model=MODEL, prompt=ASK, max_tokens=100)
    assert whole.choices[0].text.startswith(f"You said: {ASK}")
    assert whole.choices[0].finish_reason == "stop"
    chunks = list(
        client.completions.create(
            model=MODEL,
            prompt=ASK,
            max_tokens=100,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    said = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    assert said == whole.choices[0].text
    assert chunks[-1].usage == whole.usage
    assert {chunk.object for chunk in chunks} == {"text_completion"}


def test_sixteen_tokens_are_the_default(client: openai.OpenAI) -> None:
    reply = client.completions.create(model=MODEL, prompt=ASK)
    assert reply.usage is not None
    assert (reply.usage.completion_tokens, reply.choices[0].finish_reason) == (16, "length")


@pytest.mark.parametrize(
    ("prompt", "starts"),
    [
        (["one", "two"], ["You said: one", "You said: two"]),
        ([1, 2], ["You said: #1 #2"]),
        ([[1], [2]], ["You said: #1", "You said: #2"]),
    ],
)
def test_prompts_of_all_forms(client: openai.OpenAI, prompt: Any, starts: list[str]) -> None:
    reply = client.completions.create(model=MODEL, prompt=prompt)
    assert [c.index for c in reply.choices] == list(range(len(starts)))
    for choice, start in zip(reply.choices, starts, strict=True):
        assert choice.text.startswith(start)


def test_choices_echo_stops_and_logprobs(client: openai.OpenAI) -> None:
    reply = client.completions.create(
        model=MODEL, prompt=ASK, n=2, best_of=3, echo=True, stop=" of", logprobs=1
    )
    assert [choice.text for choice in reply.choices] == [f"{ASK}You said: What is the capital"] * 2
    told = reply.choices[0].logprobs
    assert told is not None and told.tokens is not None and told.text_offset is not None
    assert "".join(told.tokens) == reply.choices[0].text
    assert told.text_offset[1] == len(ASK)


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"model": "missing-model"}, 404, "does not exist"),
        ({"model": "gpt-4o"}, 404, "chat model"),
        ({"model": ""}, 400, "model parameter"),
        ({"prompt": None}, 400, "prompt"),
        ({"prompt": [{}]}, 400, "prompt"),
        ({"messages": []}, 400, "Unrecognized"),
        ({"logprobs": 6}, 400, "logprobs"),
        ({"logprobs": True}, 400, "logprobs"),
        ({"n": 2, "best_of": 1}, 400, "best_of"),
        ({"best_of": 2, "stream": True}, 400, "best_of"),
        ({"stop": list("abcde")}, 400, "stop"),
    ],
)
def test_refusals(mock: MockProvider, fields: dict[str, Any], status: int, message: str) -> None:
    body = json.dumps({"model": MODEL, "prompt": ASK, **fields}).encode()
    reply = send(mock, request(body, path="/v1/completions"))
    assert reply.status == status
    assert message in json.loads(reply.body)["error"]["message"]


def test_faults(client: openai.OpenAI, mock: MockProvider) -> None:
    with pytest.raises(openai.RateLimitError):
        client.completions.create(model=f"{MODEL};status=429", prompt=ASK)
    broken = client.completions.create(model=f"{MODEL};error=2", prompt=ASK, stream=True)
    with pytest.raises(openai.APIError, match="had an error"):
        list(broken)
    assert client.completions.create(model=f"{MODEL};no-usage", prompt=ASK).usage is None
    assert send(mock, request(b"", method="GET", path="/v1/completions")).status == 405
