"""Conversations of other languages, written for Claude: what is carried, named, or refused."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.model.call import Capabilities
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
from extproc.model.errors import GatewayError, InvalidRequest
from extproc.model.fields import Field
from tests.dialects.kit_anthropic_foreign import (
    ELSEWHERE,
    HELLO,
    assistant,
    both,
    chat,
    refused,
    result,
    sent,
    user,
)

from . import kit_anthropic as kit

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
