"""Gemini requests: in and home again, and what the requests of other languages become."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from google.genai import types

from extproc.dialects.gemini_generate import DIALECT
from extproc.dialects.gemini_generate.schema import json_schema
from extproc.dialects.openai_chat import DIALECT as OPENAI
from extproc.mock.speakers.gemini_rules import wrong
from extproc.model.call import Capabilities, Target
from extproc.model.chat import (
    Audio,
    CacheMark,
    Chat,
    Document,
    Extra,
    Image,
    Json,
    Message,
    OpaquePart,
    Output,
    OutputKind,
    Part,
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
from extproc.model.embed import Count
from extproc.model.errors import InvalidRequest, NotFound, Unsupported
from extproc.model.fields import Field

from . import kit_gemini as kit

HI: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
EVERYTHING = json.loads(kit.fixture("request_everything.json"))
SNAKE = json.loads(kit.fixture("request_snake.json"))
GEN_3 = "gemini-3-flash-preview"


def elsewhere(*messages: Message, **fields: Any) -> Chat:
    """A request that came in another language."""
    return Chat(dialect="openai_chat", model="m", messages=messages, **fields)


def user(*parts: Part | str) -> Message:
    return Message(Role.USER, tuple(Text(p) if isinstance(p, str) else p for p in parts))


def model(*parts: Part | str) -> Message:
    return Message(Role.ASSISTANT, tuple(Text(p) if isinstance(p, str) else p for p in parts))


def result(call_id: str, *parts: Part, is_error: bool = False) -> Message:
    return Message(Role.TOOL, (ToolResult(call_id, parts, is_error=is_error),))


def sent(chat: Chat, to: Target | None = None) -> tuple[Any, tuple[str, ...]]:
    """Body and drops; what the provider's own rules would not take is an error."""
    to = to or kit.target()
    rendered = DIALECT.render_request(chat, to)
    body = json.loads(rendered.body)
    assert wrong(to.model, body) is None
    return body, rendered.dropped


# --- home


@pytest.mark.parametrize("body", [HI, EVERYTHING, SNAKE], ids=["hi", "everything", "snake"])
def test_it_comes_back(body: dict[str, Any]) -> None:
    """trap 50: names in snake case are read, and written in camel case."""
    chat = kit.parse(body)
    again = kit.rebuilt(chat)
    assert kit.plain(again) == kit.plain(body)
    assert DIALECT.render_request(chat, kit.target(chat.model)).body is chat.raw
    assert kit.rebuilt(kit.parse(again)) == again


def test_what_users_name_keeps_its_spelling() -> None:
    """trap 50: arguments, schemas and results are not the API's."""
    again = kit.rebuilt(kit.parse(SNAKE))
    call = again["contents"][1]["parts"][0]["functionCall"]
    assert call["args"] == {"snake_case": {"stays_here": 1}}
    result = again["contents"][2]["parts"][0]["functionResponse"]
    assert result["response"] == {"my_value": 1}
    schema = again["tools"]["functionDeclarations"][0]["parametersJsonSchema"]
    assert list(schema["properties"]) == ["snake_case"]
    assert list(again["generationConfig"]["responseJsonSchema"]["properties"]) == ["an_answer"]


ODD: list[dict[str, Any]] = [
    {"contents": [{"parts": []}]},
    {"contents": [{"role": "user"}]},
    {"contents": [{"role": "user", "parts": None}]},
    {"contents": [{"role": "user", "parts": {"text": "x"}}]},
    {"contents": {"role": "user", "parts": [{"text": "x"}]}},
    {"contents": [{"role": "weird", "parts": [{"text": "", "thought": False, "odd": 1}]}]},
    {"contents": [{"role": "model", "parts": [{"text": "", "thought": True}]}]},
    {**HI, "tools": [], "generationConfig": {}, "toolConfig": {}, "systemInstruction": None},
    {**HI, "tools": [{}], "toolConfig": {"functionCallingConfig": {}}},
    {**HI, "tools": [{"functionDeclarations": []}, {"googleSearch": {}, "urlContext": {}}]},
    {**HI, "toolConfig": {"functionCallingConfig": {"mode": "ODD"}}},
    {**HI, "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": []}}},
    {**HI, "generationConfig": {"responseMimeType": "text/x.enum", "responseSchema": {"a": 1}}},
    {**HI, "generationConfig": {"responseMimeType": "text/plain", "stopSequences": []}},
    {**HI, "generationConfig": {"topK": 40.5, "responseModalities": ["AUDIO"], "seed": None}},
    {**HI, "generationConfig": {"thinkingConfig": {}}},
    {**HI, "generationConfig": {"thinkingConfig": {"thinkingLevel": "ODD", "odd": 1}}},
    {**HI, "labels": {"a": 1}, "serviceTier": 2, "odd": {"deep": [None]}},
    {**HI, "model": "models/gemini-2.5-flash"},
]


