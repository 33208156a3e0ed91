"""What languages have beside conversations, between every client and every provider.

Counting, model lists, vectors, ranking; and what holds for all of them: strictness,
limits, headers, names of models, streams that break.
"""

from __future__ import annotations

from collections.abc import Callable

import cohere
import openai
import pytest

from tests.e2e.matrix.beside import COUNTS, COUNTS_ITSELF, EMBEDDERS, EMBEDS, RANKERS
from tests.e2e.matrix.clients import (
    CLIENTS,
    AnthropicClient,
    ChatClient,
    CohereClient,
    GeminiClient,
    OllamaClient,
    ResponsesClient,
)
from tests.e2e.matrix.matrix import Matrix
from tests.e2e.matrix.providers import LANGUAGES, VARIANTS, alias, any_model
from tests.e2e.matrix.talk import Ask, Client, Failed
from tests.e2e.processes import eventually

# Cohere's SDK uses what its own base has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute")

NAMES = tuple(provider.name for provider in LANGUAGES)
VARIANT_NAMES = tuple(provider.name for provider in VARIANTS)
TEXTS = ["one small text", "and another"]

of_providers = pytest.mark.parametrize("provider", NAMES)


# --- counting


@pytest.mark.parametrize("provider", [*NAMES, *VARIANT_NAMES])
@pytest.mark.parametrize("client", COUNTS)
def test_counting_costs_nothing(matrix: Matrix, client: str, provider: str) -> None:
    """trap 60: what a prompt has is told, and who counted; the account does not see it."""
    count = COUNTS[client]
    before = matrix.gateway.metric("sluice_tokens_total")
    short, by = count(matrix, alias(provider), "a few words")
    long, _ = count(matrix, alias(provider), "a few words and then many more of them " * 20)
    assert 0 < short < long
    assert by == ("provider" if provider in COUNTS_ITSELF else "estimate")
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
    assert {alias(provider) for provider in NAMES} <= names
    assert matrix.gateway.metric("sluice_tokens_total") == before


# --- vectors


@pytest.mark.parametrize("provider", EMBEDDERS)
@pytest.mark.parametrize("client", EMBEDS)
def test_vectors(matrix: Matrix, client: str, provider: str) -> None:
    embed, model = EMBEDS[client], alias(provider, "embedding")
    if provider == "bedrock_converse":
        # Titan takes one text at a time.
        vectors = [vector for text in TEXTS for vector in embed(matrix, model, [text])]
    else:
        vectors = embed(matrix, model, TEXTS)
    assert len(vectors) == len(TEXTS)
    assert len(vectors[0]) == len(vectors[1]) > 1
    assert list(vectors[0]) != list(vectors[1])
    assert all(isinstance(number, float) for number in vectors[0])


@pytest.mark.parametrize("provider", EMBEDDERS)
def test_packed_or_not_the_numbers_are_the_same(matrix: Matrix, provider: str) -> None:
    model, text = alias(provider, "embedding"), TEXTS[:1]
    plain = EMBEDS["openai (float)"](matrix, model, text)[0]
    for packed in ("openai (base64)", "cohere (base64)"):
        assert EMBEDS[packed](matrix, model, text)[0] == pytest.approx(plain, rel=1e-6)


@pytest.mark.parametrize(
    "provider", ["openai_chat", "bedrock_converse", "ollama_chat", "cohere_chat"]
)
def test_vectors_are_booked(matrix: Matrix, provider: str) -> None:
    """A14: by the tokens that the provider tells."""
    before = matrix.gateway.metric("sluice_tokens_total")
    EMBEDS["openai (float)"](matrix, alias(provider, "embedding"), TEXTS[:1])
    eventually(lambda: matrix.gateway.metric("sluice_tokens_total") > before, 5, "tokens booked")


def test_a_list_for_a_model_of_one_text(matrix: Matrix) -> None:
    with pytest.raises(openai.BadRequestError, match="one by one") as caught:
        EMBEDS["openai (float)"](matrix, alias("bedrock_converse", "embedding"), TEXTS)
    assert caught.value.param == "input"


@pytest.mark.parametrize("provider", sorted(set(NAMES) - set(EMBEDDERS)))
def test_vectors_where_there_are_none(matrix: Matrix, provider: str) -> None:
    sdk = matrix.client(ChatClient).sdk
    with pytest.raises(openai.BadRequestError):
        sdk.embeddings.create(model=alias(provider), input=TEXTS)


# --- ranking


@pytest.mark.parametrize("provider", RANKERS)
def test_ranking(matrix: Matrix, provider: str) -> None:
    sdk = matrix.client(CohereClient).sdk
    documents = ["the sea is blue", "a river runs to the sea", "bread"]
    made = sdk.rerank(model=alias(provider, "ranking"), query="river", documents=documents, top_n=2)
    assert [one.index for one in made.results] == [1, 0]


@pytest.mark.parametrize("provider", sorted(set(NAMES) - set(RANKERS)))
def test_ranking_where_there_is_none(matrix: Matrix, provider: str) -> None:
    sdk = matrix.client(CohereClient).sdk
    with pytest.raises(cohere.BadRequestError):
        sdk.rerank(model=alias(provider), query="river", documents=["a", "b"])


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


of_faults = pytest.mark.parametrize("fault", ["error=6", "end=6"])


@of_faults
@of_providers
@pytest.mark.parametrize("kind", CLIENTS, ids=lambda kind: kind.dialect)
def test_a_broken_stream_is_told_and_not_tried_again(
    matrix: Matrix, kind: type[Client], provider: str, fault: str
) -> None:
    """trap 61: the client has seen a part of it, so there is no second attempt."""
    _break(matrix, kind, provider, fault)


@of_faults
@pytest.mark.parametrize("provider", VARIANT_NAMES)
@pytest.mark.parametrize("kind", [ChatClient, AnthropicClient], ids=lambda kind: kind.dialect)
def test_a_variants_broken_stream(
    matrix: Matrix, kind: type[Client], provider: str, fault: str
) -> None:
    _break(matrix, kind, provider, fault)


def _break(matrix: Matrix, kind: type[Client], provider: str, fault: str) -> None:
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

PATHLIKE = ["../../etc", "a/../b", "a%2Fb", "a%2e%2e", "a;b=c", "a?b=c", "a#b", "a\\b", "a\nb"]


@pytest.mark.parametrize("provider", ["gemini_generate", "bedrock_converse"])
@pytest.mark.parametrize("name", PATHLIKE)
def test_names_that_would_be_paths(matrix: Matrix, name: str, provider: str) -> None:
    """trap 63: refused before a path is made of it."""
    matrix.gateway.mock.clear()
    sdk = matrix.client(ChatClient).sdk
    with pytest.raises(openai.BadRequestError):
        sdk.chat.completions.create(
            model=any_model(provider) + name, messages=[{"role": "user", "content": "hi"}]
        )
    assert not matrix.gateway.mock.requests
