"""What the whole API promises, whoever answers: one script, one error format, any text untouched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
import openai
import pytest

from tests.e2e.everyone import CHAT_MODELS
from tests.e2e.harness import Gateway

LETTERS = "你好世界 مرحبا بالعالم 👩‍👩‍👧‍👦🏳️‍🌈 ñ"
OVERLOADED = "[[mock status=529 retry-after=7]] x"


@contextmanager
def anthropic_client(gateway: Gateway) -> Iterator[anthropic.Anthropic]:
    http = anthropic.DefaultHttpxClient(trust_env=False)
    with anthropic.Anthropic(
        base_url=gateway.url, api_key="none", max_retries=0, timeout=10.0, http_client=http
    ) as client:
        yield client


def ask(gateway: Gateway, model: str, text: str, **more: Any) -> Any:
    return gateway.openai().chat.completions.create(
        model=model, messages=[{"role": "user", "content": text}], **more
    )


def test_two_sdks_with_nothing_but_another_base_url(everyone: Gateway) -> None:
    """S1-1, S1-2, S1-122: each SDK reads every provider's answer in its own types."""
    with anthropic_client(everyone) as client:
        for model in CHAT_MODELS.values():
            said = client.messages.create(
                model=model, max_tokens=99, messages=[{"role": "user", "content": "Hello"}]
            )
            assert said.content[0].type == "text"
            theirs = ask(everyone, model, "Hello").choices[0].message.content
            assert theirs.startswith("You said: Hello")
            assert said.content[0].text.startswith("You said: Hello")


@pytest.mark.parametrize("model", CHAT_MODELS.values())
def test_letters_that_are_split_at_each_byte(everyone: Gateway, model: str) -> None:
    """S4-64, trap 4: Chinese, Arabic and joined emoji come out as they went in."""
    text = f"[[mock split=1 words=20]] {LETTERS}"
    pieces = ask(everyone, model, text, stream=True)
    said = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert said.startswith(f"You said: {LETTERS}")
    (request,) = everyone.mock.requests
    assert LETTERS in json.dumps(request.json, ensure_ascii=False)


PICTURE = {"url": "data:image/png;base64,iVBORw0KGgo="}


def test_a_picture_becomes_a_block_of_base64(everyone: Gateway) -> None:
    """S1-168"""
    content: Any = [
        {"type": "text", "text": "what is it?"},
        {"type": "image_url", "image_url": PICTURE},
    ]
    ask(everyone, CHAT_MODELS["anthropic"], content)
    (request,) = everyone.mock.requests
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    body: Any = request.json
    assert body["messages"][0]["content"][1] == {"type": "image", "source": source}


HOME = {
    "/v1/chat/completions": b'"model": "gpt-4o","messages":[{"role":"user","content":"h\\u00e9 \xc3\xa9"}]',
    "/v1/completions": b'"model": "gpt-3.5-turbo-instruct","prompt":"h\\u00e9 \xc3\xa9"',
    "/v1/responses": b'"model": "gpt-4o", "input" : "h\\u00e9 \xc3\xa9"',
    "/v1/messages": b'"model":"claude-sonnet-4-5","max_tokens":9,"messages":[{"role":"user","content":"h\\u00e9"}]',
    "/api/chat": b'"model":"llama3","messages":[{"role":"user","content":"h\\u00e9 \xc3\xa9"}]',
    "/v2/chat": b'"messages":[{"role":"user","content":"h\\u00e9"}],"model":"command-a-03-2025"',
    "/v1beta/models/gemini-2.5-flash:generateContent": b'"contents":[{"parts":[{"text":"h\\u00e9"}]}]',
    f"/model/{CHAT_MODELS['bedrock']}/converse": b'"messages":[{"role":"user","content":[{"text":"h\\u00e9"}]}]',
}
"""a path, and a request of its language, written as no serializer would"""
ODD = b'{"zz":{"b":1,  "a":2.50, "n":123456789012345678901234567890} ,'