@pytest.mark.parametrize("body", ODD, ids=range(len(ODD)))
def test_odd_shapes_come_back(body: dict[str, Any]) -> None:
    """trap 21: content absent, null, empty."""
    chat = kit.parse(body)
    assert kit.rebuilt(chat) == body


def test_what_is_canonical() -> None:
    chat = kit.parse(EVERYTHING)
    assert chat.messages[0].role is Role.SYSTEM
    picture, document, sound, film = chat.messages[1].parts[1:]
    assert picture == replace(
        Image(Source(data="iVBORw0KGgo+/w==", media_type="image/png")), extra=picture.extra
    )
    assert isinstance(document, Document)
    assert document.source.url == "https://example.com/a.pdf"
    assert isinstance(sound, Audio)
    assert sound.source.file_id == "gs://bucket/a.mp3"
    assert isinstance(film, OpaquePart)
    assert [tool.name for tool in chat.tools] == ["", "get_tide", "get_wind", "", "plain"]
    assert chat.tools[1].parameters == {
        "type": "object",
        "properties": {"port": {"type": ["string", "null"]}},
    }
    assert chat.tool_choice is not None
    assert (chat.tool_choice.mode, len(chat.tool_choice.names)) == (ToolMode.AUTO, 2)
    assert chat.sampling == Sampling(
        0.5, 0.9, 40, 900, ("END",), 7, 0.1, 0.2, 1, logprobs=True, top_logprobs=3
    )
    assert chat.output is not None
    assert chat.output.schema == {"type": "array", "items": {"type": "string"}, "minItems": 1}
    assert chat.reasoning is not None
    assert (chat.reasoning.effort, chat.reasoning.summary) == ("low", "auto")
    assert (chat.metadata, chat.service_tier) == ({"team": "sea"}, "flex")


def test_calls_without_ids_are_matched_in_order() -> None:
    """trap 45: the same name twice."""
    chat = kit.parse(EVERYTHING)
    first, second = (p.id for p in chat.messages[2].parts if isinstance(p, ToolCall))
    low, none = (p for p in chat.messages[3].parts if isinstance(p, ToolResult))
    assert first != second
    assert (low.call_id, none.call_id) == (first, second)
    assert (low.is_error, none.is_error) == (False, True)
    assert none.parts == (Text("no such port"),)
    again = kit.parse(EVERYTHING)
    assert again.messages == chat.messages


def test_a_result_with_an_id_that_its_call_had_not() -> None:
    contents = [
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
        {
            "role": "user",
            "parts": [{"functionResponse": {"id": "mine", "name": "f", "response": {}}}],
        },
    ]
    chat = kit.parse({"contents": contents})
    call, answer = chat.messages[0].parts[0], chat.messages[1].parts[0]
    assert isinstance(call, ToolCall)
    assert isinstance(answer, ToolResult)
    assert answer.call_id == call.id
    assert kit.rebuilt(chat) == {"contents": contents}


def test_a_result_without_an_id_is_of_the_call_that_still_waits() -> None:
    calls = [{"functionCall": {"id": one, "name": "f", "args": {}}} for one in "abc"]
    answers = [
        {"functionResponse": {"id": "a", "name": "f", "response": {"output": '{"told": 1}'}}},
        {"functionResponse": {"id": "b", "name": "f", "response": {"output": "x"}}},
        {"functionResponse": {"name": "f", "response": {"output": "x"}}},
    ]
    contents = [{"role": "model", "parts": calls}, {"role": "user", "parts": answers}]
    chat = kit.parse({"contents": contents})
    results = [part for part in chat.messages[1].parts if isinstance(part, ToolResult)]
    assert [one.call_id for one in results] == ["a", "b", "c"]
    assert results[0].parts == (Text('{"told": 1}'),)
    assert kit.rebuilt(chat) == {"contents": contents}


