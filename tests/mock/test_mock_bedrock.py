"""The Bedrock wire, driven by AWS's own SDK."""

from __future__ import annotations

import json
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from extproc.mock import MockProvider

CLAUDE = "us.anthropic.claude-sonnet-4-6"
ASK = "What is the capital of France?"


@pytest.fixture(scope="module")
def client(running: MockProvider) -> Any:
    return botocore.session.get_session().create_client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=running.base_url.removesuffix("/v1"),
        aws_access_key_id="k",
        aws_secret_access_key="s",
        config=Config(retries={"max_attempts": 0}),
    )


def user(*texts: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"text": text} for text in texts]}


def spec(name: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
        "required": ["city", "days"],
    }
    return {"toolSpec": {"name": name, "inputSchema": {"json": schema}}}


TOOLS = {"tools": [spec("get_weather"), spec("get_news")]}
THINK = {"thinking": {"type": "enabled", "budget_tokens": 1024}}


def blocks(reply: dict[str, Any]) -> list[dict[str, Any]]:
    return reply["output"]["message"]["content"]


def stream(client: Any, **asked: Any) -> list[dict[str, Any]]:
    return list(client.converse_stream(modelId=CLAUDE, **asked)["stream"])


def joined(events: list[dict[str, Any]]) -> str:
    deltas = [e["contentBlockDelta"]["delta"] for e in events if "contentBlockDelta" in e]
    return "".join(delta.get("text", "") for delta in deltas)


def test_whole_and_stream_say_the_same(client: Any) -> None:
    whole = client.converse(modelId=CLAUDE, messages=[user(ASK)])
    text = blocks(whole)[0]["text"]
    assert text.startswith(f"You said: {ASK}")
    assert whole["stopReason"] == "end_turn"
    assert whole["ResponseMetadata"]["RequestId"].startswith("mock")
    events = stream(client, messages=[user(ASK)])
    assert joined(events) == text
    assert events[-1]["metadata"]["usage"] == whole["usage"]
    assert [next(iter(event)) for event in events[-2:]] == ["messageStop", "metadata"]


@pytest.mark.parametrize("model", [CLAUDE, "arn:aws:bedrock:us-east-1:123456789012:x/y:0"])
def test_any_name_in_the_path(client: Any, model: str) -> None:
    assert blocks(client.converse(modelId=model, messages=[user(ASK)]))


def test_calls(client: Any) -> None:
    asked = {"messages": [user("use get_weather")], "toolConfig": TOOLS}
    whole = client.converse(modelId=CLAUDE, **asked)
    use = blocks(whole)[0]["toolUse"]
    assert (use["name"], whole["stopReason"]) == ("get_weather", "tool_use")
    assert use["input"].keys() == {"city", "days"}
    events = stream(client, **asked)
    pieces = [e["contentBlockDelta"]["delta"] for e in events if "contentBlockDelta" in e]
    assert json.loads("".join(p["toolUse"]["input"] for p in pieces)) == use["input"]
    result = {"toolUseId": use["toolUseId"], "content": [{"text": "sunny"}]}
    turns = [
        asked["messages"][0],
        {"role": "assistant", "content": [{"toolUse": use}]},
        {"role": "user", "content": [{"toolResult": result}]},
    ]
    after = client.converse(modelId=CLAUDE, messages=turns, toolConfig=TOOLS)
    assert "sunny" in blocks(after)[0]["text"]


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({"any": {}}, ["get_weather"]),
        ({"tool": {"name": "get_news"}}, ["get_news"]),
        ({"auto": {}}, []),
    ],
)
def test_forced_calls(client: Any, choice: Any, names: list[str]) -> None:
    config = {**TOOLS, "toolChoice": choice}
    reply = client.converse(modelId=CLAUDE, messages=[user("Hi")], toolConfig=config)
    assert [b["toolUse"]["name"] for b in blocks(reply) if "toolUse" in b] == names