@pytest.mark.parametrize("path", HOME)
def test_a_request_that_goes_home_keeps_its_bytes(everyone: Gateway, path: str) -> None:
    """S0-17, S0-19: unknown fields, their order and their spelling; only our own object is gone.

    What the provider thinks of a field that it does not know is its own affair.
    """
    body = ODD + HOME[path] + b"  }"
    with_ours = ODD + b'"sluice":{"cache":"bypass","tags":["a"]},' + HOME[path] + b"  }"
    headers = {"content-type": "application/json"}
    if path == "/v1/messages":
        headers["anthropic-version"] = "2023-06-01"
    with everyone.http() as client:
        for given in (body, with_ours):
            everyone.mock.clear()
            client.post(path, content=given, headers=headers)
            (request,) = everyone.mock.requests
            assert request.body == body


def test_an_error_is_one_line_of_the_log_with_its_call(everyone: Gateway) -> None:
    """S3-46: and the provider's own words stand in it (S3-47)."""
    with pytest.raises(openai.InternalServerError) as caught:
        ask(everyone, CHAT_MODELS["anthropic"], OVERLOADED)
    call = caught.value.response.headers["x-sluice-call-id"]
    line = everyone.wait_exchange(call)
    assert line["error"] == "overloaded"
    assert line["error_origin"] == "provider"
    assert "529" in line["message"]
    lines = [one for one in everyone.log_lines() if one.get("call") == call]
    assert len(lines) == 1


def test_when_to_come_back_is_told_in_the_client_s_way(everyone: Gateway) -> None:
    """S3-47, A13: Anthropic's overload for an OpenAI client, and OpenAI's for an Anthropic one."""
    with pytest.raises(openai.InternalServerError) as caught:
        ask(everyone, CHAT_MODELS["anthropic"], OVERLOADED)
    assert caught.value.response.headers["retry-after"] == "7"
    assert caught.value.response.headers["x-sluice-error-origin"] == "provider"
    assert caught.value.code == "server_is_overloaded"
    with anthropic_client(everyone) as client, pytest.raises(anthropic.APIStatusError) as theirs:
        client.messages.create(
            model="gpt-4o",
            max_tokens=9,
            messages=[{"role": "user", "content": "[[mock status=503 retry-after=7]] x"}],
        )
    body: Any = theirs.value.body
    assert theirs.value.status_code == 529
    assert body["error"]["type"] == "overloaded_error"
    assert theirs.value.response.headers["retry-after"] == "7"


def test_a_spent_budget_is_no_rate_limit(everyone: Gateway) -> None:
    """A13: OpenAI says both with 429, and only one of them is worth another try."""
    with pytest.raises(openai.RateLimitError) as limited:
        ask(everyone, "gpt-4o", "[[mock status=429 retry-after=3]] x")
    assert limited.value.response.headers["retry-after"] == "3"
    assert "x-should-retry" not in limited.value.response.headers
    with pytest.raises(openai.APIStatusError) as spent:
        ask(everyone, CHAT_MODELS["anthropic"], "[[mock status=402]] x")
    assert spent.value.code == "insufficient_quota"
    assert spent.value.response.headers["x-should-retry"] == "false"


Raised = tuple[int, str | None, type[openai.APIStatusError]]
BY_STATUS: dict[int, Raised] = {
    400: (400, None, openai.BadRequestError),
    401: (502, "provider_credential_refused", openai.InternalServerError),
    403: (502, "provider_credential_refused", openai.InternalServerError),
    404: (404, "model_not_found", openai.NotFoundError),
    413: (413, "request_too_large", openai.APIStatusError),
    429: (429, "rate_limit_exceeded", openai.RateLimitError),
    500: (500, "bad_gateway", openai.InternalServerError),
    504: (504, "timeout", openai.InternalServerError),
}


@pytest.mark.parametrize("status", BY_STATUS)
def test_a_provider_s_status_raises_the_client_s_class(everyone: Gateway, status: int) -> None:
    """S3-44, S3-45, A13: what Anthropic says, as an OpenAI client hears it."""
    seen, code, raised = BY_STATUS[status]
    with pytest.raises(raised) as caught:
        ask(everyone, CHAT_MODELS["anthropic"], f"[[mock status={status}]] x")
    assert caught.value.status_code == seen
    assert caught.value.code == code or code is None
    assert caught.value.response.headers["x-sluice-error-origin"] == "provider"
    body: Any = caught.value.body
    assert body["call_id"] == caught.value.response.headers["x-sluice-call-id"]