def test_what_a_stage_changed_is_what_leaves() -> None:
    chat = kit.parse(EVERYTHING)
    tool = replace(chat.tools[1], parameters={"type": "object"})
    answer = chat.messages[3].parts[0]
    assert isinstance(answer, ToolResult)
    messages = list(chat.messages)
    messages[3] = replace(messages[3], parts=(replace(answer, parts=(Text("[hidden]"),)),))
    changed = replace(chat, tools=(tool,), messages=tuple(messages), output=Output(OutputKind.JSON))
    body = kit.rebuilt(changed)
    assert body["tools"] == [
        {
            "functionDeclarations": [
                {
                    "name": "get_tide",
                    "description": "The tide.",
                    "parametersJsonSchema": {"type": "object"},
                }
            ]
        }
    ]
    assert body["contents"][2]["parts"][0]["functionResponse"]["response"] == {"output": "[hidden]"}
    assert "responseSchema" not in body["generationConfig"]


def test_our_own_member_never_leaves() -> None:
    chat = kit.parse({**HI, "sluice": {"tags": ["a"]}})
    assert chat.options.tags == ("a",)
    assert json.loads(DIALECT.render_request(chat, kit.target()).body) == HI
    assert kit.rebuilt(chat) == HI


def test_the_model_in_the_body_follows() -> None:
    chat = kit.parse({**HI, "model": "models/gemini-2.5-flash"})
    body = json.loads(DIALECT.render_request(chat, kit.target("gemini-2.5-pro")).body)
    assert body["model"] == "models/gemini-2.5-pro"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "contents"),
        ({"contents": ["x"]}, "contents[0]"),
        ({"contents": [{"parts": ["x"]}]}, "contents[0].parts[0]"),
        (
            {"contents": [{"parts": [{"functionCall": {}}]}]},
            "contents[0].parts[0].functionCall.name",
        ),
        ({**HI, "generationConfig": {"temperature": "hot"}}, "generationConfig.temperature"),
        ({**HI, "generation_config": {"topP": True}}, "generationConfig.topP"),
        (
            {**HI, "tools": [{"functionDeclarations": [{}]}]},
            "tools[0].functionDeclarations[0].name",
        ),
        ({**HI, "generationConfig": {}, "generation_config": {}}, "generationConfig"),
        ({**HI, "\0x": 1}, None),
    ],
)
def test_bad_bodies_are_refused_by_name(body: dict[str, Any], param: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        kit.parse(body)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"contents":[],"contents":[]}', b"[" * 10_000, b'{"a":NaN}']
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    """trap 16, trap 19, trap 20."""
    with pytest.raises(InvalidRequest):
        kit.parse(body)


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"cachedContent": "cachedContents/a"}, "cachedContent"),
        ({"generationConfig": {"responseModalities": ["IMAGE"]}}, "responseModalities"),
    ],
)
def test_what_means_something_at_home_only_is_refused_elsewhere(more: Any, name: str) -> None:
    chat = kit.parse({**HI, **more})
    with pytest.raises(Unsupported, match=name):
        OPENAI.render_request(chat, Target("acme", "gpt-4o", "openai_chat"))
    plain = {**HI, "generationConfig": {"responseModalities": ["TEXT"]}, "safetySettings": [{}]}
    sent = OPENAI.render_request(kit.parse(plain), Target("acme", "gpt-4o", "openai_chat"))
    assert sent.dropped == ("safetySettings",)


# --- paths


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1beta/models/gemini-2.5-flash:generateContent", "gemini-2.5-flash"),
        ("/v1/models/llama3:8b:generateContent", "llama3:8b"),
        ("/v1beta/models/org/name:generateContent", "org/name"),
        ("/v1beta/tunedModels/mine:generateContent", "tunedModels/mine"),
        (
            "/v1beta1/projects/p/locations/l/publishers/google/models/gemini-x:generateContent",
            "gemini-x",
        ),
        ("/v1/publishers/google/models/gemini-x:generateContent", "gemini-x"),
    ],
)
def test_models_in_paths(path: str, name: str) -> None:
    assert kit.parse(HI, path).model == name


@pytest.mark.parametrize(
    "name", ["..", "a/../b", "a%2F..", "a%2fb", "a;b", "a?b", "a%3Fb", "%2e%2e", ""]
)
def test_a_model_never_becomes_another_path(name: str) -> None:
    """trap 63."""
    head = kit.RequestHead("POST", f"/v1beta/models/{name}:generateContent", "", {}, "method")
    with pytest.raises((InvalidRequest, NotFound)):
        DIALECT.parse_request(head, json.dumps(HI).encode())
    if name:
        with pytest.raises(InvalidRequest):
            DIALECT.render_request(elsewhere(user("x")), kit.target(f"{name}x"))


