"""Settings and forms of other languages in OpenAI's chat language: carried, or named."""

from __future__ import annotations

import json

import pytest

from extproc.model.call import Capabilities, OnLossy
from extproc.model.chat import (
    Output,
    OutputKind,
    Reasoning,
    Sampling,
    Text,
)
from tests.dialects.kit_chat_foreign import chat, refused, render, sent, user

# --- settings


def test_what_has_the_same_name_here_is_carried() -> None:
    sampling = Sampling(
        temperature=0.5,
        top_p=0.9,
        top_k=5,
        max_tokens=7,
        stop=("a", "b"),
        seed=3,
        frequency_penalty=0.1,
        presence_penalty=0.2,
        n=2,
        top_logprobs=4,
        logit_bias={"1": 2.0},
    )
    request = chat(
        sampling=sampling, user="u", metadata={"a": "b"}, service_tier="STANDARD", stream=True
    )
    out = render(request)
    body = json.loads(out.body)
    del body["messages"]
    assert body == {
        "model": "gpt-4o",
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 7,
        "stop": ["a", "b"],
        "seed": 3,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "n": 2,
        "logprobs": True,
        "top_logprobs": 4,
        "logit_bias": {"1": 2.0},
        "user": "u",
        "metadata": {"a": "b"},
        "service_tier": "default",
    }
    assert out.dropped == ("top_k",)


def test_hints_that_do_not_fit_are_named() -> None:
    out = render(chat(metadata={"k" * 65: "v"}, service_tier="reserved"))
    assert out.dropped == ("metadata", "service_tier")
    assert json.loads(out.body).keys() == {"model", "messages"}


@pytest.mark.parametrize(
    ("model", "stops", "fits"),
    [
        ("gpt-4o", 4, True),
        ("gpt-4o", 5, False),
        ("o3", 1, False),
        ("o3-2025-04-16", 1, False),
        ("o4-mini", 1, False),
        ("o3-mini", 1, True),
        ("openai/o4-mini", 1, False),
        ("grok-4-fast-reasoning", 1, False),
        ("grok-4-fast-non-reasoning", 1, True),
        ("grok-3", 1, True),
    ],
)
def test_stop_sequences(model: str, stops: int, fits: bool) -> None:
    request = chat(sampling=Sampling(stop=("x",) * stops))
    if fits:
        assert len(sent(request, model)["stop"]) == stops
    else:
        assert refused(request, model) == "stop"


def test_xais_reasoning_models_take_no_penalties() -> None:
    request = chat(sampling=Sampling(frequency_penalty=0.5, presence_penalty=0.5))
    out = render(request, "grok-4")
    assert out.dropped == ("frequency_penalty", "presence_penalty")
    assert render(request, "grok-3").dropped == ()


@pytest.mark.parametrize(
    ("model", "asked", "effort", "dropped"),
    [
        ("o3", "medium", "medium", ()),
        ("o3", "minimal", "low", ("reasoning.effort",)),
        ("o3", "max", "high", ("reasoning.effort",)),
        ("o3", "none", None, ("reasoning.effort",)),
        ("gpt-5-mini", "none", "minimal", ("reasoning.effort",)),
        ("gpt-5.1", "none", "none", ()),
        ("gpt-5.2", "max", "xhigh", ("reasoning.effort",)),
        ("gpt-4o", "high", None, ("reasoning.effort",)),
        ("gpt-4o", "none", None, ()),
        ("grok-3-mini", "medium", "high", ("reasoning.effort",)),
        ("grok-4", "high", None, ("reasoning.effort",)),
        ("qwen3", "high", "high", ()),
        ("qwen3", "furious", None, ("reasoning.effort",)),
    ],
)
def test_effort(model: str, asked: str, effort: str | None, dropped: tuple[str, ...]) -> None:
    out = render(chat(reasoning=Reasoning(effort=asked)), model)
    assert json.loads(out.body).get("reasoning_effort") == effort
    assert out.dropped == dropped


@pytest.mark.parametrize(
    ("budget", "effort"),
    [(0, "none"), (1024, "low"), (8192, "medium"), (16384, "high"), (60000, "xhigh")],
)
def test_a_budget_becomes_an_effort(budget: int, effort: str) -> None:
    out = render(chat(reasoning=Reasoning(budget=budget, summary="auto")), "gpt-5.2")
    assert json.loads(out.body).get("reasoning_effort") == effort
    assert out.dropped == ("reasoning.summary", "reasoning.budget")


def test_to_think_as_much_as_the_model_likes_is_the_usual_effort() -> None:
    out = render(chat(reasoning=Reasoning(budget=-1)), "gpt-5.2")
    assert json.loads(out.body)["reasoning_effort"] == "medium"
    assert out.dropped == ()


def test_a_model_that_does_not_reason_is_asked_for_no_effort() -> None:
    off = Capabilities(reasoning=False)
    out = render(chat(reasoning=Reasoning("low")), "qwen3", capabilities=off)
    assert out.dropped == ("reasoning.effort",)


# --- the form of the answer


def test_a_schema_goes_as_one() -> None:
    output = Output(OutputKind.SCHEMA, {"type": "object"}, "my answer!", "d", True)
    assert sent(chat(output=output))["response_format"] == {
        "type": "json_schema",
        "json_schema": {
            "name": "my_answer_",
            "description": "d",
            "schema": {"type": "object"},
            "strict": True,
        },
    }
    unnamed = sent(chat(output=Output(OutputKind.SCHEMA)))["response_format"]
    assert unnamed["json_schema"] == {"name": "answer", "schema": {}}


def test_a_schema_in_words_where_the_model_takes_none() -> None:
    request = chat(output=Output(OutputKind.SCHEMA, {"type": "object"}))
    off = Capabilities(json_schema=False)
    out = render(request, capabilities=off)
    body = json.loads(out.body)
    assert body["response_format"] == {"type": "json_object"}
    assert '{"type":"object"}' in body["messages"][0]["content"]
    assert out.dropped == ("response_format",)
    assert refused(request, capabilities=off, on_lossy=OnLossy.REJECT) == "response_format"


def test_json_mode_speaks_of_json() -> None:
    silent = sent(chat(output=Output(OutputKind.JSON)))
    assert silent["messages"][0] == {"role": "system", "content": "Answer with JSON."}
    spoken = sent(chat(user(Text("some Json, please")), output=Output(OutputKind.JSON)))
    assert len(spoken["messages"]) == 1
    assert "response_format" not in sent(chat(output=Output(OutputKind.TEXT)))
