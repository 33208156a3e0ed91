"""Requests of other dialects, fitted to Converse: what Bedrock is strict about, and what gets lost by name."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.dialects.bedrock_converse.words import LEGAL_ID, LEGAL_NAME, NAME
from extproc.mock.speakers.bedrock_rules import wrong
from extproc.model.call import Capabilities, OnLossy
from extproc.model.chat import (
    Audio,
    CacheMark,
    Chat,
    Document,
    Extra,
    Image,
    Message,
    OpaquePart,
    Output,
    OutputKind,
    Part,
    Reasoning,
    Refusal,
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
from extproc.model.errors import InvalidRequest, Unsupported
from extproc.model.fields import Field
from tests.dialects import kit_bedrock as kit

PNG = Source(data="iVBORw0K", media_type="image/png")
PDF = Source(data="JVBERi0=", media_type="application/pdf", name="../secret plans.pdf")
OLDER = Capabilities(adaptive_thinking=False, json_schema=False, reasoning=True)
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def said(role: Role, *parts: Part | str) -> Message:
    return Message(role, tuple(Text(p) if isinstance(p, str) else p for p in parts))


def user(*parts: Part | str) -> Message:
    return said(Role.USER, *parts)


def assistant(*parts: Part | str) -> Message:
    return said(Role.ASSISTANT, *parts)


def chat(*messages: Message, **about: Any) -> Chat:
    return Chat("openai_chat", "any", messages or (user("Hi"),), **about)


def dropped(asked: Chat, **about: Any) -> tuple[str, ...]:
    return kit.render(asked, **about).dropped


# --- turns


@pytest.mark.parametrize("stream", [True, False])
def test_the_smallest(stream: bool) -> None:
    rendered = kit.render(chat(stream=stream), model="amazon.nova-micro-v1:0")
    operation = "converse-stream" if stream else "converse"
    assert rendered.path == f"/model/amazon.nova-micro-v1%3A0/{operation}"
    assert json.loads(rendered.body) == {
        "messages": [{"role": "user", "content": [{"text": "Hi"}]}]
    }
    assert (rendered.stream, rendered.dropped) == (stream, ())


TEXTS = st.sampled_from(["", " ", "\n", "a", "b c", "é"])
IDS = st.sampled_from(["c1", "call/1", "x" * 80, "ü"])
INNER = st.builds(Text, TEXTS) | st.just(Image(PNG)) | st.just(Document(PDF))
PARTS = (
    st.builds(Text, TEXTS, st.sampled_from([None, CacheMark(), CacheMark(3600)]))
    | st.just(Image(PNG))
    | st.just(Document(PDF))
    | st.builds(Refusal, TEXTS)
    | st.builds(Thinking, TEXTS, st.none() | st.just("c2ln"), origin=st.sampled_from(["", "gem"]))
)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """Any messages, in which every call has its result at once."""
    out: list[Message] = []
    for turn in range(draw(st.integers(0, 6))):
        role = draw(st.sampled_from(list(Role)))
        parts: list[Part] = draw(st.lists(PARTS, max_size=3))
        if role is Role.TOOL:
            ids = [f"{call_id}-{turn}" for call_id in draw(st.sets(IDS, min_size=1, max_size=3))]
            calls = [ToolCall(one, draw(st.sampled_from(["f", "g h"])), "{}") for one in ids]
            out.append(Message(Role.ASSISTANT, (*parts, *calls)))
            results = [
                ToolResult(
                    one, tuple(draw(st.lists(INNER, max_size=2))), is_error=draw(st.booleans())
                )
                for one in ids
            ]
            if draw(st.booleans()):
                out.extend(Message(Role.TOOL, (result,)) for result in results)
            else:
                out.append(Message(Role.USER, (*draw(st.lists(PARTS, max_size=1)), *results)))
        else:
            out.append(Message(role, tuple(parts)))
    return tuple(out)


@given(conversations(), st.sampled_from([kit.CLAUDE, "meta.llama4-v1:0"]))
def test_any_conversation_is_one_that_bedrock_takes(
    messages: tuple[Message, ...], model: str
) -> None:
    """trap 52: alternation, user first, no blank text, results first and answered"""
    body = kit.body(replace(chat(), messages=messages), model=model)
    assert wrong(body) is None
    for message in body["messages"]:
        kinds = [next(iter(block)) for block in message["content"]]
        places = [at for at, kind in enumerate(kinds) if kind == "toolResult"]
        assert places == list(range(len(places))) or "cachePoint" in kinds
    said_texts = {
        part.text.strip()
        for message in messages
        for part in message.parts
        if isinstance(part, Text) and part.text.strip()
    }
    written = json.dumps(body, ensure_ascii=False)
    assert all(text in written for text in said_texts)


def test_system_texts_and_their_marks() -> None:
    """Bedrock has them before the messages; later ones are folded, or kept where the model can."""
    asked = chat(
        said(Role.SYSTEM, Text("one", CacheMark(3600))),
        said(Role.DEVELOPER, "two"),
        user("Hi"),
        said(Role.SYSTEM, "three"),
        user("again"),
    )
    body = kit.body(asked)
    point = {"cachePoint": {"type": "default", "ttl": "1h"}}
    assert body["system"] == [{"text": "one"}, point, {"text": "two"}]
    assert [m["role"] for m in body["messages"]] == ["user"]
    assert "three" in body["messages"][0]["content"][1]["text"]
    assert dropped(asked) == (Field.SYSTEM,)
    kept = kit.body(asked, can=Capabilities(system_in_messages=True))
    assert [m["role"] for m in kept["messages"]] == ["user", "system", "user"]


def test_cache_marks_only_where_the_model_takes_them() -> None:
    asked = chat(user(Text("a", CacheMark())), tools=(Tool("f", cache=CacheMark(60)),))
    body = kit.body(asked, model=kit.NOVA)
    assert body["messages"][0]["content"][1] == {"cachePoint": {"type": "default"}}
    assert body["toolConfig"]["tools"][1] == {"cachePoint": {"type": "default", "ttl": "5m"}}
    assert "cachePoint" not in json.dumps(kit.body(asked, model="meta.llama4-v1:0"))
    assert dropped(asked, model="meta.llama4-v1:0") == (Field.CACHE,)


# --- media


def test_documents_have_neutral_names_and_text_beside_them() -> None:
    content = kit.body(chat(user(Document(PDF), Document(PDF))))["messages"][0]["content"]
    names = [block["document"]["name"] for block in content if "document" in block]
    assert names == ["Document 1", "Document 2"]
    assert content[-1] == {"text": "See the document."}


@pytest.mark.parametrize(
    "part",
    [
        Image(Source(url="https://example.com/a.png")),
        Image(Source(file_id="file-1")),
        Image(Source(data="AA", media_type="image/tiff")),
        Image(Source(data="AA")),
        Document(Source(url="https://example.com/a.pdf", media_type="application/pdf")),
        Audio(Source(data="AA"), "g711"),
        ToolResult("c", (Audio(Source(data="AA"), "wav"),)),
        OpaquePart(Extra("openai_chat", {"type": "odd"})),
        ToolResult("c", (OpaquePart(Extra("gemini_generate", {"odd": 1})),)),
    ],
)
def test_what_cannot_be_shown_is_refused(part: Part) -> None:
    with pytest.raises(Unsupported, match="aws"):
        kit.render(chat(user("a", part)))


def test_media_that_can() -> None:
    place = Source(url="s3://bucket/a.png", media_type="image/png")
    parts = (Image(place), Audio(Source(data="UklGRg=="), "wav"), Image(PNG))
    image, audio, inline = kit.body(chat(user(*parts)))["messages"][0]["content"]
    assert image["image"]["source"] == {"s3Location": {"uri": "s3://bucket/a.png"}}
    assert audio["audio"] == {"format": "wav", "source": {"bytes": "UklGRg=="}}
    assert inline["image"] == {"format": "png", "source": {"bytes": "iVBORw0K"}}


def test_history_loses_what_nobody_else_reads() -> None:
    asked = chat(
        user("a", OpaquePart(Extra("openai_chat", {"type": "odd"}))),
        assistant(Thinking("hm", "sig", origin="gemini_generate"), "b"),
        user("c"),
    )
    assert dropped(asked) == (Field.CONTENT, Field.THINKING)
    assert [len(m["content"]) for m in kit.body(asked)["messages"]] == [1, 1, 1]


def test_reasoning_of_bedrock_comes_home_through_another_client() -> None:
    thought = Thinking("hm", "c2ln", origin=NAME)
    redacted = Thinking(redacted="eA==", origin=NAME)
    asked = chat(user("a"), assistant(thought, redacted, "b"), user("c"))
    first, second, _ = kit.body(asked)["messages"][1]["content"]
    assert first == {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}}
    assert second == {"reasoningContent": {"redactedContent": "eA=="}}


# --- tools


def test_tools_calls_and_results() -> None:
    long = "weather report for " + "x" * 70
    tools = (Tool(long, "", None, strict=True), Tool("f", "does f", {"properties": {}}))
    asked = chat(
        user("a"),
        assistant(ToolCall("call/1", long, '{"b":1,"a":{}}'), ToolCall("c2", "f", "")),
        said(Role.TOOL, ToolResult("call/1", (Text("bad"),), is_error=True)),
        said(Role.TOOL, ToolResult("c2", ())),
        tools=tools,
        tool_choice=ToolChoice(ToolMode.NAMED, (long,)),
        parallel_tools=False,
    )
    rendered = kit.render(asked)
    body = json.loads(rendered.body)
    first, second = body["toolConfig"]["tools"]
    sent = first["toolSpec"]["name"]
    assert LEGAL_NAME.fullmatch(sent) and rendered.renamed == {sent: long}
    assert "description" not in first["toolSpec"] and first["toolSpec"]["strict"] is True
    assert second["toolSpec"] == {
        "name": "f",
        "description": "does f",
        "inputSchema": {"json": {"type": "object", "properties": {}}},
    }
    assert body["toolConfig"]["toolChoice"] == {"tool": {"name": sent}}
    one, two = (block["toolUse"] for block in body["messages"][1]["content"])
    assert LEGAL_ID.fullmatch(one["toolUseId"]) and one["name"] == sent
    assert (one["input"], two["input"]) == ({"b": 1, "a": {}}, {})
    bad, empty = (block["toolResult"] for block in body["messages"][2]["content"])
    assert bad == {
        "toolUseId": one["toolUseId"],
        "content": [{"text": "bad"}],
        "status": "error",
    }
    assert empty == {"toolUseId": "c2", "content": [{"text": "(no output)"}]}
    assert rendered.dropped == (Field.PARALLEL_TOOLS,)


def test_history_with_calls_needs_the_tools() -> None:
    asked = chat(user("a"), assistant(ToolCall("c", "f", "{}")), user(ToolResult("c", ())))
    (tool,) = kit.body(asked)["toolConfig"]["tools"]
    assert tool["toolSpec"]["name"] == "f"
    assert wrong(kit.body(asked)) is None
    never = replace(asked, tools=(Tool("f"),), tool_choice=ToolChoice(ToolMode.NONE))
    assert "toolChoice" not in kit.body(never)["toolConfig"]
    assert dropped(never) == (Field.TOOL_CHOICE,)


@pytest.mark.parametrize(
    ("choice", "written", "names"),
    [
        (ToolChoice(ToolMode.AUTO), {"auto": {}}, ["f", "g"]),
        (ToolChoice(ToolMode.REQUIRED), {"any": {}}, ["f", "g"]),
        (ToolChoice(ToolMode.REQUIRED, ("g",)), {"any": {}}, ["g"]),
        (ToolChoice(ToolMode.NAMED, ("g",)), {"tool": {"name": "g"}}, ["f", "g"]),
        (ToolChoice(ToolMode.NONE), None, []),
        (None, None, ["f", "g"]),
    ],
)
def test_choices(choice: ToolChoice | None, written: Any, names: list[str]) -> None:
    body = kit.body(chat(tools=(Tool("f"), Tool("g")), tool_choice=choice))
    config = body.get("toolConfig", {"tools": []})
    assert config.get("toolChoice") == written
    assert [tool["toolSpec"]["name"] for tool in config["tools"]] == names


@pytest.mark.parametrize("text", ["[1]", "{", "7"])
def test_arguments_that_are_no_object_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="c9"):
        kit.render(chat(user("a"), assistant(ToolCall("c9", "f", text)), user("b")))


def test_tools_of_others_are_refused() -> None:
    with pytest.raises(Unsupported) as refused:
        kit.render(chat(tools=(Tool("", extra=Extra("openai_chat", {"type": "web_search"})),)))
    assert refused.value.param == Field.TOOLS


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
