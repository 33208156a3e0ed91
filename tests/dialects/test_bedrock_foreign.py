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
from extproc.model.call import Capabilities
from extproc.model.chat import (
    Audio,
    CacheMark,
    Document,
    Extra,
    Image,
    Message,
    OpaquePart,
    Part,
    Refusal,
    Role,
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
from tests.dialects.kit_bedrock_foreign import PDF, PNG, assistant, chat, dropped, said, user

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
