"""Rankings: Cohere's SDK and plain Jina bodies, answered by whoever ranks, in whatever shape."""

from __future__ import annotations

from typing import Any

import cohere
import pytest

from tests.e2e.everyone import CHAT_MODELS
from tests.e2e.harness import Gateway

# Cohere's SDK uses what its own base has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute")

DOCUMENTS = ["bread", "a river runs to the sea", "the sea is blue"]
AMAZON = "amazon.rerank-v1:0"
MODELS = {"vllm": "vllm/bge-reranker-v2-m3", "cohere": "rerank-v3.5", "bedrock": AMAZON}
SENT: dict[str, tuple[str, dict[str, Any]]] = {
    "vllm": ("/vllm/v1/rerank", {"model": MODELS["vllm"], "return_documents": False}),
    "cohere": ("/v2/rerank", {"model": MODELS["cohere"]}),
    "bedrock": ("/model/amazon.rerank-v1%3A0/invoke", {}),
}
"""where each provider is asked, and with what beside query, documents and number"""

each = pytest.mark.parametrize("provider", MODELS)


def check(gateway: Gateway, provider: str, call_id: str) -> None:
    """What came to the provider, with whose key, and what the account says of it."""
    (request,) = gateway.mock.requests
    path, members = SENT[provider]
    assert request.path == path
    assert request.json == {"query": "river sea", "documents": DOCUMENTS, "top_n": 2, **members}
    assert f"key-of-{provider}" in str(request.raw_headers)
    line = gateway.wait_exchange(call_id)
    assert (line["provider"], line["model"]) == (provider, MODELS[provider])
    assert line["outcome"] == "ok"
    assert (line["input_tokens"] > 0) == (provider != "cohere")


@each
def test_coheres_sdk(everyone: Gateway, provider: str) -> None:
    """A15"""
    client = cohere.ClientV2("key", base_url=everyone.url)
    got = client.with_raw_response.rerank(
        model=MODELS[provider], query="river sea", documents=DOCUMENTS, top_n=2
    )
    assert [(one.index, one.relevance_score) for one in got.data.results] == [(1, 1.0), (2, 0.5)]
    check(everyone, provider, got.headers["x-sluice-call-id"])


@each
def test_a_plain_jina_body(everyone: Gateway, provider: str) -> None:
    """A15: documents are given back by us, whoever ranked them."""
    body = {"model": MODELS[provider], "query": "river sea", "documents": DOCUMENTS, "top_n": 2}
    if provider == "vllm":
        body["return_documents"] = False
    with everyone.http() as client:
        answer = client.post("/v1/rerank", json=body)
    assert answer.status_code == 200
    reply = answer.json()
    assert [one["index"] for one in reply["results"]] == [1, 2]
    if provider != "vllm":
        assert reply["model"] == MODELS[provider]
        assert reply["results"][0]["document"] == {"text": DOCUMENTS[1]}
    check(everyone, provider, answer.headers["x-sluice-call-id"])


@pytest.mark.parametrize("provider", ["vllm", "cohere"])
def test_coheres_older_client(everyone: Gateway, provider: str) -> None:
    """A15: told apart from Jina's by what its SDK says of itself."""
    client = cohere.Client("key", base_url=everyone.url)
    made = client.rerank(
        model=MODELS[provider],
        query="river",
        documents=[{"text": one} for one in DOCUMENTS],
        return_documents=True,
    )
    first = made.results[0]
    assert first.document is not None and first.document.text == DOCUMENTS[1]
    assert made.meta is not None and made.meta.api_version is not None
    (request,) = everyone.mock.requests
    assert request.path == ("/v1/rerank" if provider == "cohere" else "/vllm/v1/rerank")


def test_what_does_not_rank_says_so(everyone: Gateway) -> None:
    client = cohere.ClientV2("key", base_url=everyone.url)
    for name in ("anthropic", "gemini", "ollama", "bedrock"):
        with pytest.raises(cohere.BadRequestError):
            client.rerank(model=CHAT_MODELS[name], query="q", documents=["a"])
    assert not everyone.mock.requests


def test_an_error_comes_in_the_clients_shape(everyone: Gateway) -> None:
    with everyone.http() as client:
        answer = client.post("/v1/rerank", json={"model": "rerank-v3.5", "query": "q"})
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "documents"
        mine = client.post("/v2/rerank", json={"model": "rerank-v3.5", "query": "q"})
        assert "documents" in mine.json()["message"]
