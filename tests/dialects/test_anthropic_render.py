"""Requests of other languages, written for Claude: what is carried, named, or refused."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.model.call import Capabilities, OnLossy, Target
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
from extproc.model.errors import GatewayError, InvalidRequest, Unsupported
from extproc.model.fields import Field

from . import kit_anthropic as kit

ELSEWHERE = "openai_chat"
HELLO = Message(Role.USER, (Text("Hello"),))
OLD = Capabilities(adaptive_thinking=False, json_schema=False)
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def chat(*messages: Message, **members: Any) -> Chat:
    return Chat(ELSEWHERE, "claude", messages or (HELLO,), **members)


def user(*parts: Part) -> Message:
    return Message(Role.USER, parts)


def assistant(*parts: Part) -> Message:
    return Message(Role.ASSISTANT, parts)


def result(call_id: str, *parts: Part, **members: Any) -> Message:
    return Message(Role.TOOL, (ToolResult(call_id, parts, **members),))


def both(request: Chat, capabilities: Capabilities | None = None) -> tuple[Any, tuple[str, ...]]:
    rendered = kit.rendered(request, kit.target("claude", capabilities=capabilities))
    return json.loads(rendered.body), rendered.dropped


def sent(request: Chat, capabilities: Capabilities | None = None) -> Any:
    return both(request, capabilities)[0]


def refused(request: Chat, to: Target | None = None) -> str:
    with pytest.raises(Unsupported) as caught:
        kit.rendered(request, to)
    assert "acme" in caught.value.message
    return caught.value.param or ""


# --- conversations


def test_a_plain_request() -> None:
    assert both(chat()) == (
        {
            "model": "claude",
            "max_tokens": 4096,
            "messages": [{"role": "user", "content": "Hello"}],
        },
        (),
    )


def test_the_limit_comes_from_the_configuration() -> None:
    assert sent(chat(), Capabilities(max_output=999))["max_tokens"] == 999
    assert sent(chat(sampling=Sampling(max_tokens=5)))["max_tokens"] == 5


def test_system_messages_are_joined() -> None:
    told = chat(
        Message(Role.SYSTEM, (Text("One."),)), Message(Role.DEVELOPER, (Text("Two."),)), HELLO
    )
    assert sent(told)["system"] == "One.\n\nTwo."


def test_cache_marks_survive_the_joining() -> None:
    """trap 44: kept, with their lives, on system blocks, tools and contents."""
    told = chat(
        Message(Role.SYSTEM, (Text("One.", CacheMark(3600)),)),
        Message(Role.SYSTEM, (Text("Two.", CacheMark()),)),
        user(Text("a", CacheMark(300)), Text("b")),
        tools=(Tool("f", cache=CacheMark(43200)),),
    )
    body = sent(told)
    assert body["system"] == [
        {"type": "text", "text": "One.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "text", "text": "Two.", "cache_control": {"type": "ephemeral"}},
    ]
    assert body["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral", "ttl": "5m"}
    assert body["tools"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}


def test_a_system_message_in_the_middle() -> None:
    told = chat(HELLO, assistant(Text("Hi")), Message(Role.SYSTEM, (Text("Now in French."),)))
    body, dropped = both(told)
    assert "Now in French." in json.dumps(body["messages"][2])
    assert body["messages"][2]["role"] == "user"
    assert dropped == (Field.SYSTEM,)
    body, dropped = both(told, Capabilities(system_in_messages=True))
    assert body["messages"][2] == {"role": "system", "content": "Now in French."}
    assert dropped == ()


def test_results_come_next_and_first() -> None:
    """trap 42: text before a result moves behind it, results of one turn are one message."""
    told = chat(
        HELLO,
        assistant(ToolCall("a", "f", '{"x":1}'), ToolCall("b", "g", "")),
        user(Text("By the way")),
        result("a", Text("1")),
        result("b", Text("2"), is_error=True),
    )
    messages = sent(told)["messages"]
    assert messages[1]["content"] == [
        {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "b", "name": "g", "input": {}},
    ]
    assert messages[2] == {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "a", "content": "1"},
            {"type": "tool_result", "tool_use_id": "b", "content": "2", "is_error": True},
            {"type": "text", "text": "By the way"},
        ],
    }


def test_empty_arguments_are_an_empty_object() -> None:
    """trap 30."""
    for arguments in ("", "{}", " "):
        body = sent(chat(HELLO, assistant(ToolCall("a", "f", arguments)), result("a", Text("1"))))
        assert body["messages"][1]["content"][0]["input"] == {}


@pytest.mark.parametrize("arguments", ["[1]", "7", '{"a":', '"x"'])
def test_broken_arguments_are_refused(arguments: str) -> None:
    with pytest.raises(InvalidRequest, match="call_7"):
        sent(chat(HELLO, assistant(ToolCall("call_7", "f", arguments))))


def test_ids_and_names_are_made_legal_and_remembered() -> None:
    tools = (Tool("get weather!"), Tool("fine"))
    told = chat(
        HELLO,
        assistant(ToolCall("call:1", "get weather!", "{}")),
        result("call:1", Text("1")),
        tools=tools,
        tool_choice=ToolChoice(ToolMode.NAMED, ("get weather!",)),
    )
    rendered = kit.rendered(told, kit.target())
    body = json.loads(rendered.body)
    name = body["tools"][0]["name"]
    assert rendered.renamed == {name: "get weather!"}
    assert body["messages"][1]["content"][0]["name"] == name
    assert body["tool_choice"]["name"] == name
    call_id = body["messages"][1]["content"][0]["id"]
    assert call_id.startswith("x") and len(call_id) == 25
    assert body["messages"][2]["content"][0]["tool_use_id"] == call_id
    assert body["tools"][1]["name"] == "fine"


def test_blank_texts_and_empty_results() -> None:
    told = chat(
        user(Text(" "), Text("")),
        HELLO,
        assistant(Text(""), ToolCall("a", "f", "{}")),
        result("a", Text(" ")),
    )
    messages = sent(told)["messages"]
    assert [len(m["content"]) for m in messages] == [5, 1, 1]
    assert messages[2]["content"] == [{"type": "tool_result", "tool_use_id": "a"}]


def test_the_first_turn_is_the_users() -> None:
    body, dropped = both(chat(assistant(Text("Hi")), HELLO))
    assert [m["role"] for m in body["messages"]] == ["user", "assistant", "user"]
    assert dropped == (Field.FIRST,)
    assert sent(chat(Message(Role.SYSTEM, (Text("s"),))))["messages"][0]["role"] == "user"


def test_a_last_word_in_claudes_mouth_has_no_space_behind_it() -> None:
    body = sent(chat(HELLO, assistant(Text("The answer is "))))
    assert body["messages"][1]["content"] == "The answer is"


def test_thinking_of_others_is_dropped_and_named() -> None:
    told = chat(
        HELLO, assistant(Thinking("hm", "sig", origin="gemini_generate"), Text("Hi")), HELLO
    )
    body, dropped = both(told)
    assert body["messages"][1]["content"] == "Hi"
    assert dropped == (Field.THINKING,)
    assert "hm" not in json.dumps(body)


def test_claudes_own_thinking_comes_home_through_another_language() -> None:
    own = Thinking("hm", "sig", origin=kit.NAME)
    hidden = Thinking(redacted="data", origin=kit.NAME)
    body = sent(chat(HELLO, assistant(own, hidden, Text("Hi")), HELLO))
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "data"},
        {"type": "text", "text": "Hi"},
    ]


def test_a_turn_of_which_nothing_is_left_joins_its_neighbours() -> None:
    foreign = Thinking("hm", origin="x")
    body = sent(chat(HELLO, assistant(foreign), user(Text("Again"))))
    assert len(body["messages"]) == 1
    assert body["messages"][0]["content"] == [
        {"type": "text", "text": "Hello"},
        {"type": "text", "text": "Again"},
    ]


def test_opaque_parts_of_others() -> None:
    odd = OpaquePart(Extra("openai_responses", {"type": "web_search_call"}))
    body, dropped = both(chat(HELLO, assistant(odd, Text("Hi")), HELLO))
    assert "web_search_call" not in json.dumps(body)
    assert dropped == (Field.CONTENT,)
    assert refused(chat(user(odd))) == Field.CONTENT


def test_a_refusal_in_history_is_text() -> None:
    body = sent(chat(HELLO, assistant(Refusal("No.")), HELLO))
    assert body["messages"][1]["content"] == "No."


# --- media


def test_pictures() -> None:
    told = chat(
        user(
            Image(Source(url="https://example.com/a.png"), "high"),
            Image(Source(data="AAAA", media_type="image/webp")),
        )
    )
    body, dropped = both(told)
    assert [block["source"] for block in body["messages"][0]["content"]] == [
        {"type": "url", "url": "https://example.com/a.png"},
        {"type": "base64", "media_type": "image/webp", "data": "AAAA"},
    ]
    assert dropped == (Field.DETAIL,)


def test_documents() -> None:
    told = chat(
        user(
            Document(Source(data="AAAA", media_type="application/pdf", name="p.pdf")),
            Document(Source(data="w6k=", media_type="text/markdown")),
        )
    )
    assert sent(told)["messages"][0]["content"] == [
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"},
            "title": "p.pdf",
        },
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "é"}},
    ]


@pytest.mark.parametrize(
    ("part", "param"),
    [
        (Audio(Source(data="AAAA"), "wav"), Field.AUDIO),
        (Image(Source(file_id="file_1")), "file_id"),
        (Image(Source(url="s3://bucket/a.png")), Field.IMAGE),
        (Document(Source(file_id="file_1")), "file_id"),
        (Document(Source(data="AAAA", media_type="application/msword")), "document"),
        (Document(Source(data="!", media_type="text/plain")), "document"),
    ],
)
def test_media_that_cannot_travel(part: Part, param: str) -> None:
    assert refused(chat(user(part))) == param


def test_what_a_variant_or_model_cannot_see() -> None:
    picture = user(Image(Source(url="https://example.com/a.png")))
    assert refused(chat(picture), kit.target("c", "bedrock")) == Field.IMAGE
    blind = kit.target("c", capabilities=Capabilities(vision=False))
    assert refused(chat(picture), blind) == Field.IMAGE


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


# --- any conversation at all

WORDS = st.sampled_from(["", " ", "a", "b\n", "é"])
PARTS = st.one_of(
    WORDS.map(Text),
    st.builds(Thinking, WORDS, st.none() | WORDS, origin=st.sampled_from(["", kit.NAME, "x"])),
    st.builds(ToolCall, st.sampled_from(["a", "b:", ""]), WORDS, st.sampled_from(["", "{}", "[]"])),
    st.builds(
        ToolResult, st.sampled_from(["a", "b:"]), st.lists(WORDS.map(Text), max_size=2).map(tuple)
    ),
    st.builds(Refusal, WORDS),
    st.just(OpaquePart(Extra("x", {"type": "odd"}))),
)
MESSAGES = st.builds(Message, st.sampled_from(Role), st.lists(PARTS, max_size=3).map(tuple))


@given(st.lists(MESSAGES, max_size=6))
@settings(max_examples=300, deadline=None)
def test_turns_keep_claudes_rules(messages: list[Message]) -> None:
    """trap 52: turns alternate, the first is the user's, nothing is blank, results come first."""
    try:
        body = sent(Chat(ELSEWHERE, "claude", tuple(messages)))
    except GatewayError as error:
        assert isinstance(error, InvalidRequest)
        return
    roles = [message["role"] for message in body["messages"]]
    assert roles[0] == "user"
    assert all(a != b for a, b in itertools.pairwise(roles))
    for message in body["messages"]:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        assert blocks
        kinds = [block["type"] for block in blocks]
        assert all(block["text"].strip() for block in blocks if block["type"] == "text")
        results = kinds.count("tool_result")
        if message["role"] == "user":
            assert kinds[:results] == ["tool_result"] * results
            assert "tool_use" not in kinds and "thinking" not in kinds
        else:
            assert results == 0


