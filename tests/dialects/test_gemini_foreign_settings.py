"""What the settings, the tools and the schemas of other languages become in Gemini requests."""

from __future__ import annotations

import json
from typing import Any

import pytest

from extproc.dialects.gemini_generate import DIALECT
from extproc.dialects.gemini_generate.schema import json_schema
from extproc.mock.speakers.gemini_rules import wrong
from extproc.model.call import Capabilities
from extproc.model.chat import (
    CacheMark,
    Json,
    Output,
    OutputKind,
    Reasoning,
    Sampling,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
)
from extproc.model.errors import Unsupported

from . import kit_gemini as kit
from .kit_gemini import GEN_3, elsewhere, model, result, sent, user


def test_settings() -> None:
    chat = elsewhere(
        user("x"),
        sampling=Sampling(0.5, 0.9, 40, 100, ("END",), 7, 0.1, 0.2, 2, True, 3),
        output=Output(OutputKind.SCHEMA, {"type": "object"}, "answer", strict=True),
        user="u",
        metadata={"Team": "Sea"},
        service_tier="flex",
        parallel_tools=False,
    )
    body, dropped = sent(chat)
    assert body["generationConfig"] == {
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 40,
        "maxOutputTokens": 100,
        "stopSequences": ["END"],
        "seed": 7,
        "frequencyPenalty": 0.1,
        "presencePenalty": 0.2,
        "candidateCount": 2,
        "responseLogprobs": True,
        "logprobs": 3,
        "responseMimeType": "application/json",
        "responseJsonSchema": {"type": "object"},
    }
    assert body["serviceTier"] == "flex"
    assert dropped == ("parallel_tool_calls", "metadata", "user")
    labelled, dropped = sent(elsewhere(user("x"), metadata={"team": "sea"}), kit.vertex())
    assert (labelled["labels"], dropped) == ({"team": "sea"}, ())


def test_what_changes_the_meaning_is_refused() -> None:
    with pytest.raises(Unsupported):
        sent(elsewhere(user("x"), store=True))
    for sampling in (Sampling(logit_bias={"1": 2}), Sampling(stop=tuple("abcdef"))):
        with pytest.raises(Unsupported):
            sent(elsewhere(user("x"), sampling=sampling))


@pytest.mark.parametrize(
    ("name", "reasoning", "config", "lost"),
    [
        (
            "gemini-2.5-flash",
            Reasoning("none"),
            {"thinkingBudget": 0, "includeThoughts": False},
            (),
        ),
        (
            "gemini-2.5-flash",
            Reasoning("low"),
            {"thinkingBudget": 2048, "includeThoughts": True},
            (),
        ),
        (
            "gemini-2.5-flash",
            Reasoning("max"),
            {"thinkingBudget": 24576, "includeThoughts": True},
            (),
        ),
        (
            "gemini-2.5-pro",
            Reasoning("none"),
            {"thinkingBudget": 128, "includeThoughts": False},
            ("reasoning.effort",),
        ),
        (
            "gemini-2.5-pro",
            Reasoning(budget=-1),
            {"thinkingBudget": -1, "includeThoughts": True},
            (),
        ),
        (GEN_3, Reasoning("none"), {"thinkingLevel": "MINIMAL", "includeThoughts": False}, ()),
        (GEN_3, Reasoning("xhigh"), {"thinkingLevel": "HIGH", "includeThoughts": True}, ()),
        (GEN_3, Reasoning(budget=900), {"thinkingBudget": 900, "includeThoughts": True}, ()),
        (
            "gemini-3.1-pro-preview",
            Reasoning("minimal"),
            {"thinkingLevel": "LOW", "includeThoughts": True},
            (),
        ),
        (
            "gemini-2.5-flash",
            Reasoning(budget=99999),
            {"thinkingBudget": 24576, "includeThoughts": True},
            ("reasoning.budget",),
        ),
        (
            GEN_3,
            Reasoning("low", 900),
            {"thinkingLevel": "LOW", "includeThoughts": True},
            ("reasoning.budget",),
        ),
        ("gemini-2.0-flash", Reasoning("low"), None, ("reasoning.effort",)),
        ("gemini-2.0-flash", Reasoning("none"), None, ()),
        ("gemini-2.5-flash", Reasoning(summary="auto"), {"includeThoughts": True}, ()),
    ],
)
def test_reasoning(name: str, reasoning: Reasoning, config: Any, lost: tuple[str, ...]) -> None:
    body, dropped = sent(elsewhere(user("x"), reasoning=reasoning), kit.target(name))
    assert body.get("generationConfig", {}).get("thinkingConfig") == config
    assert dropped == lost


def test_a_model_that_cannot_reason() -> None:
    to = kit.target(capabilities=Capabilities(reasoning=False))
    _, dropped = sent(elsewhere(user("x"), reasoning=Reasoning("low")), to)
    assert dropped == ("reasoning.effort",)


def test_tools_and_choice() -> None:
    schema: Json = {"type": "object", "properties": {"a": {"type": "integer"}}}
    chat = elsewhere(
        user("x"),
        model(ToolCall("1", "1 odd name", "{}")),
        result("1"),
        tools=(
            Tool("1 odd name", "Does.", schema, cache=CacheMark()),
            Tool("plain", parameters={}),
        ),
        tool_choice=ToolChoice(ToolMode.NAMED, ("1 odd name",)),
    )
    rendered = DIALECT.render_request(chat, kit.target())
    body = json.loads(rendered.body)
    assert wrong("gemini-2.5-flash", body) is None
    ((name, original),) = rendered.renamed.items()
    assert original == "1 odd name"
    assert body["tools"] == [
        {
            "functionDeclarations": [
                {"name": name, "description": "Does.", "parametersJsonSchema": schema},
                {"name": "plain"},
            ]
        }
    ]
    assert body["toolConfig"] == {
        "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [name]}
    }
    assert body["contents"][1]["parts"][0]["functionCall"]["name"] == name
    assert body["contents"][2]["parts"][0]["functionResponse"]["name"] == name
    assert rendered.dropped == ("cache",)


@pytest.mark.parametrize(
    ("choice", "strict", "mode"),
    [
        (None, None, None),
        (None, True, "VALIDATED"),
        (ToolMode.AUTO, None, "AUTO"),
        (ToolMode.AUTO, True, "VALIDATED"),
        (ToolMode.NONE, True, "NONE"),
        (ToolMode.REQUIRED, None, "ANY"),
    ],
)
def test_modes(choice: ToolMode | None, strict: bool | None, mode: str | None) -> None:
    chosen = None if choice is None else ToolChoice(choice)
    tools = (Tool("f", strict=strict),)
    body, _ = sent(elsewhere(user("x"), tools=tools, tool_choice=chosen))
    config = body.get("toolConfig", {}).get("functionCallingConfig", {})
    assert config.get("mode") == mode


def test_schemas_in_googles_own_form() -> None:
    schema: Json = {
        "type": "OBJECT",
        "propertyOrdering": ["a"],
        "properties": {
            "a": {"anyOf": [{"type": "STRING"}, {"type": "NUMBER"}], "nullable": True},
            "type": {"type": "ARRAY", "items": {"type": "INTEGER"}, "maxItems": "3"},
        },
    }
    assert json_schema(schema) == {
        "type": "object",
        "properties": {
            "a": {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "null"}]},
            "type": {"type": "array", "items": {"type": "integer"}, "maxItems": 3},
        },
    }
    plain: Json = {"type": "object", "properties": {"nullable": {"type": "boolean"}}}
    assert json_schema(plain) == plain
