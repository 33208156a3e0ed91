"""Converse requests: read, and written again; the path, the options, what is refused."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import botocore.session
import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st

from extproc.credentials.aws_sigv4 import AwsKeys, Scope, SigV4
from extproc.dialects.bedrock_converse import DIALECT
from extproc.dialects.bedrock_converse.words import NAME
from extproc.model.chat import (
    CacheMark,
    Chat,
    Document,
    Extra,
    Image,
    ListModels,
    Message,
    OpaquePart,
    OutputKind,
    Reasoning,
    Role,
    Source,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolMode,
    ToolResult,
)
from extproc.model.dialect import ModelCard
from extproc.model.embed import Count, Opaque
from extproc.model.errors import InvalidRequest, NotFound
from extproc.model.fields import Field
from extproc.model.ports import Signable
from tests.dialects import kit_bedrock as kit
from tests.kit import FakeClock

HI = {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}
FULL = json.loads(kit.fixture("request.json"))


# --- there and back


def test_every_member_comes_back() -> None:
    chat = kit.parse(FULL)
    assert kit.rebuilt(chat) == FULL
    assert kit.render(chat).body == chat.raw


@pytest.mark.parametrize("name", sorted(FULL))
def test_every_member_alone_comes_back(name: str) -> None:
    for body in ({name: FULL[name]}, {**FULL, name: None}):
        assert kit.rebuilt(kit.parse(body)) == body


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": []},
        {"messages": [], "system": [], "inferenceConfig": {}, "toolConfig": {}},
        {"toolConfig": {"tools": [], "toolChoice": {"auto": {}}}},
        {"toolConfig": {"tools": [{"cachePoint": {"type": "default"}}], "toolChoice": {"x": {}}}},
        {"toolConfig": {"tools": [{"toolSpec": {"name": "f"}}]}},
        {"toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": None}}}]}},
        {"toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {}, "new": 1}}]}},
        {"inferenceConfig": {"stopSequences": [], "maxTokens": None}},
        {"requestMetadata": {}, "serviceTier": {}},
        {"serviceTier": {"type": "flex", "more": 1}},
        {"outputConfig": {"textFormat": {"type": "xml"}}, "additionalModelRequestFields": {}},
        {"additionalModelRequestFields": [1], "outputConfig": "x"},
        {"messages": [{"role": "user", "content": []}]},
        {"messages": [{"role": "user", "content": [{"text": " "}], "odd": 1}]},
        {"messages": [{"role": "user", "content": [{"text": "a", "more": 1}, {}]}]},
        {"messages": [{"role": "user", "content": [{"image": {"format": "jpg", "source": {}}}]}]},
        {"messages": [{"role": "user", "content": [{"image": {"format": "png", "source": {"bytes": "AA", "x": 1}}}]}]},
        {"messages": [{"role": "user", "content": [{"cachePoint": {"type": "default", "ttl": "9d"}}]}]},
        {"messages": [{"role": "assistant", "content": [{"reasoningContent": {"reasoningText": {"text": "x", "odd": 1}}}]}]},
        {"messages": [{"role": "user", "content": [{"toolResult": {"toolUseId": "a", "status": None, "content": [{"json": [1, 2.0]}]}}]}]},
        {"messages": [{"role": "assistant", "content": [{"toolUse": {"toolUseId": "a", "name": "f", "input": "text"}}]}]},
        {"messages": [{"role": "system", "content": [{"text": "a"}]}], "system": [{"text": "b"}]},
    ],
)  # fmt: skip
def test_odd_shapes_come_back(body: Any) -> None:
    assert kit.rebuilt(kit.parse(body)) == body


BLOCKS = st.sampled_from([block for m in FULL["messages"] for block in m["content"]])
MESSAGES = st.builds(
    lambda role, content: {"role": role, "content": content},
    st.sampled_from(["user", "assistant", "system"]),
    st.lists(BLOCKS, max_size=5),
)


@given(st.lists(MESSAGES, max_size=4), st.sets(st.sampled_from(sorted(FULL))))
def test_any_conversation_comes_back(messages: list[Any], names: set[str]) -> None:
    body = {**{name: FULL[name] for name in names}, "messages": messages}
    assert kit.rebuilt(kit.parse(body)) == body


# --- what is read


def test_what_the_parts_say() -> None:
    chat = kit.parse(FULL)
    system, user, assistant, results, within = chat.messages
    assert system.role is Role.SYSTEM
    first, guarded = system.parts
    assert first == Text("You know the sea.", CacheMark(3600))
    assert isinstance(guarded, Text) and guarded.text == "Be kind."
    kinds = [type(part).__name__ for part in user.parts]
    assert kinds == [
        "Text", "Image", "OpaquePart", "Document", "Document", "OpaquePart", "Audio", "Text",
        "OpaquePart",
    ]  # fmt: skip
    image, pdf = user.parts[1], user.parts[3]
    assert isinstance(image, Image) and image.source.media_type == "image/png"
    assert isinstance(pdf, Document) and pdf.source.name == "Tide table"
    assert isinstance(user.parts[7], Text) and user.parts[7].cache == CacheMark()
    thinking, redacted, cited, call, server = assistant.parts
    assert thinking == Thinking("Hm.", "c2ln", origin=NAME)
    assert redacted == Thinking(redacted="c2VjcmV0", origin=NAME)
    assert isinstance(cited, Text) and cited.text == "A pier of 300 m."
    assert isinstance(call, ToolCall) and json.loads(call.arguments) == {"port": "Kiel", "days": 2}
    assert isinstance(server, OpaquePart)
    failed, empty, rest = results.parts
    assert isinstance(failed, ToolResult) and failed.is_error
    assert [p.text for p in failed.parts if isinstance(p, Text)] == ["no such port", '{"code":7}']
    assert isinstance(empty, ToolResult) and not empty.is_error
    assert rest == Text("Go on.")
    assert within.role is Role.SYSTEM


def test_what_the_settings_say() -> None:
    chat = kit.parse(FULL, "/model/m/converse-stream")
    assert chat.stream and chat.model == "m"
    sampling = chat.sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p) == (512, 0.4, 0.9)
    assert (sampling.stop, sampling.top_k) == (("END",), 40)
    tide, system, moon = chat.tools
    assert (tide.name, tide.strict, tide.cache) == ("get_tide", True, CacheMark())
    assert (system.name, moon.name) == ("", "get_moon")
    assert chat.tool_choice is not None
    assert (chat.tool_choice.mode, chat.tool_choice.names) == (ToolMode.NAMED, ("get_tide",))
    assert chat.output is not None and chat.output.kind is OutputKind.SCHEMA
    assert (chat.output.schema, chat.output.name) == ({"type": "object"}, "tide")
    assert chat.reasoning == Reasoning(effort="high", budget=2048)
    assert (chat.service_tier, chat.metadata) == ("priority", {"team": "harbour"})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"thinking": {"type": "adaptive"}}, Reasoning(budget=-1)),
        ({"thinking": {"type": "disabled"}}, Reasoning("none", 0)),
        ({"reasoning_effort": "low"}, Reasoning("low")),
        ({"reasoning_config": "high"}, Reasoning("high")),
        ({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}, Reasoning("low")),
        ({"output_config": {"effort": "max"}}, Reasoning("max")),
        ({"thinking": "loud"}, None),
    ],
)
def test_reasoning_in_the_words_of_each_family(fields: Any, expected: Reasoning | None) -> None:
    chat = kit.parse({**HI, "additionalModelRequestFields": fields})
    assert chat.reasoning == expected


def test_a_changed_wish_overrules_what_the_client_said() -> None:
    chat = replace(kit.parse(FULL), reasoning=Reasoning(effort="low"), output=None, raw=b"")
    body = kit.body(chat, model=kit.CLAUDE)
    assert body["additionalModelRequestFields"]["thinking"] == {"type": "adaptive"}
    assert body["outputConfig"] == {"effort": "low"}
    assert body["additionalModelRequestFields"]["anthropic_beta"] == ["x"]


def test_a_changed_text_goes_out_changed() -> None:
    chat = kit.parse(FULL)
    hidden = tuple(
        replace(m, parts=tuple(replace(p, text="#") if isinstance(p, Text) else p for p in m.parts))
        for m in chat.messages
    )
    body = json.dumps(kit.rebuilt(replace(chat, messages=hidden)))
    assert "Bob" not in body and "pier" not in body
    assert '"guardContent": {"text": {"text": "#", "qualifiers": ["guard_content"]}}' in body


def test_our_own_wishes_leave_no_trace() -> None:
    chat = kit.parse({**HI, "sluice": {"tags": ["a"]}})
    assert chat.options.tags == ("a",)
    assert kit.body(chat) == HI
    assert kit.rebuilt(chat) == HI
    assert kit.parse(HI, x_sluice_user="u").options.user == "u"


def test_a_wrapped_signature_never_leaves() -> None:
    """Another provider's reasoning came back through the client: it is no use to Bedrock."""
    foreign = {"reasoningText": {"text": "x", "signature": "sluice1.gemini_generate.eA=="}}
    blob = "c2x1aWNlMS5hbnRocm9waWNfbWVzc2FnZXMuWkdGMFlRPT0="
    content = [{"reasoningContent": foreign}, {"reasoningContent": {"redactedContent": blob}}]
    said = {"role": "assistant", "content": [*content, {"text": "Hi"}]}
    chat = kit.parse({"messages": [*HI["messages"], said]})
    assert chat.messages[1].parts[0] == Thinking("x", "x", origin="gemini_generate")
    assert chat.messages[1].parts[1] == Thinking(redacted="data", origin="anthropic_messages")
    rendered = kit.render(chat)
    assert json.loads(rendered.body)["messages"][1]["content"] == [{"text": "Hi"}]
    assert rendered.dropped == (Field.THINKING,)