def test_members_of_others_are_named_wherever_they_stand() -> None:
    def odd(name: str) -> Extra:
        return Extra(ELSEWHERE, {name: 1})

    called = ToolCall("c", "f", "{}", extra=odd("of_call"))
    told = ToolResult("c", (Text("x", extra=odd("of_inner")),), extra=odd("of_result"))
    request = chat(
        Message(Role.USER, (Text("a", extra=odd("of_text")),), "Ann", odd("of_message")),
        assistant(called),
        user(told),
        tools=(Tool("f", extra=odd("of_tool")),),
        tool_choice=ToolChoice(ToolMode.AUTO, extra=odd("of_choice")),
        output=Output(OutputKind.TEXT, extra=odd("of_output")),
        reasoning=Reasoning("low", extra=odd("of_reasoning")),
        extra=odd("of_chat"),
    )
    assert set(both(request)[1]) == {
        "of_text", "of_message", "of_call", "of_inner", "of_result", "of_tool",
        "of_choice", "of_output", "of_reasoning", "of_chat", Field.NAME,
    }  # fmt: skip


def test_who_asks() -> None:
    body, dropped = both(chat(safety_identifier="s"))
    assert (body["metadata"], dropped) == ({"user_id": "s"}, ())
    body, dropped = both(chat(user="u", safety_identifier="s"))
    assert (body["metadata"], dropped) == ({"user_id": "u"}, (Field.SAFETY_IDENTIFIER,))


def test_state_at_the_provider_is_refused() -> None:
    assert refused(chat(store=True)) == Field.STORE


def test_a_wish_not_to_think_is_no_loss_where_nobody_thinks() -> None:
    dull = Capabilities(reasoning=False)
    assert both(chat(reasoning=Reasoning("none")), dull)[1] == ()
    assert both(chat(reasoning=Reasoning("low")), dull)[1] == (Field.EFFORT,)
    assert both(chat(reasoning=Reasoning(budget=9000)), dull)[1] == (Field.BUDGET,)


def test_what_describes_a_schema_is_named() -> None:
    told = chat(output=Output(OutputKind.SCHEMA, SCHEMA, "it", "An answer."))
    assert both(told)[1] == (Field.OUTPUT_DESCRIPTION,)