def test_parallel_calls(client: Any) -> None:
    asked = [user("call get_weather and get_news in parallel")]
    events = stream(client, messages=asked, toolConfig=TOOLS)
    starts = [e["contentBlockStart"] for e in events if "contentBlockStart" in e]
    assert [start["contentBlockIndex"] for start in starts] == [0, 1]
    assert len({start["start"]["toolUse"]["toolUseId"] for start in starts}) == 2


def test_thinking(client: Any) -> None:
    asked = {"messages": [user(ASK)], "additionalModelRequestFields": THINK}
    whole = client.converse(modelId=CLAUDE, **asked)
    thought = blocks(whole)[0]["reasoningContent"]["reasoningText"]
    assert thought["text"] and thought["signature"]
    events = stream(client, **asked)
    deltas = [e["contentBlockDelta"]["delta"] for e in events if "contentBlockDelta" in e]
    said = [delta.get("reasoningContent", {}) for delta in deltas]
    assert "".join(one.get("text", "") for one in said) == thought["text"]
    assert [one["signature"] for one in said if "signature" in one] == [thought["signature"]]
    forged = {"reasoningContent": {"reasoningText": {"text": "x", "signature": "Zm9yZ2Vk"}}}
    turns = [user("a"), {"role": "assistant", "content": [forged, {"text": "b"}]}, user("c")]
    with pytest.raises(ClientError, match="signature"):
        client.converse(modelId=CLAUDE, messages=turns)


def test_structure(client: Any) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    form = {
        "type": "json_schema",
        "structure": {"jsonSchema": {"schema": json.dumps(schema), "name": "s"}},
    }
    reply = client.converse(modelId=CLAUDE, messages=[user(ASK)], outputConfig={"textFormat": form})
    assert isinstance(json.loads(blocks(reply)[0]["text"])["n"], int)


@pytest.mark.parametrize(
    ("config", "prompt", "stop"),
    [
        ({"maxTokens": 3}, ASK, "max_tokens"),
        ({"stopSequences": ["capital"]}, ASK, "stop_sequence"),
        ({"stopSequences": ["zebra"]}, ASK, "end_turn"),
        ({}, "please refuse", "content_filtered"),
    ],
)
def test_stops(client: Any, config: Any, prompt: str, stop: str) -> None:
    reply = client.converse(modelId=CLAUDE, messages=[user(prompt)], inferenceConfig=config)
    assert reply["stopReason"] == stop


CALL = {"toolUse": {"toolUseId": "c", "name": "f", "input": {}}}
RESULT = {"toolResult": {"toolUseId": "c", "content": [{"text": "x"}]}}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"messages": []}, "start with a user message"),
        ({"messages": [{"role": "assistant", "content": [{"text": "a"}]}]}, "start with a user"),
        ({"messages": [user("a"), user("b")]}, "alternate"),
        ({"messages": [user()]}, "is empty"),
        ({"messages": [user(" ")]}, "is blank"),
        ({"messages": [user("a")], "system": [{"text": "\n"}]}, "is blank"),
        ({"messages": [{"role": "user", "content": [RESULT]}], "toolConfig": TOOLS}, "exceeds"),
        (
            {"messages": [user("a"), {"role": "assistant", "content": [CALL]}, user("b")]},
            "toolConfig field must be defined",
        ),
        (
            {
                "messages": [user("a"), {"role": "assistant", "content": [CALL]}, user("b")],
                "toolConfig": TOOLS,
            },
            "Expected toolResult blocks",
        ),
        ({"messages": [user("a")], "inferenceConfig": {"temperature": 1.5}}, "temperature"),
        ({"messages": [user("a")], "toolConfig": {"tools": [spec("a b")]}}, "regular expression"),
        (
            {
                "messages": [user("a")],
                "toolConfig": {**TOOLS, "toolChoice": {"tool": {"name": "x"}}},
            },
            "not among",
        ),
        (
            {
                "messages": [user("a")],
                "toolConfig": {**TOOLS, "toolChoice": {"any": {}}},
                "additionalModelRequestFields": THINK,
            },
            "Thinking may not",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"text": "a"},
                            {
                                "document": {
                                    "name": "a.pdf",
                                    "format": "pdf",
                                    "source": {"bytes": b"x"},
                                }
                            },
                        ],
                    }
                ]
            },
            "file name",
        ),
    ],
)
def test_refusals(client: Any, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(client.exceptions.ValidationException, match=message):
        client.converse(modelId=CLAUDE, **asked)


def test_no_such_model(client: Any) -> None:
    with pytest.raises(client.exceptions.ValidationException, match="identifier is invalid"):
        client.converse(modelId="missing-model", messages=[user("a")])


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (403, "AccessDeniedException"),
        (424, "ModelErrorException"),
        (429, "ThrottlingException"),
        (500, "InternalServerException"),
        (503, "ServiceUnavailableException"),
    ],
)
def test_faults_raise_the_sdks_exceptions(client: Any, status: int, name: str) -> None:
    with pytest.raises(getattr(client.exceptions, name)):
        client.converse(modelId=CLAUDE, messages=[user(f"a [[mock status={status}]]")])