# --- refusals


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"[]", None),
        (b'{"messages":[],"messages":[]}', "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": [{"content": []}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": []}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": "Hi"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"text": 1}]}]}, "messages[0].content[0].text"),
        (
            {"messages": [{"role": "user", "content": [{"toolUse": {"name": "f", "input": {}}}]}]},
            "messages[0].content[0].toolUse.toolUseId",
        ),
        ({"inferenceConfig": {"maxTokens": "9"}}, "inferenceConfig.maxTokens"),
        ({"inferenceConfig": ""}, "inferenceConfig"),
        ({"toolConfig": {"tools": [{"toolSpec": {}}]}}, "toolConfig.tools[0].toolSpec.name"),
        ({"requestMetadata": {"a": 1}}, "requestMetadata.a"),
        ({"system": "x"}, "system"),
        ({"\0kind": 1}, None),
    ],
)
def test_what_is_wrong_is_named(body: Any, param: str | None) -> None:
    with pytest.raises(InvalidRequest) as refused:
        kit.parse(body)
    assert refused.value.param == param


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_body_raises_anything_else(body: bytes) -> None:
    for operation in ("converse", "converse-stream", "count-tokens", "invoke"):
        with contextlib.suppress(InvalidRequest):
            kit.request(body, f"/model/amazon.titan-embed-text-v2:0/{operation}")


