"""Errors of OpenAI Responses: what providers say becomes ours, and SDKs raise what they would at home."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from extproc.dialects.openai_responses import DIALECT
from extproc.dialects.openai_responses.errors import failed_error
from extproc.model.chat import ListModels
from extproc.model.dialect import ModelCard, RateLimit, ReplyHead
from extproc.model.errors import (
    BudgetSpent,
    ContentBlocked,
    ContextTooLong,
    GatewayError,
    InvalidRequest,
    NotFound,
    Origin,
    Overloaded,
    RateLimited,
    Timeout,
    UpstreamBad,
)
from tests.dialects import kit_responses as kit
from tests.dialects.reading import failure

FAILED: list[tuple[str | None, type[GatewayError], int]] = [
    ("server_error", UpstreamBad, 500),
    ("rate_limit_exceeded", RateLimited, 429),
    ("invalid_prompt", InvalidRequest, 400),
    ("bio_policy", ContentBlocked, 400),
    ("misalignment_policy_violation", ContentBlocked, 400),
    ("image_content_policy_violation", ContentBlocked, 400),
    ("data_residency_mismatch", InvalidRequest, 400),
    ("vector_store_timeout", Timeout, 504),
    ("invalid_image", InvalidRequest, 400),
    ("image_too_large", InvalidRequest, 400),
    ("failed_to_download_image", InvalidRequest, 400),
    ("something_new", UpstreamBad, 502),
    (None, UpstreamBad, 502),
]


@pytest.mark.parametrize(("code", "kind", "status"), FAILED)
def test_why_a_response_failed(code: str | None, kind: type[GatewayError], status: int) -> None:
    error = failed_error({"error": {"code": code, "message": "no", "param": "input"}})
    assert type(error) is kind
    assert (error.status, error.message, error.param) == (status, "no", "input")
    assert error.origin is Origin.PROVIDER


@pytest.mark.parametrize("odd", [None, 7, {}, {"code": 7, "message": []}])
def test_a_failure_that_says_nothing(odd: Any) -> None:
    assert isinstance(failed_error({"error": odd}), UpstreamBad)


STATUSES: list[tuple[int, str | None, type[GatewayError]]] = [
    (400, "context_length_exceeded", ContextTooLong),
    (401, "invalid_api_key", UpstreamBad),
    (404, "model_not_found", NotFound),
    (429, "rate_limit_exceeded", RateLimited),
    (429, "insufficient_quota", BudgetSpent),
    (503, "server_is_overloaded", Overloaded),
]


@pytest.mark.parametrize(("status", "code", "kind"), STATUSES)
def test_a_providers_error(status: int, code: str | None, kind: type[GatewayError]) -> None:
    said = {"message": "no", "type": "x", "param": None, "code": code}
    body = json.dumps({"error": said}).encode()
    error = failure(kit.decode(body, {**kit.JSON, "retry-after": "3"}, status))
    assert type(error) is kind
    if status == 429 or status == 503:
        assert error.retry_after == 3


SDK: list[tuple[GatewayError, type[Exception]]] = [
    (InvalidRequest("x"), openai.BadRequestError),
    (NotFound("x"), openai.NotFoundError),
    (RateLimited("x", retry_after=2), openai.RateLimitError),
    (BudgetSpent("x"), openai.RateLimitError),
    (Overloaded("x"), openai.InternalServerError),
]


@pytest.mark.parametrize(("error", "wanted"), SDK)
def test_the_sdk_raises_what_it_raises_at_home(
    error: GatewayError, wanted: type[Exception]
) -> None:
    wire = DIALECT.render_error(error, "gw-1")

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(wire.status, headers=dict(wire.headers), content=wire.body)

    played: Any = httpx.Client(transport=httpx.MockTransport(answer))
    client = openai.OpenAI(api_key="k", base_url="http://test", max_retries=0, http_client=played)
    with pytest.raises(wanted) as raised:
        client.responses.create(model="m", input="x")
    assert getattr(raised.value, "request_id", None) == "gw-1"


def test_limits_and_models_are_openais() -> None:
    limits = (RateLimit("requests", 10, 9, 1.0),)
    headers = DIALECT.write_limits(limits)
    assert DIALECT.read_limits(ReplyHead(200, headers)) == limits
    reply = DIALECT.render_models([ModelCard("m", "o")], ListModels(kit.NAME), "gw-1")
    assert json.loads(reply.body)["data"][0]["id"] == "m"
