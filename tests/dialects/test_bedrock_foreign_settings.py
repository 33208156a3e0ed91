"""Forms, settings and reasoning of other languages, fitted to Converse, and what gets lost by name."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from extproc.dialects.bedrock_converse.words import NAME
from extproc.mock.speakers.bedrock_rules import wrong
from extproc.model.call import OnLossy
from extproc.model.chat import (
    Audio,
    Extra,
    Image,
    Message,
    Output,
    OutputKind,
    Reasoning,
    Role,
    Sampling,
    Source,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from extproc.model.errors import Unsupported
from extproc.model.fields import Field
from tests.dialects import kit_bedrock as kit
from tests.dialects.kit_bedrock_foreign import OLDER, PNG, SCHEMA, assistant, chat, dropped, user

# --- structure


def test_a_schema_where_the_model_has_them() -> None:
    output = Output(OutputKind.SCHEMA, SCHEMA, "shape", "a shape", strict=True)
    form = kit.body(chat(output=output))["outputConfig"]["textFormat"]
    definition = form["structure"]["jsonSchema"]
    assert json.loads(definition.pop("schema")) == SCHEMA
    assert definition == {"name": "shape", "description": "a shape"}
    assert form["type"] == "json_schema"


def test_a_schema_as_one_forced_tool() -> None:
    asked = chat(output=Output(OutputKind.SCHEMA, SCHEMA))
    rendered = kit.render(asked, can=OLDER)
    config = json.loads(rendered.body)["toolConfig"]
    assert rendered.answer_tool == "answer"
    assert config["toolChoice"] == {"tool": {"name": "answer"}}
    assert config["tools"][0]["toolSpec"]["inputSchema"] == {"json": SCHEMA}
    assert rendered.dropped == (Field.OUTPUT,)
    beside = replace(asked, tools=(Tool("answer"),))
    rendered = kit.render(beside, can=OLDER)
    assert rendered.answer_tool == "answer_"
    assert json.loads(rendered.body)["toolConfig"]["toolChoice"] == {"any": {}}
    with pytest.raises(Unsupported):
        kit.render(chat(output=Output(OutputKind.SCHEMA, {"type": "array"})), can=OLDER)


def test_an_object_by_instruction() -> None:
    asked = chat(output=Output(OutputKind.JSON))
    assert "JSON" in kit.body(asked)["system"][0]["text"]
    assert dropped(asked) == (Field.OUTPUT,)
    assert kit.body(chat(output=Output(OutputKind.TEXT))) == kit.body(chat())


# --- settings


def test_sampling() -> None:
    sampling = Sampling(
        temperature=1.5, top_p=0.5, top_k=9, max_tokens=7, stop=("a", "b"), seed=3, n=1,
        frequency_penalty=1, presence_penalty=1,
    )  # fmt: skip
    asked = chat(sampling=sampling, user="u", metadata={"a": "b c"}, service_tier="flex")
    body = kit.body(asked)
    assert body["inferenceConfig"] == {
        "maxTokens": 7, "temperature": 1, "topP": 0.5, "stopSequences": ["a", "b"],
    }  # fmt: skip
    assert body["additionalModelRequestFields"] == {"top_k": 9}
    assert (body["requestMetadata"], body["serviceTier"]) == ({"a": "b c"}, {"type": "flex"})
    assert set(dropped(asked)) == {
        Field.SEED,
        Field.FREQUENCY_PENALTY,
        Field.PRESENCE_PENALTY,
        Field.USER,
        Field.TEMPERATURE,
    }
    nova = kit.body(asked, model=kit.NOVA)
    assert nova["additionalModelRequestFields"] == {"inferenceConfig": {"topK": 9}}
    assert Field.TOP_K in dropped(asked, model="meta.llama4-v1:0")


def test_labels_that_do_not_fit_are_named() -> None:
    asked = chat(metadata={"a": "ü"}, service_tier="scale")
    assert dropped(asked) == (Field.METADATA, Field.SERVICE_TIER)
    assert dropped(chat(service_tier="auto")) == ()


@pytest.mark.parametrize(
    ("sampling", "field"),
    [
        (Sampling(n=2), Field.N),
        (Sampling(logprobs=True), Field.LOGPROBS),
        (Sampling(top_logprobs=3), Field.LOGPROBS),
        (Sampling(logit_bias={"1": 5}), Field.LOGIT_BIAS),
        (Sampling(stop=("x",) * 2501), Field.STOP),
    ],
)
def test_what_would_change_the_answer_is_refused(sampling: Sampling, field: str) -> None:
    with pytest.raises(Unsupported) as refused:
        kit.render(chat(sampling=sampling))
    assert refused.value.param == field


def test_members_of_others_are_named() -> None:
    asked = chat(extra=Extra("openai_chat", {"modalities": ["text"], "audio": None}))
    assert dropped(asked) == ("modalities",)
    with pytest.raises(Unsupported):
        kit.render(replace(asked, extra=Extra("openai_chat", {"previous_response_id": "r"})))


def test_members_of_others_are_named_wherever_they_stand() -> None:
    def odd(name: str) -> Extra:
        return Extra("openai_chat", {name: 1})

    parts = (
        Text("a", extra=odd("of_text")),
        Image(PNG, detail="high", extra=odd("of_image")),
        Audio(Source(data="UklGRg=="), "wav", extra=odd("of_audio")),
    )
    called = ToolCall("c", "f", "{}", extra=odd("of_call"))
    told = ToolResult("c", (Text("x", extra=odd("of_inner")),), extra=odd("of_result"))
    asked = chat(
        Message(Role.USER, parts, name="Ann", extra=odd("of_message")),
        assistant(called),
        user(told),
        tools=(Tool("f", extra=odd("of_tool")),),
        tool_choice=ToolChoice(ToolMode.AUTO, extra=odd("of_choice")),
        output=Output(OutputKind.TEXT, extra=odd("of_output")),
        reasoning=Reasoning("low", extra=odd("of_reasoning")),
    )
    lost = set(dropped(asked))
    assert {name for name in lost if name.startswith("of_")} == {
        "of_text", "of_image", "of_audio", "of_call", "of_inner", "of_result",
        "of_message", "of_tool", "of_choice", "of_output", "of_reasoning",
    }  # fmt: skip
    assert {Field.NAME, Field.DETAIL} <= lost


def test_settings_of_others_are_named() -> None:
    asked = chat(cache_key="k", verbosity="low", safety_identifier="s", store=False)
    names = {Field.CACHE_KEY, Field.VERBOSITY, Field.SAFETY_IDENTIFIER}
    assert set(dropped(asked)) == names
    with pytest.raises(Unsupported):
        kit.render(chat(store=True))


# --- reasoning


@pytest.mark.parametrize(
    ("reasoning", "fields", "config"),
    [
        (Reasoning("low"), {"thinking": {"type": "adaptive"}}, {"effort": "low"}),
        (Reasoning("minimal"), {"thinking": {"type": "adaptive"}}, {"effort": "low"}),
        (Reasoning("xhigh"), {"thinking": {"type": "adaptive"}}, {"effort": "max"}),
        (Reasoning(budget=-1), {"thinking": {"type": "adaptive"}}, None),
        (Reasoning(budget=20_000), {"thinking": {"type": "adaptive"}}, {"effort": "high"}),
        (Reasoning("none"), {"thinking": {"type": "disabled"}}, None),
    ],
)
def test_claude_thinks_as_much_as_it_finds_right(
    reasoning: Reasoning, fields: Any, config: Any
) -> None:
    body = kit.body(chat(reasoning=reasoning))
    assert body["additionalModelRequestFields"] == fields
    assert body.get("outputConfig") == config


@pytest.mark.parametrize(
    ("reasoning", "limit", "budget"),
    [
        (Reasoning("low"), None, 2048),
        (Reasoning("high"), None, 16384),
        (Reasoning("max"), None, 32768),
        (Reasoning(budget=5000), None, 5000),
        (Reasoning("high"), 4000, 3999),
        (Reasoning("high"), 1000, None),
        (Reasoning("none"), None, None),
    ],
)
def test_older_claudes_think_by_budget(
    reasoning: Reasoning, limit: int | None, budget: int | None
) -> None:
    body = kit.body(chat(reasoning=reasoning, sampling=Sampling(max_tokens=limit)), can=OLDER)
    thinking = None if budget is None else {"type": "enabled", "budget_tokens": budget}
    assert body.get("additionalModelRequestFields", {}).get("thinking") == thinking


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("us.amazon.nova-2-lite-v1:0", {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}}),
        ("openai.gpt-oss-120b-1:0", {"reasoning_effort": "high"}),
        ("qwen.qwen3-32b-v1:0", {"reasoning_config": "high"}),
        ("us.amazon.nova-micro-v1:0", None),
    ],
)  # fmt: skip
def test_other_families_have_other_words(model: str, fields: Any) -> None:
    asked = chat(reasoning=Reasoning("xhigh"))
    assert kit.body(asked, model=model).get("additionalModelRequestFields") == fields
    assert dropped(asked, model=model) == (() if fields else (Field.EFFORT,))


def test_a_thinking_claude_takes_no_sampling_and_no_force() -> None:
    sampling = Sampling(temperature=0.2, top_p=0.3, top_k=4, max_tokens=9000)
    asked = chat(reasoning=Reasoning("low"), sampling=sampling, tools=(Tool("f"),))
    rendered = kit.render(asked)
    assert json.loads(rendered.body)["inferenceConfig"] == {"maxTokens": 9000}
    assert rendered.dropped == (Field.TEMPERATURE, Field.TOP_P, Field.TOP_K)
    forced = replace(asked, tool_choice=ToolChoice(ToolMode.REQUIRED))
    assert wrong(kit.body(forced)) is None
    assert dropped(forced) == (Field.EFFORT,)


def test_no_budget_where_the_reasoning_before_a_call_is_not_at_hand() -> None:
    results = (user("a"), assistant(ToolCall("c", "f", "{}")), user(ToolResult("c", ())))
    asked = chat(*results, reasoning=Reasoning("low"))
    assert dropped(asked, can=OLDER) == (Field.EFFORT,)
    signed = assistant(Thinking("hm", "c2ln", origin=NAME), ToolCall("c", "f", "{}"))
    kept = chat(results[0], signed, results[2], reasoning=Reasoning("low"))
    assert dropped(kept, can=OLDER) == ()
    later = chat(*results, assistant("b"), user("c"), reasoning=Reasoning("low"))
    assert dropped(later, can=OLDER) == ()


def test_strictness_rejects_nothing_that_is_only_a_hint() -> None:
    asked = chat(sampling=Sampling(seed=1))
    assert dropped(asked, on_lossy=OnLossy.REJECT) == (Field.SEED,)


def test_a_budget_that_becomes_a_word_is_named() -> None:
    asked = chat(reasoning=Reasoning(budget=20_000))
    assert dropped(asked, model="openai.gpt-oss-120b-1:0") == (Field.BUDGET,)


def test_an_emulated_form_is_the_backends_to_decide() -> None:
    asked = chat(output=Output(OutputKind.JSON))
    assert dropped(asked) == (Field.OUTPUT,)
    with pytest.raises(Unsupported):
        kit.render(asked, on_lossy=OnLossy.REJECT)