# --- the model in the path

ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3"


@pytest.mark.parametrize("model", ["amazon.nova-micro-v1:0", ARN, "meta/llama", "eu.x-1@2"])
@pytest.mark.parametrize("safe", ["", ":", "/:"])
def test_models_are_read_from_the_path(model: str, safe: str) -> None:
    chat = kit.parse(HI, f"/model/{quote(model, safe=safe)}/converse")
    assert chat.model == model


@pytest.mark.parametrize(
    "name", ["..", "a%2F..%2Fb", "%2e%2e", "a%252Fb", "a;b", "a%3Fb", "a%00", "%2Fa", "a b", "a//b"]
)
def test_a_name_that_could_be_another_path_is_refused(name: str) -> None:
    """trap 63"""
    with pytest.raises(InvalidRequest):
        kit.parse(HI, f"/model/{name}/converse")


@pytest.mark.parametrize("path", ["/model/", "/model/converse", "/model//converse", "/model/m/x"])
def test_other_paths_are_not_found(path: str) -> None:
    with pytest.raises(NotFound):
        kit.request(HI, path)


class _Caught(Exception):
    pass


def sent_by_botocore(model: str, keys: AwsKeys) -> AWSPreparedRequest:
    """The very request that AWS's client would send, caught before it leaves."""
    session = botocore.session.get_session()
    client = session.create_client(
        "bedrock-runtime",
        region_name="us-east-1",
        aws_access_key_id=keys.access,
        aws_secret_access_key=keys.secret,
        config=Config(retries={"max_attempts": 0}),
    )
    caught: list[AWSPreparedRequest] = []

    def catch(request: AWSPreparedRequest, **_: Any) -> None:
        caught.append(request)
        raise _Caught

    client.meta.events.register("before-send.bedrock-runtime", catch)
    with pytest.raises(_Caught):
        client.converse(modelId=model, messages=[{"role": "user", "content": [{"text": "Hi"}]}])
    return caught[0]


