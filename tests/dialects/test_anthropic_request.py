"""Anthropic requests: what is read, what comes back, and what is refused with which path."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from extproc.dialects._signatures import wrap
from extproc.dialects.anthropic_messages import DIALECT
from extproc.model.call import Capabilities
from extproc.model.chat import (
    CacheMark,
    Document,
    Image,
    ListModels,
    OpaquePart,
    OutputKind,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from extproc.model.dialect import ModelCard, RequestHead
from extproc.model.embed import Opaque
from extproc.model.errors import InvalidRequest, NotFound, Unsupported
from extproc.model.fields import Field

from . import kit_anthropic as kit

ONE = [{"role": "user", "content": "Hello"}]


def body(**members: Any) -> dict[str, Any]:
    return {"model": "claude", "max_tokens": 100, "messages": ONE, **members}


def everything() -> Any:
    return json.loads(kit.fixture("request_everything.json"))


# --- the law of return


def test_everything_comes_back() -> None:
    chat = kit.parse(everything(), query="beta=true", anthropic_beta="files-api-2025-04-14")
    assert kit.rebuilt(chat) == everything()


@pytest.mark.parametrize(
    "members",
    [
        {"stream": False},
        {"stream": None},
        {"system": ""},
        {"system": []},
        {"system": "Be brief."},
        {"system": [{"type": "text", "text": "Be brief."}]},
        {"tools": []},
        {"tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
        {"tool_choice": {"type": "tool", "name": "f"}},
        {"tool_choice": {"type": "none"}},
        {"tool_choice": {"type": "later"}},
        {"tool_choice": None},
        {"thinking": {"type": "adaptive", "display": "omitted"}},
        {"thinking": {"type": "disabled"}},
        {"thinking": {"type": "between_tools"}},
        {"thinking": {"type": "enabled"}},
        {"thinking": {}},
        {"output_config": {}},
        {"output_config": {"effort": "ultra"}},
        {"output_config": {"format": {"type": "grammar"}}},
        {"output_format": {"type": "json_schema", "schema": {"type": "object"}}},
        {
            "output_format": {"type": "json_schema", "schema": {}},
            "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
        },
        {"metadata": {}},
        {"metadata": {"user_id": None}},
        {"service_tier": "auto"},
        {"service_tier": "later"},
        {"stop_sequences": []},
        {"max_tokens": 0},
        {"cache_control": None},
        {"messages": [{"role": "user", "content": "x", "later": None}]},
        {"messages": [{"role": "system", "content": "x"}, *ONE]},
        {"messages": [*ONE, {"role": "assistant", "content": [{"type": "compaction"}]}]},
    ],
)
def test_odd_shapes_come_back(members: dict[str, Any]) -> None:
    assert kit.rebuilt(kit.parse(body(**members))) == body(**members)


def test_untouched_bytes_are_the_very_bytes() -> None:
    raw = json.dumps(everything(), indent=3).encode()
    chat = kit.parse(raw)
    assert kit.rendered(chat, kit.target(chat.model)).body is raw


def test_only_the_model_is_spliced() -> None:
    raw = b'{ "model" : "mine", "max_tokens": 12 , "messages": [{"role":"user","content":"\\ud800"}] }'
    sent = kit.rendered(kit.parse(raw), kit.target("claude-9")).body
    assert sent == raw.replace(b'"mine"', b'"claude-9"')


def test_our_own_member_is_cut_out() -> None:
    chat = kit.parse(body(sluice={"tags": ["a"]}))
    assert chat.options.tags == ("a",)
    assert kit.sent(chat) == body()
    assert kit.rebuilt(chat) == body()


# --- what the model holds


def test_the_canonical_fields() -> None:
    chat = kit.parse(everything())
    system, user, assistant, results, within, *_ = chat.messages
    assert system.parts == (
        Text("Be brief.", CacheMark(3600)),
        Text("Be kind.", CacheMark()),
    )
    assert user.parts == (Text("Hello"),)
    thinking, redacted, _, call, empty, *opaque = assistant.parts
    assert thinking == Thinking("Look first.", "c2lnLTQ=", origin=kit.NAME)
    assert redacted == Thinking(redacted="aGlk", origin=kit.NAME)
    assert isinstance(call, ToolCall) and isinstance(empty, ToolCall)
    assert call.arguments == '{"city":"Ulm","big":123456789012345678901234567890}'
    assert (call.cache, empty.arguments) == (CacheMark(300), "{}")
    assert all(isinstance(part, OpaquePart) for part in opaque)
    failed = results.parts[1]
    assert isinstance(failed, ToolResult)
    assert failed.is_error and isinstance(failed.parts[1], Image)
    assert (within.role, chat.messages[0].role) == (Role.SYSTEM, Role.SYSTEM)
    assert chat.tools[0].cache == CacheMark()
    assert (chat.tools[0].strict, chat.tools[2].name) == (True, "")
    assert chat.output is not None and chat.output.kind is OutputKind.SCHEMA
    assert chat.reasoning is not None
    got = (chat.reasoning.effort, chat.reasoning.budget, chat.reasoning.summary)
    assert got == ("medium", 2000, "auto")
    assert (chat.user, chat.service_tier, chat.parallel_tools) == ("u-1", "default", True)
    assert chat.sampling.stop == ("END",)


def test_a_text_document_is_base64_in_the_model() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "é"}
    block = {"type": "document", "source": source, "title": "t"}
    chat = kit.parse(body(messages=[{"role": "user", "content": [block]}]))
    part = chat.messages[0].parts[0]
    assert isinstance(part, Document)
    assert (part.source.data, part.source.name) == ("w6k=", "t")


@pytest.mark.parametrize(
    ("choice", "expected", "parallel"),
    [
        ({"type": "auto"}, ToolChoice(ToolMode.AUTO), None),
        ({"type": "none"}, ToolChoice(ToolMode.NONE), None),
        ({"type": "any", "disable_parallel_tool_use": True}, ToolChoice(ToolMode.REQUIRED), False),
        ({"type": "tool", "name": "f"}, ToolChoice(ToolMode.NAMED, ("f",)), None),
    ],
)
def test_tool_choices(choice: Any, expected: ToolChoice, parallel: bool | None) -> None:
    chat = kit.parse(body(tool_choice=choice))
    assert (chat.tool_choice, chat.parallel_tools) == (expected, parallel)


# --- what is refused


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "x"}, "messages"),
        ({"messages": [7]}, "messages[0]"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": [], "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0].type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0].text",
        ),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "content": [{"type": "tool_use", "id": "a", "name": "f", "input": "{}"}],
                    }
                ]
            },
            "messages[0].content[0].input",
        ),
        ({"system": 7}, "system"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"stop_sequences": "END"}, "stop_sequences"),
        ({"thinking": True}, "thinking"),
    ],
)
def test_bad_requests_name_the_place(members: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        kit.parse(body(**members))
    assert caught.value.param == param


@pytest.mark.parametrize("role", ["user", "assistant", "system"])
@pytest.mark.parametrize(
    ("content", "fine"), [({}, False), (None, False), ("", True), ([], True)], ids=str
)
def test_content_in_four_forms(role: str, content: Any, fine: bool) -> None:
    """trap 21: absent, null, an empty string, an empty list."""
    message = {"role": role} if content == {} else {"role": role, "content": content}
    asked = body(messages=[message])
    if fine:
        assert kit.rebuilt(kit.parse(asked)) == asked
        return
    with pytest.raises(InvalidRequest) as caught:
        kit.parse(asked)
    assert caught.value.param == "messages[0].content"


@pytest.mark.parametrize("value", [0, 1, "true", "false", []])
def test_stream_is_a_boolean(value: Any) -> None:
    """trap 22: only `true` streams; null is the default, which is not to stream."""
    with pytest.raises(InvalidRequest):
        kit.parse(body(stream=value))
    assert kit.parse(body(stream=True)).stream
    assert not kit.parse(body(stream=None)).stream


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"a","model":"b","max_tokens":1,"messages":[{"role":"user","content":"x"}]}',
        b'{"model":"a","max_tokens":1e400,"messages":[{"role":"user","content":"x"}]}',
        b'{"model":"a","temperature":NaN,"messages":[{"role":"user","content":"x"}]}',
        b'{"model":"a","messages":' + b"[" * 10_000,
        b'\xef\xbb\xbf{"model":"a"}',
        b'{"model":"a","\\u0000x":1,"messages":[{"role":"user","content":"x"}]}',
        b"",
        b"[]",
    ],
)
def test_bodies_that_parsers_disagree_on(raw: bytes) -> None:
    """trap 5, trap 16, trap 18, trap 19, trap 20."""
    with pytest.raises(InvalidRequest):
        kit.parse(raw)


def test_a_lone_surrogate_in_a_request() -> None:
    """trap 17: untouched bytes keep it, written anew it is U+FFFD."""
    raw = b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"a\\ud800"}]}'
    chat = kit.parse(raw)
    assert kit.rendered(chat, kit.target("m")).body is raw
    assert kit.rebuilt(chat, kit.target("m"))["messages"][0]["content"] == "a\ufffd"


# --- reasoning of others comes back through a client of this language


def with_thinking(signature: str, **members: Any) -> dict[str, Any]:
    call = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    thought = {"type": "thinking", "thinking": "hm", "signature": signature}
    result = {"type": "tool_result", "tool_use_id": "a", "content": "1"}
    messages = [
        *ONE,
        {"role": "assistant", "content": [thought, call]},
        {"role": "user", "content": [result]},
    ]
    return body(messages=messages, **members)


@pytest.mark.parametrize("signature", [wrap("c2ln", "gemini_generate", kit.NAME), ""])
def test_foreign_thinking_does_not_reach_claude(signature: str) -> None:
    asked = with_thinking(signature, thinking={"type": "enabled", "budget_tokens": 1024})
    chat = kit.parse(asked)
    rendered = kit.rendered(chat)
    sent = json.loads(rendered.body)
    assert [block["type"] for block in sent["messages"][1]["content"]] == ["tool_use"]
    # Manual thinking would need Claude's own before the call.
    assert "thinking" not in sent
    assert rendered.dropped == (Field.THINKING, Field.BUDGET)


def test_foreign_signatures_are_unwrapped_for_their_provider() -> None:
    chat = kit.parse(with_thinking(wrap("c2ln", "gemini_generate", kit.NAME)))
    assert chat.messages[1].parts[0] == Thinking("hm", "c2ln", origin="gemini_generate")


def test_claudes_own_thinking_stays() -> None:
    asked = with_thinking("c2ln", thinking={"type": "enabled", "budget_tokens": 1024})
    assert kit.rebuilt(kit.parse(asked)) == asked


# --- versions and variants


def test_the_version_is_the_backends() -> None:
    chat = kit.parse(body(), anthropic_version="2023-06-01")
    assert kit.rendered(chat).headers["anthropic-version"] == "2023-06-01"
    new = kit.target("claude", api_version="2026-10-21")
    assert kit.rendered(chat, new).headers["anthropic-version"] == "2026-10-21"


@pytest.mark.parametrize("raw", [True, False])
def test_sampling_is_gone_in_the_new_version(raw: bool) -> None:
    """trap 43: absent under 2026-10-21 and named, present under 2023-06-01."""
    asked = body(temperature=1.0, top_p=0.5, top_k=3)
    chat = kit.parse(asked)
    chat = chat if raw else replace(chat, raw=b"")
    new = kit.rendered(chat, kit.target("claude", api_version="2026-10-21"))
    assert json.loads(new.body) == body()
    assert set(new.dropped) == {"temperature", "top_p", "top_k"}
    old = kit.rendered(chat)
    assert (json.loads(old.body), old.dropped) == (asked, ())


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("stream", [True, False])
def test_on_bedrock(raw: bool, stream: bool) -> None:
    chat = kit.parse(body(stream=stream), anthropic_beta="a-1, b-2")
    chat = chat if raw else replace(chat, raw=b"")
    rendered = kit.rendered(chat, kit.target("us.anthropic.claude-v1:0", "bedrock"))
    verb = "invoke-with-response-stream" if stream else "invoke"
    assert rendered.path == f"/model/us.anthropic.claude-v1%3A0/{verb}"
    assert rendered.stream is stream
    assert "anthropic-version" not in rendered.headers
    assert json.loads(rendered.body) == {
        "anthropic_version": "bedrock-2023-05-31",
        "anthropic_beta": ["a-1", "b-2"],
        "max_tokens": 100,
        "messages": ONE,
    }


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("stream", [True, False])
def test_on_vertex(raw: bool, stream: bool) -> None:
    asked = body(stream=stream)
    chat = kit.parse(asked)
    chat = chat if raw else replace(chat, raw=b"")
    to = kit.target("claude-sonnet-4@20250514", "vertex", project="p-1", region="europe-west1")
    rendered = kit.rendered(chat, to)
    verb = "streamRawPredict" if stream else "rawPredict"
    assert rendered.path == (
        "/v1/projects/p-1/locations/europe-west1/publishers/anthropic/models/"
        f"claude-sonnet-4@20250514:{verb}"
    )
    del asked["model"]
    assert json.loads(rendered.body) == {**asked, "anthropic_version": "vertex-2023-10-16"}


@pytest.mark.parametrize(
    ("model", "place"),
    [
        ("publishers/anthropic/models/claude@x", "projects/p-1/locations/eu/publishers/anthropic"),
        (
            "projects/p-2/locations/us/publishers/anthropic/models/claude@x",
            "projects/p-2/locations/us/publishers/anthropic",
        ),
    ],
)
def test_a_model_on_vertex_may_be_named_by_its_path(model: str, place: str) -> None:
    to = kit.target(model, "vertex", project="p-1", region="eu")
    assert kit.rendered(kit.parse(body()), to).path == f"/v1/{place}/models/claude@x:rawPredict"
    count = kit.parse_count(body())
    for asked in (count, replace(count, chat=replace(count.chat, raw=b""))):
        counted = kit.rendered(asked, to)
        assert counted.path == f"/v1/{place}/models/count-tokens:rawPredict"
        assert json.loads(counted.body)["model"] == "claude@x"
    with pytest.raises(InvalidRequest):
        kit.rendered(kit.parse(body()), kit.target("publishers/../x", "vertex", project="p"))


def test_a_version_for_a_variant() -> None:
    chat = kit.parse(body(temperature=1))
    to = kit.target("claude", "bedrock", api_version="2026-10-21")
    sent = kit.sent(chat, to)
    assert sent["anthropic_version"] == "2026-10-21"
    assert "temperature" not in sent


# --- counting, lists, what is only carried


def test_counting() -> None:
    asked = {"model": "claude", "messages": ONE, "system": "s"}
    count = kit.parse_count(asked)
    rendered = kit.rendered(count)
    assert (rendered.path, json.loads(rendered.body)) == ("/v1/messages/count_tokens", asked)
    vertex = kit.rendered(count, kit.target("c", "vertex", project="p", region="global"))
    assert vertex.path.endswith("/publishers/anthropic/models/count-tokens:rawPredict")
    assert json.loads(vertex.body)["model"] == "c"
    with pytest.raises(Unsupported):
        kit.rendered(count, kit.target("c", "bedrock"))


def test_counting_a_foreign_prompt_sends_no_limits() -> None:
    chat = replace(kit.parse(body(temperature=1, stream=True)), raw=b"", dialect="openai_chat")
    count = replace(kit.parse_count(body()), chat=chat)
    assert kit.sent(count) == {"model": "claude", "messages": ONE}


def test_model_lists() -> None:
    cards = [ModelCard("a", "acme", 0), ModelCard("b/c", "acme", 1_700_000_000)]
    request = DIALECT.parse_request(RequestHead("GET", "/v1/models", "", {}, "models"), b"")
    page = json.loads(DIALECT.render_models(cards, request, "gw-1").body)
    assert (page["has_more"], page["first_id"], page["last_id"]) == (False, "a", "b/c")
    assert page["data"][1] == {
        "type": "model",
        "id": "b/c",
        "display_name": "b/c",
        "created_at": "2023-11-14T22:13:20Z",
        "lifecycle": "active",
    }
    one = DIALECT.parse_request(RequestHead("GET", "/v1/models/b%2Fc", "", {}, "model"), b"")
    assert one == ListModels(kit.NAME, "b/c")
    assert json.loads(DIALECT.render_models(cards, one, "gw-1").body)["id"] == "b/c"
    with pytest.raises(NotFound):
        DIALECT.render_models(cards[:1], one, "gw-1")


def carried(path: str, method: str = "GET", data: bytes = b"", query: str = "") -> Opaque:
    headers = {"content-type": "multipart/form-data; boundary=x"} if data else {}
    request = DIALECT.parse_request(RequestHead(method, path, query, headers, "opaque"), data)
    assert isinstance(request, Opaque)
    return request


def test_files_and_batches_are_carried() -> None:
    asked = carried("/v1/files/file_1/content", query="limit=1")
    rendered = kit.rendered(asked, kit.target())
    assert (rendered.method, rendered.path) == ("GET", "/v1/files/file_1/content?limit=1")
    assert rendered.headers == {"anthropic-version": "2023-06-01"}
    for target in (kit.target(variant="bedrock"), kit.target(variant="vertex")):
        with pytest.raises(Unsupported):
            kit.rendered(carried("/v1/messages/batches"), target)


@pytest.mark.parametrize(
    "path", ["/v1/files/../messages", "/v1/files/%2e%2e/x", "/v1/files/a%2F..%2Fb"]
)
def test_a_path_cannot_climb(path: str) -> None:
    """trap 63."""
    with pytest.raises(InvalidRequest):
        carried(path)


def test_which_endpoints_need_the_header() -> None:
    """Paths that another language has too are ours only for clients that name a version."""
    needing = {endpoint.path for endpoint in DIALECT.endpoints if endpoint.header}
    assert needing == {"/v1/models", "/v1/models/*", "/v1/files", "/v1/files/*"}


def test_vision_is_no_business_of_home() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    asked = body(messages=[{"role": "user", "content": [image]}])
    to = kit.target("claude", capabilities=Capabilities(vision=False))
    assert kit.rebuilt(kit.parse(asked), to) == asked