def test_paths_of_both_services() -> None:
    asked = elsewhere(user("x"))
    assert DIALECT.render_request(asked, kit.target()).path == kit.GENERATE
    streamed = replace(asked, stream=True)
    assert DIALECT.render_request(streamed, kit.target()).path == kit.STREAM
    place = "/v1/projects/acme-1/locations/europe-west4/publishers/google/models/"
    to = kit.vertex()
    assert DIALECT.render_request(asked, to).path == f"{place}gemini-2.5-flash:generateContent"
    one = DIALECT.render_request(streamed, replace(to, details=()))
    assert one.path.startswith("/v1/publishers/google/models/")
    project = "/v1/projects/acme-1/locations/europe-west4/"
    for name, path in {
        "publishers/meta/models/llama-4": f"{project}publishers/meta/models/llama-4",
        "endpoints/123": f"{project}endpoints/123",
        "projects/p/locations/us/endpoints/1": "/v1/projects/p/locations/us/endpoints/1",
    }.items():
        rooted = DIALECT.render_request(asked, kit.vertex(name))
        assert rooted.path == f"{path}:generateContent"
    odd = DIALECT.render_request(asked, kit.target("a/b c"))
    assert odd.path == "/v1beta/models/a%2Fb%20c:generateContent"


def test_a_stream_is_asked_for_as_the_client_wants_it() -> None:
    events, array = kit.parse(HI, kit.STREAM), kit.parse(HI, kit.ARRAY)
    assert (events.stream, array.stream) == (True, True)
    passing, written = (DIALECT.render_request(chat, kit.target()) for chat in (events, array))
    assert (passing.path, passing.reshaped) == (kit.STREAM, False)
    assert (written.path, written.reshaped) == (kit.STREAM, True)
    assert passing.body is events.raw and written.body is array.raw


# --- from other languages


