"""Google's wire, driven by the vendor's own SDK."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from extproc.mock import MockProvider
from tests.mock.raw import request, send

ASK = "What is the capital of France?"
FLASH = "gemini-2.5-flash"
GEN_3 = "gemini-3-flash-preview"
SIGNATURE = b"mock-signature"
WEATHER = types.FunctionDeclaration(
    name="get_weather",
    parameters_json_schema={
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
)


@pytest.fixture
def client(mock: MockProvider) -> genai.Client:
    options = types.HttpOptions(base_url=mock.url, api_version="v1beta")
    return genai.Client(api_key="k", http_options=options)


def say(client: genai.Client, text: Any = ASK, model: str = FLASH, **config: Any) -> Any:
    settings = types.GenerateContentConfig(
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True), **config
    )
    return client.models.generate_content(model=model, contents=text, config=settings)


def tools(**config: Any) -> dict[str, Any]:
    return {"tools": [types.Tool(function_declarations=[WEATHER])], **config}


def forced(*names: str) -> types.ToolConfig:
    calling = types.FunctionCallingConfig(
        mode=types.FunctionCallingConfigMode.ANY, allowed_function_names=list(names) or None
    )
    return types.ToolConfig(function_calling_config=calling)


def refusal(client: genai.Client, *args: Any, **config: Any) -> str:
    with pytest.raises(errors.ClientError) as caught:
        say(client, *args, **config)
    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")
    return str(caught.value.message)


def test_whole_and_stream_say_the_same(client: genai.Client) -> None:
    whole = say(client)
    assert whole.text.startswith(f"You said: {ASK}")
    assert whole.candidates[0].finish_reason is types.FinishReason.STOP
    chunks = list(client.models.generate_content_stream(model=FLASH, contents=ASK))
    assert "".join(chunk.text or "" for chunk in chunks) == whole.text
    last = chunks[-1]
    assert last.candidates is not None
    assert last.candidates[0].finish_reason is types.FinishReason.STOP
    assert last.usage_metadata is not None
    assert last.usage_metadata.total_token_count == whole.usage_metadata.total_token_count


def test_without_events_a_stream_is_one_array(mock: MockProvider) -> None:
    body = json.dumps({"contents": [{"parts": [{"text": ASK}]}]}).encode()
    reply = send(mock, request(body, path=f"/v1beta/models/{FLASH}:streamGenerateContent"))
    assert reply.header("content-type") == "application/json; charset=UTF-8"
    chunks = json.loads(reply.stream)
    assert len(chunks) > 3
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"


def test_a_forced_call_and_its_result(client: genai.Client) -> None:
    asked = say(client, **tools(tool_config=forced("get_weather")))
    call = asked.function_calls[0]
    assert call.name == "get_weather"
    assert list(call.args) == ["city"]
    assert call.id is None
    history = [
        types.Content(role="user", parts=[types.Part(text=ASK)]),
        asked.candidates[0].content,
        types.Content(
            role="user",
            parts=[types.Part.from_function_response(name=call.name, response={"output": "sun"})],
        ),
    ]
    assert "sun" in say(client, history, **tools()).text


def test_the_third_generation_signs_and_wants_it_back(client: genai.Client) -> None:
    asked = say(client, "call both tools in parallel", GEN_3, **tools(tool_config=forced()))
    parts = asked.candidates[0].content.parts
    assert [part.thought_signature for part in parts] == [SIGNATURE, None]
    unsigned = [
        types.Content(role="user", parts=[types.Part(text=ASK)]),
        types.Content(
            role="model", parts=[types.Part.from_function_call(name="get_weather", args={})]
        ),
        types.Content(
            role="user",
            parts=[types.Part.from_function_response(name="get_weather", response={"output": 1})],
        ),
    ]
    assert "thought_signature" in refusal(client, unsigned, GEN_3, **tools())
    assert say(client, unsigned, FLASH, **tools()).text
    model = unsigned[1].parts
    assert model is not None
    model[0].thought_signature = b"wrong"
    assert "not valid" in refusal(client, unsigned, GEN_3, **tools())


def test_thinking_is_shown_when_asked_for(client: genai.Client) -> None:
    config = types.ThinkingConfig(include_thoughts=True, thinking_budget=1024)
    reply = say(client, thinking_config=config)
    first, second = reply.candidates[0].content.parts
    assert (first.thought, second.thought) == (True, None)
    assert reply.usage_metadata.thoughts_token_count > 0
    assert say(client).usage_metadata.thoughts_token_count is None


def test_structured_output_fits_the_schema(client: genai.Client) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}}}
    reply = say(client, response_mime_type="application/json", response_json_schema=schema)
    assert json.loads(reply.text) == {"a": 3}


def test_stops_and_refusals(client: genai.Client) -> None:
    long = say(client, max_output_tokens=3)
    assert long.candidates[0].finish_reason is types.FinishReason.MAX_TOKENS
    refused = say(client, "please refuse")
    assert refused.candidates[0].finish_reason is types.FinishReason.SAFETY
    assert refused.text is None
    assert say(client, candidate_count=2).candidates[1].index == 1


def test_it_is_strict(client: genai.Client) -> None:
    assert "temperature" in refusal(client, temperature=3.0)
    assert "stop sequences" in refusal(client, stop_sequences=list("abcdef"))
    assert "role" in refusal(client, [types.Content(role="system", parts=[types.Part(text="x")])])
    assert "must not be empty" in refusal(client, [types.Content(role="user", parts=[])])
    assert "unsupported" in refusal(client, **tools(response_mime_type="application/json"))
    assert "not a declared" in refusal(client, **tools(tool_config=forced("nothing")))
    level = types.ThinkingConfig(thinking_level=types.ThinkingLevel.LOW)
    assert "not supported" in refusal(client, thinking_config=level)
    assert "not enabled" in refusal(client, ASK, "gemini-2.0-flash", thinking_config=level)
    waiting = [
        types.Content(role="user", parts=[types.Part(text=ASK)]),
        types.Content(role="model", parts=[types.Part.from_function_call(name="f", args={})]),
        types.Content(role="user", parts=[types.Part(text="never mind")]),
    ]
    assert "number of function response parts" in refusal(client, waiting)


def test_errors_are_googles(client: genai.Client) -> None:
    with pytest.raises(errors.ClientError) as caught:
        say(client, model="missing-model")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")
    with pytest.raises(errors.ServerError) as broken:
        say(client, model=f"{FLASH};status=503")
    assert broken.value.status == "UNAVAILABLE"


def test_an_error_in_a_stream_comes_as_bare_lines(client: genai.Client) -> None:
    with pytest.raises(errors.ServerError, match="overloaded"):
        list(client.models.generate_content_stream(model=f"{FLASH};error=2", contents=ASK))


def test_counting_embedding_and_lists(client: genai.Client) -> None:
    counted = client.models.count_tokens(model=FLASH, contents=ASK).total_tokens
    assert counted == len(ASK.split()) + 3
    vectors = client.models.embed_content(
        model="gemini-embedding-001",
        contents=["a", "b"],
        config=types.EmbedContentConfig(output_dimensionality=4),
    ).embeddings
    assert [len(one.values or []) for one in vectors or []] == [4, 4]
    names = [model.name for model in client.models.list()]
    assert f"models/{FLASH}" in names
    assert client.models.get(model=FLASH).name == f"models/{FLASH}"


def test_vertex_predicts_vectors(mock: MockProvider) -> None:
    path = "/v1/projects/p/locations/l/publishers/google/models/text-embedding-005:predict"
    body = json.dumps({"instances": [{"content": "two words", "task_type": "CLUSTERING"}]})
    key = "x-goog-api-key: k\r\n"
    reply = send(mock, request(body.encode(), path=path, headers=key))
    (one,) = json.loads(reply.body)["predictions"]
    assert one["embeddings"]["statistics"]["token_count"] == 2
