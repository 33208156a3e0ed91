"""Every exception class of the `openai` SDK fires, with the fields that its users read."""

from __future__ import annotations

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.e2e.harness import BOB_KEY, Gateway, closed_port


def ask(gateway: Gateway, text: str = "Hello", model: str = "gpt-4o", **options: object) -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": text}]
    gateway.openai(**options).chat.completions.create(model=model, messages=messages)


def of_ours(error: openai.APIStatusError) -> None:
    """What every error that the gateway itself makes must have."""
    headers = error.response.headers
    assert error.request_id == headers["x-sluice-call-id"]
    assert error.request_id is not None and error.request_id.startswith("gw-")
    assert headers["x-sluice-error-origin"] == "gateway"
    assert isinstance(error.body, dict)
    assert {"message", "type", "param", "code"} <= error.body.keys()


def test_bad_request(gateway: Gateway) -> None:
    """S3-44, S3-45"""
    with pytest.raises(openai.BadRequestError) as caught:
        gateway.openai().chat.completions.create(model="gpt-4o", messages="none")  # type: ignore[call-overload]
    assert (caught.value.type, caught.value.param) == ("invalid_request_error", "messages")
    of_ours(caught.value)


def test_authentication(gateway: Gateway) -> None:
    """S3-45"""
    with pytest.raises(openai.AuthenticationError) as caught:
        ask(gateway, api_key="wrong")
    assert caught.value.code == "invalid_api_key"
    assert "sluice keys create" in caught.value.message
    of_ours(caught.value)


def test_permission(gateway: Gateway) -> None:
    """S3-45"""
    with pytest.raises(openai.PermissionDeniedError) as caught:
        ask(gateway, api_key=BOB_KEY)
    assert (caught.value.code, caught.value.param) == ("model_not_allowed", "model")
    of_ours(caught.value)


def test_unknown_model(gateway: Gateway) -> None:
    """S3-45"""
    with pytest.raises(openai.NotFoundError) as caught:
        ask(gateway, model="gpt-99")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert caught.value.type == "invalid_request_error"
    of_ours(caught.value)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_the_providers_own(
    gateway: Gateway, status: int, kind: type[openai.APIStatusError], stream: bool
) -> None:
    messages: list[ChatCompletionMessageParam] = [
        {"role": "user", "content": f"[[mock status={status}]] hi"}
    ]
    with pytest.raises(kind) as caught:
        gateway.openai().chat.completions.create(model="gpt-4o", messages=messages, stream=stream)
    assert caught.value.status_code == status
    assert caught.value.response.headers["x-sluice-error-origin"] == "provider"
    assert f"status {status}" in caught.value.message


def test_our_credential_failed_so_the_clients_did_not(gateway: Gateway) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        ask(gateway, "[[mock status=401]] hi")
    assert caught.value.status_code == 502


def test_provider_unreachable(gateway: Gateway) -> None:
    """S3-45"""
    with pytest.raises(openai.InternalServerError) as caught:
        ask(gateway, model="absent-model")
    assert (caught.value.status_code, caught.value.code) == (502, "provider_unreachable")
    assert caught.value.response.headers["x-sluice-error-origin"] == "network"
    assert caught.value.request_id == caught.value.response.headers["x-sluice-call-id"]


def test_the_client_lost_patience(gateway: Gateway) -> None:
    with pytest.raises(openai.APITimeoutError):
        ask(gateway, "[[mock delay=30]] hi", timeout=0.3)


def test_no_gateway_there() -> None:
    client = openai.OpenAI(
        base_url=f"http://127.0.0.1:{closed_port()}/v1", api_key="k", max_retries=0
    )
    with pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(model="gpt-4o", messages=[])


def test_a_stream_that_breaks_off_raises(gateway: Gateway) -> None:
    messages: list[ChatCompletionMessageParam] = [
        {"role": "user", "content": "[[mock end=4 words=20]] hi"}
    ]
    stream = gateway.openai().chat.completions.create(
        model="gpt-4o", messages=messages, stream=True
    )
    with pytest.raises(openai.APIError) as caught:
        list(stream)
    assert caught.value.body is not None