def test_turns_system_and_results() -> None:
    """trap 42: results come first, in the order of their calls, in one content."""
    chat = elsewhere(
        Message(Role.SYSTEM, (Text("Be brief."),)),
        user("Tides?"),
        model(ToolCall("a", "get", '{"p":1}'), ToolCall("b", "get", "")),
        result("b", Text("high")),
        result("a", Text('{"level": 3}')),
        user("And?"),
    )
    body, dropped = sent(chat)
    assert body["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    assert [content["role"] for content in body["contents"]] == ["user", "model", "user"]
    assert body["contents"][1]["parts"] == [
        {"functionCall": {"name": "get", "args": {"p": 1}, "id": "a"}},
        {"functionCall": {"name": "get", "args": {}, "id": "b"}},
    ]
    assert body["contents"][2]["parts"] == [
        {"functionResponse": {"name": "get", "id": "a", "response": {"level": 3}}},
        {"functionResponse": {"name": "get", "id": "b", "response": {"output": "high"}}},
        {"text": "And?"},
    ]
    assert dropped == ()


@pytest.mark.parametrize(
    ("text", "is_error", "response"),
    [
        ("", False, {"output": ""}),
        ("[1]", False, {"output": "[1]"}),
        ('{"a":1}', False, {"a": 1}),
        ("gone", True, {"error": "gone"}),
    ],
)
def test_results_are_objects(text: str, is_error: bool, response: Json) -> None:
    parts = (Text(text),) if text else ()
    chat = elsewhere(
        user("x"), model(ToolCall("a", "f", "{}")), result("a", *parts, is_error=is_error)
    )
    body, _ = sent(chat)
    assert body["contents"][2]["parts"][0]["functionResponse"]["response"] == response


def test_a_system_text_alone_is_said_by_the_user() -> None:
    body, dropped = sent(elsewhere(Message(Role.SYSTEM, (Text("Hi"),))))
    assert body == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    assert dropped == ("system",)


def test_calls_of_others_get_the_dummy_where_signatures_are_needed() -> None:
    """The first call of each step; never over a real one, never for older models."""
    signed = Thinking("", "real", origin="gemini_generate")
    chat = elsewhere(
        user("x"),
        model(ToolCall("a", "f", "{}"), ToolCall("b", "f", "{}")),
        result("a"),
        result("b"),
        model(signed, ToolCall("c", "f", "{}")),
        result("c"),
    )
    rendered = DIALECT.render_request(chat, kit.target(GEN_3))
    contents = json.loads(rendered.body)["contents"]
    found = [part.get("thoughtSignature") for c in contents for part in c["parts"]]
    dummy = "skip_thought_signature_validator"
    assert found == [None, dummy, None, None, None, "real", None]
    bare = [replace(m, parts=tuple(p for p in m.parts if p != signed)) for m in chat.messages]
    assert sent(elsewhere(*bare), kit.target(GEN_3))[1] == ()
    older = json.loads(DIALECT.render_request(chat, kit.target()).body)["contents"]
    assert [p.get("thoughtSignature") for c in older for p in c["parts"]].count(dummy) == 0


def test_thoughts_of_others_stay_behind() -> None:
    chat = elsewhere(
        user("x"), model(Thinking("Hm", "sig", origin="anthropic_messages"), "So."), user("y")
    )
    body, dropped = sent(chat)
    assert body["contents"][1]["parts"] == [{"text": "So."}]
    assert dropped == ("thinking",)


PNG = Source(data="AAAA", media_type="image/png")


def test_media() -> None:
    chat = elsewhere(
        user(
            Image(PNG),
            Image(Source(url="https://example.com/a.webp?x")),
            Image(Source(url="https://example.com/picture")),
            Audio(Source(data="BBBB"), "mp3"),
            Document(Source(data="CCCC")),
        )
    )
    body, _ = sent(chat)
    assert body["contents"][0]["parts"] == [
        {"inlineData": {"data": "AAAA", "mimeType": "image/png"}},
        {"fileData": {"fileUri": "https://example.com/a.webp?x", "mimeType": "image/webp"}},
        {"fileData": {"fileUri": "https://example.com/picture", "mimeType": "image/jpeg"}},
        {"inlineData": {"data": "BBBB", "mimeType": "audio/mpeg"}},
        {"inlineData": {"data": "CCCC", "mimeType": "application/pdf"}},
    ]
    with pytest.raises(Unsupported, match="file_id"):
        sent(elsewhere(user(Document(Source(file_id="file-1")))))


def test_pictures_in_results() -> None:
    chat = elsewhere(user("x"), model(ToolCall("a", "f", "{}")), result("a", Image(PNG)))
    picture = {"inlineData": {"data": "AAAA", "mimeType": "image/png"}}
    body, dropped = sent(chat)
    assert body["contents"][2]["parts"][1] == picture
    assert dropped == ("tool_result.media",)
    body, dropped = sent(chat, kit.target(GEN_3))
    assert body["contents"][2]["parts"][0]["functionResponse"]["parts"] == [picture]
    assert dropped == ()


def test_what_only_others_know() -> None:
    odd = OpaquePart(Extra("openai_chat", {"type": "odd"}))
    with pytest.raises(Unsupported):
        sent(elsewhere(user("x", odd)))
    _, dropped = sent(elsewhere(user("x", odd), model("y"), user("z")))
    assert dropped == ("messages.content",)
    with pytest.raises(Unsupported, match="tools"):
        sent(elsewhere(user("x"), tools=(Tool("", extra=Extra("openai_chat", {"type": "web"})),)))


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


def odd(name: str) -> Extra:
    return Extra("openai_chat", {name: 1})


def test_nothing_of_others_is_lost_in_silence() -> None:
    chat = elsewhere(
        Message(Role.USER, (Text("x", extra=odd("a")), Image(PNG, "low", extra=odd("b")))),
        Message(Role.ASSISTANT, (ToolCall("1", "f", "{}", extra=odd("c")),), extra=odd("d")),
        Message(Role.TOOL, (ToolResult("1", (Text("y", extra=odd("e")),), extra=odd("f")),)),
        tools=(Tool("f", extra=odd("g")),),
        tool_choice=ToolChoice(ToolMode.AUTO, extra=odd("h")),
        output=Output(OutputKind.JSON, description="It.", extra=odd("i")),
        reasoning=Reasoning("low", extra=odd("j")),
        extra=odd("k"),
        store=False,
        cache_key="c",
        verbosity="low",
        safety_identifier="s",
    )
    _, dropped = sent(chat, kit.target(GEN_3))
    assert {name for name in dropped if len(name) == 1} == set("abcdefghijk")
    assert {name for name in dropped if len(name) > 1} == {
        "image.detail", "response_format.description", "prompt_cache_key", "verbosity",
        "safety_identifier",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        (Field.TEMPERATURE, 0.5, lambda chat: chat.sampling.temperature),
        (Field.TOP_P, 0.5, lambda chat: chat.sampling.top_p),
        (Field.TOP_K, 5, lambda chat: chat.sampling.top_k),
        (Field.MAX_TOKENS, 5, lambda chat: chat.sampling.max_tokens),
        (Field.STOP, ["a"], lambda chat: [*chat.sampling.stop]),
        (Field.SEED, 5, lambda chat: chat.sampling.seed),
        (Field.FREQUENCY_PENALTY, 0.5, lambda chat: chat.sampling.frequency_penalty),
        (Field.PRESENCE_PENALTY, 0.5, lambda chat: chat.sampling.presence_penalty),
        (Field.N, 2, lambda chat: chat.sampling.n),
        (Field.LOGPROBS, True, lambda chat: chat.sampling.logprobs),
        (Field.TOP_LOGPROBS, 2, lambda chat: chat.sampling.top_logprobs),
        (Field.METADATA, {"a": "b"}, lambda chat: chat.metadata),
        (Field.SERVICE_TIER, "flex", lambda chat: chat.service_tier),
        (Field.EFFORT, "low", lambda chat: chat.reasoning.effort),
        (Field.BUDGET, 5, lambda chat: chat.reasoning.budget),
        (Field.SUMMARY, True, lambda chat: chat.reasoning.summary == "auto"),
        (Field.OUTPUT, "application/json", lambda chat: "application/" + chat.output.kind),
        (Field.TOOL_CHOICE, {"mode": "AUTO"}, lambda c: {"mode": c.tool_choice.mode.upper()}),
    ],
)
def test_fields_are_called_as_the_client_writes_them(
    field: Field, value: Any, found: Callable[[Chat], Any]
) -> None:
    body: dict[str, Any] = {**HI}
    place = body
    *above, last = DIALECT.field_names[field].split(".")
    for name in above:
        place = place.setdefault(name, {})
    place[last] = value
    assert found(kit.parse(body)) == value


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


