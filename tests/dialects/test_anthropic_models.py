"""The model list, page by page, as the real SDK turns them."""

from __future__ import annotations

import json

import anthropic
import httpx2
import pytest

from extproc.dialects.anthropic_messages import DIALECT
from extproc.model.chat import ListModels
from extproc.model.dialect import ModelCard, RequestHead
from extproc.model.errors import InvalidRequest

IDS = [f"model-{i}" for i in range(7)]
CARDS = [ModelCard(name, "acme", 1_700_000_000) for name in IDS]


def listed(query: str) -> tuple[list[str], bool]:
    head = RequestHead("GET", "/v1/models", query, {}, "models")
    page = json.loads(DIALECT.render_models(CARDS, DIALECT.parse_request(head, b""), "gw-1").body)
    ids = [card["id"] for card in page["data"]]
    assert (page["first_id"], page["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
    return ids, page["has_more"]


def sdk() -> anthropic.Anthropic:
    def answer(request: httpx2.Request) -> httpx2.Response:
        head = RequestHead("GET", request.url.path, request.url.query.decode(), {}, "models")
        reply = DIALECT.render_models(CARDS, DIALECT.parse_request(head, b""), "gw-1")
        return httpx2.Response(reply.status, headers=dict(reply.headers), content=reply.body)

    transport = httpx2.MockTransport(answer)
    return anthropic.Anthropic(api_key="k", http_client=httpx2.Client(transport=transport))


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
def test_the_sdk_reads_every_page(limit: int) -> None:
    assert [model.id for model in sdk().models.list(limit=limit)] == IDS


def test_the_sdk_reads_backwards() -> None:
    page = sdk().models.list(before_id="model-5", limit=2)
    assert [model.id for model in page.data] == ["model-3", "model-4"]
    assert [model.id for model in page.get_next_page().data] == ["model-1", "model-2"]
    assert [model.id for model in page] == [f"model-{i}" for i in (3, 4, 1, 2, 0)]


@pytest.mark.parametrize(
    ("query", "ids", "more"),
    [
        ("", IDS, False),
        ("beta=true", IDS, False),
        ("limit=2", IDS[:2], True),
        ("limit=7", IDS, False),
        ("after_id=model-4", IDS[5:], False),
        ("after_id=model-6&limit=3", [], False),
        ("before_id=model-0", [], False),
        ("before_id=model-2", IDS[:2], False),
        ("before_id=model-2&limit=1", ["model-1"], True),
    ],
)
def test_pages(query: str, ids: list[str], more: bool) -> None:
    assert listed(query) == (ids, more)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=1001", "limit"),
        ("limit=many", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("limit=\u0662", "limit"),
        ("after_id=nobody", "after_id"),
        ("before_id=nobody", "before_id"),
    ],
)
def test_no_such_page(query: str, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        DIALECT.render_models(CARDS, ListModels("anthropic_messages", query=query), "gw-1")
    assert refused.value.param == param
    assert len(refused.value.message) < 200