@pytest.mark.parametrize("model", ["us.anthropic.claude-sonnet-4-6", "amazon.nova-micro-v1:0", ARN])
def test_paths_and_signatures_are_botocores_own(model: str) -> None:
    """trap 55"""
    keys = AwsKeys("AKIDEXAMPLE", "secret")
    sent = sent_by_botocore(model, keys)
    rendered = kit.render(kit.parse(json.dumps(HI).encode()), model=model)
    host = "bedrock-runtime.us-east-1.amazonaws.com"
    assert sent.url == f"https://{host}{rendered.path}"
    body = sent.body if isinstance(sent.body, bytes) else str(sent.body).encode()
    assert json.loads(body) == json.loads(rendered.body)
    stamp = str(headers_of(sent)["X-Amz-Date"])
    signer = SigV4(Scope("bedrock", "us-east-1"), FakeClock(unix=time_at(stamp)))
    signable = Signable("POST", host, rendered.path, rendered.headers, body)
    ours = signer.sign(keys, signable)
    assert ours["authorization"] == headers_of(sent)["Authorization"]


def headers_of(sent: AWSPreparedRequest) -> dict[str, str]:
    return {
        name: value.decode() if isinstance(value, bytes) else str(value)
        for name, value in sent.headers.items()
    }


def time_at(stamp: str) -> float:
    return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


# --- beside conversations


def test_counting() -> None:
    inner = {"messages": FULL["messages"], "system": FULL["system"]}
    body = {"input": {"converse": inner}}
    count = kit.request(body, "/model/m/count-tokens")
    assert isinstance(count, Count)
    rendered = kit.render(count, model="m:0")
    assert (rendered.path, rendered.body) == ("/model/m%3A0/count-tokens", count.raw)
    assert kit.body(Count(replace(count.chat, raw=b"")), model="m") == body
    foreign = Chat("openai_chat", "x", (Message(Role.USER, (Text("Hi"),)),), tools=(Tool("f"),))
    assert kit.body(Count(foreign))["input"]["converse"].keys() == {"messages", "toolConfig"}
    with pytest.raises(InvalidRequest):
        kit.request({"input": {}}, "/model/m/count-tokens")


def test_bodies_in_a_models_own_words_are_carried() -> None:
    raw = b'{"anthropic_version":"bedrock-2023-05-31", "max_tokens": 5,"sluice":{"tags":["a"]}}'
    path = f"/model/{quote(ARN, safe='')}/invoke-with-response-stream?x=1"
    request = kit.request(raw, path, content_type="application/json")
    assert isinstance(request, Opaque)
    assert (request.model, request.stream, request.options.tags) == (ARN, True, ("a",))
    rendered = kit.render(request, model="m:1")
    assert rendered.path == "/model/m%3A1/invoke-with-response-stream?x=1"
    assert rendered.body == b'{"anthropic_version":"bedrock-2023-05-31", "max_tokens": 5}'
    count = {"input": {"invokeModel": {"body": "e30="}}}
    assert isinstance(kit.request(count, "/model/m/count-tokens"), Opaque)


def test_model_lists() -> None:
    head = replace(kit.head("/foundation-models"), method="GET", operation="models")
    assert DIALECT.parse_request(head, b"") == ListModels(NAME)
    one = replace(kit.head("/foundation-models/a%3A0"), operation="one-model")
    wanted = DIALECT.parse_request(one, b"")
    assert wanted == ListModels(NAME, "a:0")
    cards = [ModelCard("a:0", "amazon"), ModelCard("b", "meta")]
    listed = json.loads(DIALECT.render_models(cards, ListModels(NAME), "gw-1").body)
    assert [card["modelId"] for card in listed["modelSummaries"]] == ["a:0", "b"]
    found = json.loads(DIALECT.render_models(cards, wanted, "gw-1").body)
    assert found["modelDetails"]["providerName"] == "amazon"
    with pytest.raises(NotFound):
        DIALECT.render_models(cards, ListModels(NAME, "c"), "gw-1")


def test_extras_of_others_stay_away() -> None:
    image = Image(Source(data="AA", media_type="image/png"), extra=Extra("gemini", {"x": 1}))
    chat = Chat("gemini", "m", (Message(Role.USER, (image,), extra=Extra("gemini", {"y": 1})),))
    assert kit.body(chat)["messages"][0] == {
        "role": "user",
        "content": [{"image": {"format": "png", "source": {"bytes": "AA"}}}],
    }