def test_broken_arguments_are_refused() -> None:
    """trap 30: none at all are an empty object."""
    for broken in ('{"a', "[1]", "3"):
        with pytest.raises(InvalidRequest, match="call-7"):
            sent(elsewhere(user("x"), model(ToolCall("call-7", "f", broken))))


def test_an_openai_request_by_the_sdks_types() -> None:
    """What leaves is what Google's own types know."""
    asked = {
        "model": "m",
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "Weather and news?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
            },
            {"role": "tool", "tool_call_id": "1", "content": "rain"},
        ],
        "tools": [
            {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
        ],
    }
    head = kit.RequestHead("POST", "/v1/chat/completions", "", {}, "chat")
    chat = OPENAI.parse_request(head, json.dumps(asked).encode())
    assert isinstance(chat, Chat)
    body, _ = sent(chat)
    for content in (*body["contents"], body["systemInstruction"]):
        types.Content.model_validate(content)
    types.Tool.model_validate(body["tools"][0])


# --- counting


def test_counting() -> None:
    path = "/v1beta/models/gemini-2.5-flash:countTokens"
    full = {
        "model": "models/gemini-2.5-flash",
        **HI,
        "systemInstruction": {"parts": [{"text": "s"}]},
    }
    for body in (HI, {"generateContentRequest": full}):
        count = kit.ask(body, path)
        assert isinstance(count, Count)
        assert DIALECT.render_request(count, kit.target()).body is count.raw
        bare = Count(replace(count.chat, raw=b""))
        assert json.loads(DIALECT.render_request(bare, kit.target()).body) == body
    count = kit.ask({"generateContentRequest": full}, path)
    vertex = json.loads(DIALECT.render_request(count, kit.vertex()).body)
    assert "generateContentRequest" not in vertex


def test_counting_for_others() -> None:
    """trap 60: the Gemini API wants more than contents within a request, and the model named there."""
    asked = elsewhere(Message(Role.SYSTEM, (Text("s"),)), user("x"))
    rendered = DIALECT.render_request(Count(asked), kit.target())
    assert rendered.path == "/v1beta/models/gemini-2.5-flash:countTokens"
    inner = json.loads(rendered.body)["generateContentRequest"]
    assert inner["model"] == "models/gemini-2.5-flash"
    assert "systemInstruction" in inner
    plain = DIALECT.render_request(Count(elsewhere(user("x"))), kit.target())
    assert json.loads(plain.body) == {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}


# --- schemas, speed


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
