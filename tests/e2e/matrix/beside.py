"""What clients ask for beside conversations, each in its own SDK: counts of tokens, and vectors."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.genai import types

from tests.e2e.matrix.clients import (
    AnthropicClient,
    BedrockClient,
    ChatClient,
    CohereClient,
    GeminiClient,
    OllamaClient,
    ResponsesClient,
    SimpleClient,
)
from tests.e2e.matrix.matrix import Matrix
from tests.e2e.matrix.providers import PROVIDERS

Vectors = Sequence[Sequence[float]]
Count = Callable[[Matrix, str, str], tuple[int, str]]
"""takes a model and a text, gives the tokens and who counted (`x-sluice-count`)"""
Embed = Callable[[Matrix, str, list[str]], Vectors]

EMBEDDERS = tuple(name for name, one in PROVIDERS.items() if "embedding" in one.skills)
RANKERS = tuple(name for name, one in PROVIDERS.items() if "ranking" in one.skills)
COUNTS_ITSELF = frozenset(
    {
        "openai_responses",
        "anthropic_messages",
        "gemini_generate",
        "bedrock_converse",
        "azure-responses",
        "vertex-claude",
        "vertex-gemini",
    }
)
"""providers that can be asked how many tokens a prompt has"""

_WHO = "x-sluice-count"


def _count_anthropic(matrix: Matrix, model: str, text: str) -> tuple[int, str]:
    client = matrix.client(AnthropicClient)
    messages: Any = [{"role": "user", "content": text}]
    counted = client.sdk.messages.count_tokens(model=model, messages=messages)
    return counted.input_tokens, client.last.headers[_WHO]


def _count_gemini(matrix: Matrix, model: str, text: str) -> tuple[int, str]:
    client = matrix.client(GeminiClient)
    counted = client.sdk.models.count_tokens(model=model, contents=text)
    return counted.total_tokens or 0, client.last.headers[_WHO]


def _count_bedrock(matrix: Matrix, model: str, text: str) -> tuple[int, str]:
    asked = {"converse": {"messages": [{"role": "user", "content": [{"text": text}]}]}}
    reply = matrix.client(BedrockClient).sdk.count_tokens(modelId=model, input=asked)
    return reply["inputTokens"], reply["ResponseMetadata"]["HTTPHeaders"][_WHO]


def _count_responses(matrix: Matrix, model: str, text: str) -> tuple[int, str]:
    client = matrix.client(ResponsesClient)
    counted = client.sdk.responses.input_tokens.count(model=model, input=text)
    return counted.input_tokens, client.last.headers[_WHO]


COUNTS: Mapping[str, Count] = {
    ResponsesClient.name: _count_responses,
    AnthropicClient.name: _count_anthropic,
    GeminiClient.name: _count_gemini,
    BedrockClient.name: _count_bedrock,
}


def _embed_openai(matrix: Matrix, model: str, texts: list[str]) -> Vectors:
    sdk = matrix.client(ChatClient).sdk
    made = sdk.embeddings.create(model=model, input=texts, encoding_format="float")
    return [item.embedding for item in sorted(made.data, key=lambda item: item.index)]


def _embed_openai_packed(matrix: Matrix, model: str, texts: list[str]) -> Vectors:
    sdk = matrix.client(ChatClient).sdk
    made = sdk.embeddings.create(model=model, input=texts, encoding_format="base64")
    return [_unpacked(item.embedding) for item in made.data]


def _unpacked(vector: Any) -> list[float]:
    """32-bit floats, the little end first."""
    assert isinstance(vector, str), "asked for base64"
    data = base64.b64decode(vector)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def _embed_gemini(matrix: Matrix, model: str, texts: list[str]) -> Vectors:
    # Mere strings would become the parts of one content, which has one vector.
    contents: Any = [types.Content(parts=[types.Part(text=text)]) for text in texts]
    made = matrix.client(GeminiClient).sdk.models.embed_content(model=model, contents=contents)
    return [one.values or [] for one in made.embeddings or ()]


def _embed_ollama(matrix: Matrix, model: str, texts: list[str]) -> Vectors:
    return matrix.client(OllamaClient).sdk.embed(model=model, input=texts).embeddings


def _embed_cohere(matrix: Matrix, model: str, texts: list[str]) -> Vectors:
    made = matrix.client(CohereClient).sdk.embed(
        model=model, texts=texts, input_type="search_document", embedding_types=["float"]
    )
    return made.embeddings.float_ or []


def _embed_cohere_packed(matrix: Matrix, model: str, texts: list[str]) -> Vectors:
    made = matrix.client(CohereClient).sdk.embed(
        model=model, texts=texts, input_type="search_document", embedding_types=["base64"]
    )
    return [_unpacked(one) for one in made.embeddings.base64 or ()]


def _embed_simple(matrix: Matrix, model: str, texts: list[str]) -> Vectors:
    vectors: list[list[float]] = []
    for text in texts:
        fields = {"text": text, "model": model}
        reply = matrix.client(SimpleClient).http.post("/embeddings", json=fields)
        assert reply.status_code == 200, reply.text
        vectors.append(reply.json()["embeddings"])
    return vectors


def _embed_bedrock(matrix: Matrix, model: str, texts: list[str]) -> Vectors:
    vectors: list[list[float]] = []
    for text in texts:
        body = json.dumps({"inputText": text})
        reply = matrix.client(BedrockClient).sdk.invoke_model(modelId=model, body=body)
        vectors.append(json.loads(reply["body"].read())["embedding"])
    return vectors


EMBEDS: Mapping[str, Embed] = {
    "openai (float)": _embed_openai,
    "openai (base64)": _embed_openai_packed,
    "google-genai": _embed_gemini,
    "ollama": _embed_ollama,
    "cohere (float)": _embed_cohere,
    "cohere (base64)": _embed_cohere_packed,
    "boto3 (Titan)": _embed_bedrock,
    "simple query": _embed_simple,
}