def test_a_failure_in_a_stream(client: Any) -> None:
    with pytest.raises(EventStreamError) as raised:
        stream(client, messages=[user("a [[mock error=3]]")])
    assert "modelStreamErrorException" in str(raised.value)


def test_faults_of_content(client: Any) -> None:
    reply = client.converse(modelId=CLAUDE, messages=[user("a [[mock usage=7,9]]")])
    assert (reply["usage"]["inputTokens"], reply["usage"]["outputTokens"]) == (7, 9)
    events = stream(client, messages=[user("a [[mock no-usage events=2]]")])
    assert "usage" not in events[-1]["metadata"]
    assert len([event for event in events if "contentBlockDelta" in event]) == 2


def test_counting(client: Any) -> None:
    given = {"converse": {"messages": [user("one two three")]}}
    counted = client.count_tokens(modelId=CLAUDE, input=given)
    whole = client.converse(modelId=CLAUDE, messages=[user("one two three")])
    assert counted["inputTokens"] == whole["usage"]["inputTokens"]
    with pytest.raises(ClientError):
        client.count_tokens(modelId=CLAUDE, input={"converse": {"messages": []}})


def test_embeddings(client: Any) -> None:
    def invoke(model: str, body: Any) -> Any:
        reply = client.invoke_model(modelId=model, body=json.dumps(body))
        return json.loads(reply["body"].read())

    titan = invoke("amazon.titan-embed-text-v2:0", {"inputText": "a b", "dimensions": 16})
    assert (len(titan["embedding"]), titan["inputTextTokenCount"]) == (16, 2)
    cohere = invoke("cohere.embed-english-v3", {"texts": ["a", "b"], "input_type": "search_query"})
    assert len(cohere["embeddings"]) == 2
    with pytest.raises(ClientError):
        invoke("cohere.embed-english-v3", {"texts": ["a"]})
    with pytest.raises(ClientError):
        invoke("meta.llama4", {"prompt": "a"})


def test_rankings(client: Any) -> None:
    asked = {"query": "red dog", "documents": ["a cat", "a red dog"], "top_n": 1}

    def invoke(model: str, body: Any) -> Any:
        reply = client.invoke_model(modelId=model, body=json.dumps(body))
        return json.loads(reply["body"].read())

    best = {"results": [{"index": 1, "relevance_score": 1.0}]}
    assert invoke("amazon.rerank-v1:0", asked) == best
    assert invoke("cohere.rerank-v3-5:0", {**asked, "api_version": 2}) == best
    for model, body in (
        ("cohere.rerank-v3-5:0", asked),
        ("amazon.rerank-v1:0", {**asked, "api_version": 2}),
        ("amazon.rerank-v1:0", {"query": "q"}),
    ):
        with pytest.raises(ClientError):
            invoke(model, body)
