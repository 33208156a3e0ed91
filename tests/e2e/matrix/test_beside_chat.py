"""What languages have beside conversations, between every client and every provider.

Counting, model lists, vectors, ranking; and what holds for all of them: strictness,
limits, headers, names of models, streams that break.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import cohere
import openai
import pytest
from google.genai import types

from tests.e2e.matrix.clients import (
    CLIENTS,
    AnthropicClient,
    BedrockClient,
    ChatClient,
    CohereClient,
    GeminiClient,
    OllamaClient,
    ResponsesClient,
    SimpleClient,
)
from tests.e2e.matrix.matrix import MODELS, SKILLED, Matrix, any_model
from tests.e2e.matrix.scenarios import alias
from tests.e2e.matrix.talk import Ask, Client, Failed

# Cohere's SDK uses what its own base has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute")

PROVIDERS = tuple(MODELS)
EMBEDDERS = tuple(SKILLED["embedding"])
TEXTS = ["one small text", "and another"]
Vectors = Sequence[Sequence[float]]

of_providers = pytest.mark.parametrize("provider", PROVIDERS)


# --- counting


def _count_anthropic(matrix: Matrix, model: str, text: str) -> int:
    sdk = matrix.client(AnthropicClient).sdk
    messages: Any = [{"role": "user", "content": text}]
    return sdk.messages.count_tokens(model=model, messages=messages).input_tokens


def _count_gemini(matrix: Matrix, model: str, text: str) -> int:
    return (
        matrix.client(GeminiClient).sdk.models.count_tokens(model=model, contents=text).total_tokens
        or 0
    )


def _count_bedrock(matrix: Matrix, model: str, text: str) -> int:
    asked = {"converse": {"messages": [{"role": "user", "content": [{"text": text}]}]}}
    return matrix.client(BedrockClient).sdk.count_tokens(modelId=model, input=asked)["inputTokens"]


def _count_responses(matrix: Matrix, model: str, text: str) -> int:
    return (
        matrix.client(ResponsesClient)
        .sdk.responses.input_tokens.count(model=model, input=text)
        .input_tokens
    )


@of_providers
@pytest.mark.parametrize(
    "count", [_count_anthropic, _count_gemini, _count_bedrock, _count_responses]
)
def test_counting_costs_nothing(
    matrix: Matrix, count: Callable[[Matrix, str, str], int], provider: str
) -> None:
    """trap 60: what a prompt has is told, and the account does not see it."""
    before = matrix.gateway.metric("sluice_tokens_total")
    short = count(matrix, alias(provider), "a few words")
    long = count(matrix, alias(provider), "a few words and then many more of them " * 20)
    assert 0 < short < long
    assert matrix.gateway.metric("sluice_tokens_total") == before


# --- model lists


def _names_cohere(matrix: Matrix) -> set[str]:
    key = matrix.gateway.key
    sdk = cohere.Client(
        key, base_url=matrix.gateway.url, httpx_client=matrix.client(CohereClient).http
    )
    return {model.name or "" for model in sdk.models.list().models}


LISTS: dict[str, Callable[[Matrix], set[str]]] = {
    "openai": lambda m: {one.id for one in m.client(ChatClient).sdk.models.list()},
    "anthropic": lambda m: {one.id for one in m.client(AnthropicClient).sdk.models.list()},
    "google-genai": lambda m: {
        (one.name or "").removeprefix("models/") for one in m.client(GeminiClient).sdk.models.list()
    },
    "ollama": lambda m: {one.model or "" for one in m.client(OllamaClient).sdk.list().models},
    "cohere": _names_cohere,
}


@pytest.mark.parametrize("client", LISTS)
def test_every_sdk_lists_the_models(matrix: Matrix, client: str) -> None:
    """trap 60: and it costs nothing."""
    before = matrix.gateway.metric("sluice_tokens_total")
    names = LISTS[client](matrix)
    assert {alias(provider) for provider in PROVIDERS} <= names
    assert matrix.gateway.metric("sluice_tokens_total") == before


# --- vectors


def _embed_openai(matrix: Matrix, model: str, texts: list[str]) -> Vectors:
    made = matrix.client(ChatClient).sdk.embeddings.create(model=model, input=texts)
    return [item.embedding for item in sorted(made.data, key=lambda item: item.index)]


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


EMBED = [
    _embed_openai,
    _embed_gemini,
    _embed_ollama,
    _embed_cohere,
    _embed_simple,
    _embed_bedrock,
]
Embedding = Callable[[Matrix, str, list[str]], Vectors]


@pytest.mark.parametrize("provider", EMBEDDERS)
@pytest.mark.parametrize("embed", EMBED)
def test_vectors(matrix: Matrix, embed: Embedding, provider: str) -> None:
    model = alias(provider, "embedding")
    if provider == "bedrock_converse":
        # Titan takes one text at a time.
        vectors = [vector for text in TEXTS for vector in embed(matrix, model, [text])]
    else:
        vectors = embed(matrix, model, TEXTS)
    assert len(vectors) == len(TEXTS)
    assert len(vectors[0]) == len(vectors[1]) > 1
    assert list(vectors[0]) != list(vectors[1])
    assert all(isinstance(number, float) for number in vectors[0])


def test_a_list_for_a_model_of_one_text(matrix: Matrix) -> None:
    with pytest.raises(openai.BadRequestError, match="one by one") as caught:
        _embed_openai(matrix, alias("bedrock_converse", "embedding"), TEXTS)
    assert caught.value.param == "input"


@pytest.mark.parametrize("provider", sorted(set(PROVIDERS) - set(EMBEDDERS)))
def test_vectors_where_there_are_none(matrix: Matrix, provider: str) -> None:
    sdk = matrix.client(ChatClient).sdk
    with pytest.raises(openai.BadRequestError):
        sdk.embeddings.create(model=alias(provider), input=TEXTS)


# --- ranking


def test_ranking(matrix: Matrix) -> None:
    sdk = matrix.client(CohereClient).sdk
    documents = ["the sea is blue", "a river runs to the sea", "bread"]
    made = sdk.rerank(
        model=alias("cohere_chat", "ranking"), query="river", documents=documents, top_n=2
    )
    assert len(made.results) == 2
    assert {one.index for one in made.results} <= {0, 1, 2}


@pytest.mark.parametrize("provider", sorted(set(PROVIDERS) - {"cohere_chat"}))
def test_ranking_where_there_is_none(matrix: Matrix, provider: str) -> None:
    sdk = matrix.client(CohereClient).sdk
    with pytest.raises(cohere.BadRequestError):
        sdk.rerank(model=alias(provider), query="river", documents=["a", "b"])


# --- strictness


@pytest.mark.parametrize("provider", ["anthropic_messages", "bedrock_converse", "openai_responses"])
def test_what_would_be_dropped_is_refused_on_demand(matrix: Matrix, provider: str) -> None:
    client = matrix.client(ChatClient)
    ask: dict[str, Any] = {
        "model": alias(provider),
        "messages": [{"role": "user", "content": "hi"}],
        "seed": 7,
    }
    client.sdk.chat.completions.create(**ask)
    assert client.last.dropped == ("seed",)
    matrix.gateway.mock.clear()
    with pytest.raises(openai.BadRequestError, match="seed") as caught:
        client.sdk.chat.completions.create(**ask, extra_headers={"x-sluice-strict": "1"})
    assert caught.value.param == "seed"
    assert not matrix.gateway.mock.requests


# --- limits


LIMITS = {
    "openai_chat": "header=x-ratelimit-limit-requests:50 header=x-ratelimit-remaining-requests:41",
    "anthropic_messages": "header=anthropic-ratelimit-requests-limit:50"
    " header=anthropic-ratelimit-requests-remaining:41",
}


@pytest.mark.parametrize("provider", LIMITS)
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ChatClient, "x-ratelimit-remaining-requests"),
        (ResponsesClient, "x-ratelimit-remaining-requests"),
        (AnthropicClient, "anthropic-ratelimit-requests-remaining"),
    ],
)
def test_limits_speak_the_clients_language(
    matrix: Matrix, kind: type[Client], name: str, provider: str
) -> None:
    client = matrix.client(kind)
    talk = client.talk(Ask(alias(provider)))
    talk.user(f"[[mock {LIMITS[provider]}]] hi")
    talk.ask(stream=False)
    assert client.last.headers[name] == "41"


# --- streams that break


@pytest.mark.parametrize("fault", ["error=6", "end=6"])
@of_providers
@pytest.mark.parametrize("kind", CLIENTS, ids=lambda kind: kind.dialect)
def test_a_broken_stream_is_told_and_not_tried_again(
    matrix: Matrix, kind: type[Client], provider: str, fault: str
) -> None:
    """trap 61: the client has seen a part of it, so there is no second attempt."""
    client = matrix.client(kind)
    matrix.gateway.mock.clear()
    talk = client.talk(Ask(alias(provider)))
    talk.user(f"[[mock words=30 {fault}]] a story")
    with pytest.raises(Failed):
        talk.ask(stream=True)
    assert len(matrix.gateway.mock.requests) == 1


# --- headers


@of_providers
def test_a_providers_own_headers_stay_with_us(matrix: Matrix, provider: str) -> None:
    """trap 62"""
    client = matrix.client(ChatClient)
    talk = client.talk(Ask(alias(provider)))
    theirs = (
        "header=set-cookie:a=b header=authorization:secret header=x-internal:1"
        " header=proxy-authenticate:Basic header=keep-alive:timeout=5 header=www-authenticate:x"
    )
    for stream in (False, True):
        talk.user(f"[[mock {theirs}]] hi")
        talk.ask(stream=stream)
        headers = client.last.headers
        assert not headers.keys() & {
            "set-cookie",
            "authorization",
            "x-internal",
            "proxy-authenticate",
            "keep-alive",
            "www-authenticate",
        }


# --- names of models

NAMES = ["../../etc", "a/../b", "a%2Fb", "a%2e%2e", "a;b=c", "a?b=c", "a#b", "a\\b", "a\nb"]


@pytest.mark.parametrize("provider", ["gemini_generate", "bedrock_converse"])
@pytest.mark.parametrize("name", NAMES)
def test_names_that_would_be_paths(matrix: Matrix, name: str, provider: str) -> None:
    """trap 63: refused before a path is made of it."""
    matrix.gateway.mock.clear()
    sdk = matrix.client(ChatClient).sdk
    with pytest.raises(openai.BadRequestError):
        sdk.chat.completions.create(
            model=any_model(provider) + name, messages=[{"role": "user", "content": "hi"}]
        )
    assert not matrix.gateway.mock.requests
