"""Gemini requests: in and home again, their paths, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from extproc.dialects.gemini_generate import DIALECT
from extproc.dialects.openai_chat import DIALECT as OPENAI
from extproc.model.call import Target
from extproc.model.chat import (
    Audio,
    Document,
    Image,
    OpaquePart,
    Output,
    OutputKind,
    Role,
    Sampling,
    Source,
    Text,
    ToolCall,
    ToolMode,
    ToolResult,
)
from extproc.model.embed import Count
from extproc.model.errors import InvalidRequest, NotFound, Unsupported

from . import kit_gemini as kit
from .kit_gemini import HI, elsewhere, user

EVERYTHING = json.loads(kit.fixture("request_everything.json"))
SNAKE = json.loads(kit.fixture("request_snake.json"))


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
