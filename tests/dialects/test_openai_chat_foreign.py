"""Requests of other dialects in OpenAI's chat language: nothing gets lost unsaid."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.dialects.openai_chat import DIALECT
from extproc.mock.speakers.openai_rules import wrong
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
from extproc.model.dialect import ReplyHead
from extproc.model.embed import Count
from extproc.model.errors import GatewayError, Unsupported
from extproc.model.reply import ToolDelta
from tests.dialects.kit_chat_foreign import (
    ASK,
    FOREIGN,
    PNG,
    assistant,
    chat,
    refused,
    render,
    sent,
    user,
)

from . import kit_chat as kit

# --- the conversation


def test_system_texts_are_joined_and_stay_where_they_are() -> None:
    request = chat(
        Message(Role.SYSTEM, (Text("a"), Text("b", CacheMark()))),
        Message(Role.DEVELOPER, (Text("c"),)),
        ASK,
        Message(Role.SYSTEM, (Text("d"),)),
        assistant(Text("e"), Text("f")),
    )
    out = render(request)
    assert json.loads(out.body)["messages"] == [
        {"role": "system", "content": "a\n\nb\n\nc"},
        {"role": "user", "content": "hi"},
        {"role": "system", "content": "d"},
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "e"}, {"type": "text", "text": "f"}],
        },
    ]
    assert out.dropped == ("cache",)


def test_results_follow_their_calls_and_pictures_move_behind_them() -> None:
    request = chat(
        ASK,
        assistant(ToolCall("1", "f", ""), ToolCall("2", "f", "{}")),
        Message(Role.TOOL, (ToolResult("1", (Text("a"), PNG, Text("b"))),)),
        Message(Role.TOOL, (ToolResult("2", (Text("bad"),), is_error=True), Text("so?"))),
    )
    out = render(request)
    messages = json.loads(out.body)["messages"]
    assert [call["function"]["arguments"] for call in messages[1]["tool_calls"]] == ["{}", "{}"]
    assert messages[2:4] == [
        {"role": "tool", "tool_call_id": "1", "content": "a\nb"},
        {"role": "tool", "tool_call_id": "2", "content": "ERROR: bad"},
    ]
    assert messages[4]["role"] == "user"
    assert [part["type"] for part in messages[4]["content"]] == ["text", "image_url", "text"]
    assert messages[4]["content"][0]["text"] == "From the result of tool call 1:"
    assert set(out.dropped) == {"tool_result.media", "tool_result.is_error"}


def test_calls_in_messages_of_their_own_become_one_turn() -> None:
    request = chat(
        ASK,
        assistant(Thinking("hm", "sig")),
        assistant(ToolCall("1", "f", "{}")),
        assistant(ToolCall("2", "f", "{}")),
        Message(Role.TOOL, (ToolResult("1", (Text("a"),)),)),
        Message(Role.TOOL, (ToolResult("2", (Text("b"),)),)),
    )
    out = render(request)
    messages = json.loads(out.body)["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool"]
    assert len(messages[1]["tool_calls"]) == 2
    assert out.dropped == ("thinking",)


def test_a_turn_of_nothing_but_thoughts_disappears() -> None:
    out = sent(chat(ASK, assistant(Thinking("hm"), Text("  ")), user(Text("go on"))))
    assert [message["role"] for message in out["messages"]] == ["user", "user"]


def test_ids_are_mapped_the_same_for_call_and_result() -> None:
    odd = "functions.get_weather:0" * 4
    request = chat(assistant(ToolCall(odd, "f", "{}")), user(ToolResult(odd, (Text("x"),))))
    messages = sent(request)["messages"]
    new = messages[0]["tool_calls"][0]["id"]
    assert new == messages[1]["tool_call_id"] != odd
    assert len(new) == 25
    short = sent(request, "mistral-large")["messages"][1]["tool_call_id"]
    assert len(short) == 9
    assert short.isalnum()


def test_names_of_tools_are_mapped_there_and_back() -> None:
    name = "wetter.ägypten" * 10
    request = chat(
        assistant(ToolCall("1", name, "{}")),
        user(ToolResult("1", (Text("x"),))),
        tools=(Tool(name, parameters={"type": "object"}), Tool("plain")),
        tool_choice=ToolChoice(ToolMode.NAMED, (name,)),
        stream=True,
    )
    out = render(request)
    body = json.loads(out.body)
    new = body["tools"][0]["function"]["name"]
    assert len(new) <= 64
    assert body["messages"][0]["tool_calls"][0]["function"]["name"] == new
    assert body["tool_choice"]["function"]["name"] == new
    assert body["tools"][1]["function"] == {
        "name": "plain",
        "parameters": {"type": "object", "properties": {}},
    }
    assert out.renamed == {new: name}
    call = {"index": 0, "id": "c", "function": {"name": new, "arguments": "{}"}}
    delta = {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}], "id": "i"}
    decoder = DIALECT.decoder(ReplyHead(200, kit.SSE), out)
    events = [*decoder.feed(b"data: " + json.dumps(delta).encode() + b"\n\n"), *decoder.close()]
    assert kit.calls(events) == [("c", name, "{}")]
    whole = {"id": "i", "choices": [{"message": {"tool_calls": [call]}, "finish_reason": "stop"}]}
    decoder = DIALECT.decoder(ReplyHead(200, kit.JSON), out)
    events = [*decoder.feed(json.dumps(whole).encode()), *decoder.close()]
    assert kit.calls(events) == [("c", name, "{}")]
    assert any(isinstance(event, ToolDelta) for event in events)


def test_a_choice_of_some_tools_sends_only_these() -> None:
    tools = (Tool("a"), Tool("b"), Tool("c"))
    choice = ToolChoice(ToolMode.REQUIRED, ("a", "c"))
    out = sent(chat(tools=tools, tool_choice=choice, parallel_tools=False))
    assert [tool["function"]["name"] for tool in out["tools"]] == ["a", "c"]
    assert (out["tool_choice"], out["parallel_tool_calls"]) == ("required", False)
    assert (
        refused(chat(tools=tools, tool_choice=ToolChoice(ToolMode.AUTO, ("z",)))) == "tool_choice"
    )


def test_a_choice_without_tools_is_no_choice() -> None:
    out = sent(chat(tool_choice=ToolChoice(ToolMode.NONE), parallel_tools=True))
    assert out.keys() == {"model", "messages"}


# --- media


def test_media_that_can_go() -> None:
    text = base64.b64encode("Grüße".encode()).decode()
    request = chat(
        user(
            Image(Source(url="https://example.test/a.png"), "low", CacheMark()),
            Audio(Source(data="AAAA", media_type="audio/mpeg")),
            Document(Source(data="AAAA", media_type="application/pdf")),
            Document(Source(data=text, media_type="text/plain", name="a.txt")),
        )
    )
    out = render(request)
    assert json.loads(out.body)["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": "https://example.test/a.png", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
        {
            "type": "file",
            "file": {
                "filename": "document.pdf",
                "file_data": "data:application/pdf;base64,AAAA",
            },
        },
        {"type": "text", "text": "a.txt\n\nGrüße"},
    ]
    assert out.dropped == ("cache",)


@pytest.mark.parametrize(
    ("part", "param"),
    [
        (Image(Source(file_id="f1")), "file_id"),
        (Audio(Source(url="https://example.test/a.wav")), "audio"),
        (Audio(Source(data="AAAA"), "flac"), "audio"),
        (Document(Source(file_id="f1")), "file_id"),
        (Document(Source(url="https://example.test/a.pdf")), "document"),
        (Document(Source(data="AAAA", media_type="application/msword")), "document"),
        (Document(Source(data="!", media_type="text/plain")), "document"),
        (OpaquePart(Extra(FOREIGN, {"type": "search_result"})), "messages.content"),
        (ToolCall("1", "f", "{}"), "tools"),
    ],
)
def test_parts_that_cannot_go_are_refused_by_name(part: Part, param: str) -> None:
    assert refused(chat(user(part))) == param


def test_what_only_another_knows_is_dropped_from_history() -> None:
    block = OpaquePart(Extra(FOREIGN, {"type": "web_search_tool_result"}))
    cited = Text("a", extra=Extra(FOREIGN, {"citations": [{"url": "u"}]}))
    out = render(chat(ASK, assistant(block, cited, Refusal("no")), user(Text("go on"))))
    assert out.dropped == ("citations", "messages.content")
    assert "web_search" not in out.body.decode()


def test_every_extra_that_stays_behind_is_named() -> None:
    def only(name: str) -> Extra:
        return Extra(FOREIGN, {name: 1, "id": "x", "type": "y", "\0shape": 1})

    request = chat(
        Message(Role.SYSTEM, (Text("a", extra=only("of_system")),)),
        Message(Role.USER, (Text("b"),), "Mira", only("of_message")),
        assistant(Text("c"), ToolCall("1", "f", "{}", extra=only("of_call"))),
        user(
            ToolResult("1", (Text("d", CacheMark(), only("of_inner")),), extra=only("of_result")),
            Text("e", extra=only("of_text")),
            Image(Source(url="u"), extra=only("of_image")),
        ),
        tools=(Tool("f", extra=only("of_tool")),),
        tool_choice=ToolChoice(ToolMode.AUTO, extra=only("of_choice")),
        output=Output(OutputKind.TEXT, extra=only("of_output")),
        reasoning=Reasoning(extra=only("of_reasoning")),
        extra=only("of_chat"),
    )
    names = set(render(request).dropped)
    places = "chat system message call inner result text image tool choice output reasoning"
    assert names == {f"of_{place}" for place in places.split()} | {"messages.name", "cache"}


def test_a_picture_that_the_model_drew_is_lossy() -> None:
    request = chat(ASK, assistant(Text("look"), PNG), user(Text("nicer")))
    assert render(request).dropped == ("image",)
    assert refused(request, on_lossy=OnLossy.REJECT) == "image"


def test_capabilities_say_what_a_model_cannot() -> None:
    assert refused(chat(user(PNG)), capabilities=Capabilities(vision=False)) == "image"
    assert refused(chat(tools=(Tool("f"),)), capabilities=Capabilities(tools=False)) == "tools"
    sent(chat(user(PNG), tools=(Tool("f"),)), capabilities=Capabilities(tools=True, vision=True))


# --- tools, and what only another dialect knows


def test_server_tools_are_refused() -> None:
    search = Tool("", extra=Extra(FOREIGN, {"type": "web_search_20250305"}))
    assert refused(chat(tools=(search,))) == "tools"


def test_members_of_other_dialects_are_named_or_refused() -> None:
    kept = Extra("gemini_generate", {"safetySettings": [1], "labels": {}, "x": None})
    out = render(chat(extra=kept, tools=(Tool("f", cache=CacheMark(300)),)))
    assert out.dropped == ("safetySettings", "cache")
    state = Extra("openai_responses", {"previous_response_id": "resp_1"})
    assert refused(chat(extra=state)) == "previous_response_id"


# --- what has no place here at all


def test_other_questions_are_refused_clearly() -> None:
    with pytest.raises(Unsupported, match="acme has no endpoint"):
        DIALECT.render_request(Count(chat()), kit.target())


# --- the law: whatever came, OpenAI's own rules are kept

WORDS = st.sampled_from(["", " ", "a", "b\n", "json"])
IDS = st.sampled_from(["c1", "c2", "f.x:0" * 10])
NAMES = st.sampled_from(["f", "g h", "ä" * 70])
MARKS = st.none() | st.just(CacheMark(300))
TEXTS = st.builds(Text, WORDS, MARKS)
MEDIA = st.sampled_from(
    [
        PNG,
        Document(Source(data="AAAA", media_type="application/pdf")),
        Audio(Source(data="A"), "wav"),
    ]
)
OWN = st.builds(Thinking, WORDS) | st.just(OpaquePart(Extra(FOREIGN, {"type": "block"})))


@st.composite
def conversations(draw: st.DrawFn) -> Chat:
    """Of any shape that a well-meaning client could send: every call is answered, somewhere in the next turn."""
    messages: list[Message] = []
    for turn in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            messages.append(Message(Role.SYSTEM, tuple(draw(st.lists(TEXTS, max_size=2)))))
        messages.append(user(*draw(st.lists(TEXTS | MEDIA, min_size=1, max_size=3)), Text("x")))
        calls = [f"{draw(IDS)}-{turn}-{i}" for i in range(draw(st.integers(0, 2)))]
        names = [ToolCall(call, draw(NAMES), draw(st.sampled_from(["", "{}"]))) for call in calls]
        own = draw(st.lists(TEXTS | OWN, max_size=2))
        if draw(st.booleans()):
            messages.append(assistant(*own, *names))
        else:
            messages.append(assistant(*own))
            messages.extend(assistant(call) for call in names)
        content = [tuple(draw(st.lists(TEXTS | MEDIA, max_size=2))) for _ in calls]
        results = [
            ToolResult(call, parts, is_error=draw(st.booleans()))
            for call, parts in zip(calls, content, strict=True)
        ]
        if draw(st.booleans()):
            messages.extend(Message(Role.TOOL, (result,)) for result in results)
        elif results:
            messages.append(user(Text("before"), *results, Text("after")))
    output = draw(st.none() | st.sampled_from([Output(kind) for kind in OutputKind]))
    tools = tuple(Tool(name) for name in draw(st.lists(NAMES, unique=True, max_size=2)))
    return chat(
        *messages,
        tools=tools,
        tool_choice=draw(st.none() | st.just(ToolChoice(ToolMode.AUTO))),
        parallel_tools=draw(st.none() | st.booleans()),
        output=output,
        reasoning=draw(st.none() | st.just(Reasoning("high")) | st.just(Reasoning(budget=5000))),
        sampling=Sampling(max_tokens=draw(st.none() | st.just(5)), top_k=3, top_logprobs=1),
    )


@given(conversations(), st.sampled_from(["gpt-4o", "o3", "gpt-5.2"]))
@settings(max_examples=150)
def test_openais_own_rules_are_kept(request: Chat, model: str) -> None:
    target = Target("acme", model, "openai_chat")
    try:
        rendered = DIALECT.render_request(request, target)
    except GatewayError as error:
        assert isinstance(error, Unsupported), error
        return
    body = json.loads(rendered.body)
    assert wrong(model, body, body["messages"]) is None
    if any(isinstance(part, Thinking) for m in request.messages for part in m.parts):
        assert "thinking" in rendered.dropped
