"""Settings, tools, forms and thinking of other languages as Claude is asked for them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from extproc.model.call import Capabilities, OnLossy
from extproc.model.chat import (
    Extra,
    Message,
    Output,
    OutputKind,
    Reasoning,
    Role,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
)
from extproc.model.errors import Unsupported
from extproc.model.fields import Field
from tests.dialects.kit_anthropic_foreign import (
    ELSEWHERE,
    HELLO,
    OLD,
    SCHEMA,
    assistant,
    both,
    chat,
    refused,
    result,
    sent,
)

from . import kit_anthropic as kit

# --- settings


def test_settings_that_fit() -> None:
    told = chat(
        sampling=Sampling(temperature=0.5, top_k=4, max_tokens=9, stop=("a", "b")),
        user="u-1",
        service_tier="default",
        stream=True,
    )
    body, dropped = both(told)
    del body["messages"], body["model"]
    assert body == {
        "temperature": 0.5,
        "top_k": 4,
        "max_tokens": 9,
        "stop_sequences": ["a", "b"],
        "metadata": {"user_id": "u-1"},
        "service_tier": "standard_only",
        "stream": True,
    }
    assert dropped == ()


def test_settings_that_are_dropped_are_named() -> None:
    told = chat(
        sampling=Sampling(temperature=1.5, seed=3, frequency_penalty=0.5, presence_penalty=0),
        metadata={"a": "b"},
        service_tier="flex",
        cache_key="k",
        verbosity="low",
        store=False,
        extra=Extra(ELSEWHERE, {"modalities": ["text"], "audio": None, "\0limit": "x"}),
    )
    body, dropped = both(told)
    assert body["temperature"] == 1
    assert set(dropped) == {
        Field.TEMPERATURE,
        Field.SEED,
        Field.FREQUENCY_PENALTY,
        Field.METADATA,
        Field.SERVICE_TIER,
        Field.CACHE_KEY,
        Field.VERBOSITY,
        "modalities",
    }


@pytest.mark.parametrize(
    ("sampling", "param"),
    [
        (Sampling(n=2), Field.N),
        (Sampling(logprobs=True), Field.LOGPROBS),
        (Sampling(logit_bias={"1": 2}), Field.LOGIT_BIAS),
        (Sampling(stop=("\n",)), Field.STOP),
    ],
)
def test_settings_that_are_refused(sampling: Sampling, param: str) -> None:
    assert refused(chat(sampling=sampling)) == param


def test_settings_that_say_nothing_are_no_loss() -> None:
    quiet = Sampling(n=1, logprobs=False, logit_bias={}, frequency_penalty=0)
    assert both(chat(sampling=quiet))[1] == ()


def test_the_new_version_has_no_sampling() -> None:
    """trap 43."""
    to = kit.target("claude", api_version="2026-10-21")
    rendered = kit.rendered(chat(sampling=Sampling(temperature=0.5)), to)
    assert "temperature" not in json.loads(rendered.body)
    assert rendered.dropped == ("temperature",)


# --- tools


def test_tools() -> None:
    tools = (Tool("f", "does f", SCHEMA, strict=True), Tool("g", strict=False))
    body = sent(chat(tools=tools))
    assert body["tools"] == [
        {"name": "f", "description": "does f", "input_schema": SCHEMA, "strict": True},
        {"name": "g", "input_schema": {"type": "object", "properties": {}}},
    ]
    assert both(chat(tools=tools), OLD)[1] == (Field.STRICT,)


def test_tools_of_others_are_refused() -> None:
    odd = Tool("", extra=Extra("openai_responses", {"type": "web_search"}))
    assert refused(chat(tools=(odd,))) == Field.TOOLS


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        (None, None, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice(ToolMode.AUTO), True, {"type": "auto"}),
        (ToolChoice(ToolMode.NONE), False, {"type": "none"}),
        (ToolChoice(ToolMode.REQUIRED), False, {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice(ToolMode.NAMED, ("f",)), None, {"type": "tool", "name": "f"}),
    ],
)
def test_tool_choices(choice: ToolChoice | None, parallel: bool | None, expected: Any) -> None:
    body = sent(chat(tools=(Tool("f"),), tool_choice=choice, parallel_tools=parallel))
    assert body.get("tool_choice") == expected


def test_a_choice_of_some_tools_sends_only_those() -> None:
    choice = ToolChoice(ToolMode.REQUIRED, ("f", "h"))
    body = sent(chat(tools=(Tool("f"), Tool("g"), Tool("h")), tool_choice=choice))
    assert [tool["name"] for tool in body["tools"]] == ["f", "h"]
    assert body["tool_choice"] == {"type": "any"}


def test_calls_in_history_need_tools() -> None:
    told = chat(HELLO, assistant(ToolCall("a", "f", "{}")), result("a", Text("1")))
    body = sent(told)
    assert [tool["name"] for tool in body["tools"]] == ["f"]
    assert body["tool_choice"] == {"type": "none"}
    assert "tool_choice" not in sent(chat(tool_choice=ToolChoice(ToolMode.AUTO)))


# --- the form of the answer


def test_a_schema_is_carried() -> None:
    body, dropped = both(chat(output=Output(OutputKind.SCHEMA, SCHEMA, "it", strict=True)))
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}
    assert dropped == ()


def test_a_schema_becomes_a_forced_tool_on_old_models() -> None:
    told = chat(output=Output(OutputKind.SCHEMA, SCHEMA))
    rendered = kit.rendered(told, kit.target("c", capabilities=OLD))
    body = json.loads(rendered.body)
    assert rendered.answer_tool == "answer"
    assert body["tools"][0]["input_schema"] == SCHEMA
    assert body["tool_choice"] == {"type": "tool", "name": "answer"}
    assert rendered.dropped == (Field.OUTPUT,)
    with pytest.raises(Unsupported):
        kit.rendered(told, kit.target("c", on_lossy=OnLossy.REJECT, capabilities=OLD))


def test_the_answer_is_one_of_several_tools() -> None:
    told = chat(tools=(Tool("answer"),), output=Output(OutputKind.SCHEMA, SCHEMA))
    rendered = kit.rendered(told, kit.target("c", capabilities=OLD))
    body = json.loads(rendered.body)
    assert [tool["name"] for tool in body["tools"]] == ["answer", "answer_"]
    assert (rendered.answer_tool, body["tool_choice"]) == ("answer_", {"type": "any"})


def test_a_schema_of_a_list_cannot_be_a_tool() -> None:
    told = chat(output=Output(OutputKind.SCHEMA, {"type": "array"}))
    assert refused(told, kit.target("c", capabilities=OLD)) == Field.OUTPUT


def test_json_mode_is_an_instruction() -> None:
    told = chat(Message(Role.SYSTEM, (Text("s"),)), HELLO, output=Output(OutputKind.JSON))
    body, dropped = both(told)
    assert body["system"].startswith("s\n\n") and "JSON" in body["system"]
    assert dropped == (Field.OUTPUT,)


# --- thinking


@pytest.mark.parametrize(
    ("wanted", "effort", "dropped"),
    [
        (Reasoning("minimal"), "low", ()),
        (Reasoning("high"), "high", ()),
        (Reasoning("xhigh"), "xhigh", ()),
        (Reasoning(budget=-1), None, ()),
        (Reasoning(budget=2000), "low", (Field.BUDGET,)),
        (Reasoning(budget=30000), "high", (Field.BUDGET,)),
    ],
)
def test_adaptive_thinking(wanted: Reasoning, effort: str | None, dropped: Any) -> None:
    body, names = both(chat(reasoning=wanted))
    assert body["thinking"] == {"type": "adaptive"}
    assert body.get("output_config", {}).get("effort") == effort
    assert names == dropped


@pytest.mark.parametrize(
    ("wanted", "limit", "budget"),
    [
        (Reasoning("low"), 10_000, 2048),
        (Reasoning("medium"), 10_000, 8192),
        (Reasoning("max"), 10_000, 9_999),
        (Reasoning(budget=100), 10_000, 1024),
        (Reasoning(budget=-1), 10_000, 8192),
        (Reasoning("high"), None, 16384),
    ],
)
def test_thinking_with_a_budget(wanted: Reasoning, limit: int | None, budget: int) -> None:
    body = sent(chat(reasoning=wanted, sampling=Sampling(max_tokens=limit)), OLD)
    assert body["thinking"] == {"type": "enabled", "budget_tokens": budget}
    assert body["max_tokens"] > budget


@pytest.mark.parametrize("wanted", [Reasoning("none"), Reasoning(budget=0)])
def test_no_thinking(wanted: Reasoning) -> None:
    for capabilities in (OLD, Capabilities()):
        assert sent(chat(reasoning=wanted), capabilities)["thinking"] == {"type": "disabled"}


def test_where_there_is_no_thinking_it_is_named() -> None:
    forced = chat(
        reasoning=Reasoning("high"), tools=(Tool("f"),), tool_choice=ToolChoice(ToolMode.REQUIRED)
    )
    small = chat(reasoning=Reasoning("high"), sampling=Sampling(max_tokens=500))
    called = chat(
        HELLO,
        assistant(ToolCall("a", "f", "{}")),
        result("a", Text("1")),
        reasoning=Reasoning("high"),
        tools=(Tool("f"),),
    )
    for told, capabilities in (
        (forced, Capabilities()),
        (small, OLD),
        (called, OLD),
        (chat(reasoning=Reasoning("high")), Capabilities(reasoning=False)),
    ):
        body, dropped = both(told, capabilities)
        assert "thinking" not in body
        assert dropped == (Field.EFFORT,)
    assert "thinking" in sent(called, Capabilities(adaptive_thinking=True))


def test_thinking_forbids_some_sampling() -> None:
    told = chat(reasoning=Reasoning("high"), sampling=Sampling(temperature=0, top_p=0.97, top_k=3))
    body, dropped = both(told)
    assert ("temperature" in body, body["top_p"], "top_k" in body) == (False, 0.97, False)
    assert set(dropped) == {"temperature", "top_k"}


def test_a_summary_asks_to_see_the_thinking() -> None:
    body = sent(chat(reasoning=Reasoning("low", summary="auto")))
    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}


def test_a_wish_not_to_think_is_no_loss_where_nobody_thinks() -> None:
    dull = Capabilities(reasoning=False)
    assert both(chat(reasoning=Reasoning("none")), dull)[1] == ()
    assert both(chat(reasoning=Reasoning("low")), dull)[1] == (Field.EFFORT,)
    assert both(chat(reasoning=Reasoning(budget=9000)), dull)[1] == (Field.BUDGET,)


def test_what_describes_a_schema_is_named() -> None:
    told = chat(output=Output(OutputKind.SCHEMA, SCHEMA, "it", "An answer."))
    assert both(told)[1] == (Field.OUTPUT_DESCRIPTION,)
