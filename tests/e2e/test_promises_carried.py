"""What is carried and not translated: bytes identical both ways, our credential, an account, no leak."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx
import openai
import pytest

from tests.e2e import raw
from tests.e2e.harness import Gateway

PIECES = {
    "GET files": ("GET", "/v1/files"),
    "GET one file": ("GET", "/v1/files/file-1"),
    "DELETE a file": ("DELETE", "/v1/files/file-1"),
    "cancel a batch": ("POST", "/v1/batches/batch-1/cancel"),
    "GET a batch": ("GET", "/v1/batches/batch-1"),
}
"""requests without a body"""


def direct(gateway: Gateway, method: str, path: str, **more: Any) -> httpx.Response:
    """The same, asked of the provider itself."""
    with httpx.Client(base_url=gateway.mock.url, trust_env=False) as client:
        return client.request(method, path, **more)


def through(gateway: Gateway, method: str, path: str, **more: Any) -> httpx.Response:
    with gateway.http() as client:
        return client.request(method, path, **more)


def test_speech_is_identical(everyone: Gateway) -> None:
    """S4-65, A16: by hash; and the line of the account names model and provider."""
    asked = {"model": "tts-1", "voice": "alloy", "input": "Hello"}
    ours = through(everyone, "POST", "/v1/audio/speech", json=asked)
    theirs = direct(everyone, "POST", "/v1/audio/speech", json=asked)
    assert hashlib.sha256(ours.content).digest() == hashlib.sha256(theirs.content).digest()
    assert ours.headers["content-type"] == "audio/mpeg"
    line = everyone.wait_exchange(ours.headers["x-sluice-call-id"])
    assert (line["provider"], line["model"], line["outcome"]) == ("openai", "tts-1", "ok")
    assert line["bytes_out"] == len(ours.content)
    (sent, _) = everyone.mock.requests
    assert sent.headers["authorization"] == "Bearer key-of-openai"


def test_what_is_heard_is_identical(everyone: Gateway) -> None:
    """S1-168, A16: a multipart body arrives byte for byte, and its tokens are counted."""
    sound = bytes(range(256)) * 400
    client = everyone.openai()
    got = client.audio.transcriptions.with_raw_response.create(
        model="whisper-1", file=("a.mp3", sound)
    )
    (request,) = everyone.mock.requests
    assert sound in request.body
    assert len(request.body) == int(request.headers["content-length"])
    line = everyone.wait_exchange(got.headers["x-sluice-call-id"])
    assert (line["input_tokens"], line["output_tokens"]) == (14, 45)


def test_pictures_are_counted_in_tokens(everyone: Gateway) -> None:
    """A16"""
    asked = {"model": "dall-e-3", "prompt": "a cat"}
    before = everyone.metric("sluice_tokens_total", provider="openai", kind="output")
    ours = through(everyone, "POST", "/v1/images/generations", json=asked)
    theirs = direct(everyone, "POST", "/v1/images/generations", json=asked)
    assert ours.content == theirs.content
    line = everyone.wait_exchange(ours.headers["x-sluice-call-id"])
    assert (line["input_tokens"], line["output_tokens"]) == (50, 100)
    after = everyone.metric("sluice_tokens_total", provider="openai", kind="output")
    assert after - before == 100


@pytest.mark.parametrize("name", PIECES)
def test_a_reply_to_a_request_without_a_body_is_looked_at(everyone: Gateway, name: str) -> None:
    """A17, trap 62: nothing of the provider's own head passes, and the account calls it a success."""
    method, path = PIECES[name]
    ours, theirs = through(everyone, method, path), direct(everyone, method, path)
    assert ours.status_code == theirs.status_code == 200
    assert ours.content == theirs.content
    assert ours.headers["x-sluice-provider"] == "openai"
    assert "server" not in ours.headers
    call = ours.headers["x-sluice-call-id"]
    assert ours.headers["x-request-id"] == call
    line = everyone.wait_exchange(call)
    assert (line["status"], line["outcome"], line["bytes_out"]) == (200, "ok", len(ours.content))


def test_no_credential_s_failure_passes_to_a_client_without_a_body(
    make_gateway: Any, everyone: Gateway
) -> None:
    """trap 62: a provider that refuses our key is a 502 of ours, and its cookies stay with it."""
    fault = "status=401;header=set-cookie:a=b;header=www-authenticate:Basic"
    acme = {
        "dialect": "openai_chat",
        "endpoint": everyone.mock.fault_url(fault),
        "models": ["*"],
    }
    gateway: Gateway = make_gateway(workers=1, providers={"acme": acme}, models={})
    answer = through(gateway, "GET", "/v1/files")
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "provider_credential_refused"
    assert answer.headers["x-sluice-error-origin"] == "provider"
    assert not {"set-cookie", "www-authenticate"} & answer.headers.keys()


def test_jobs_pass(everyone: Gateway) -> None:
    """S0-12, S1-169, A17: batches and fine-tuning, with their queries and our credential."""
    with everyone.http() as client:
        made = client.post("/v1/batches", json={"input_file_id": "f", "endpoint": "/v1/x"})
        assert made.json()["object"] == "batch"
        client.post("/v1/fine_tuning/jobs", json={"model": "gpt-4o", "training_file": "f"})
        client.get("/v1/fine_tuning/jobs/job-1/events", params={"limit": 2})
    seen = [(one.method, one.path) for one in everyone.mock.requests]
    assert seen == [
        ("POST", "/v1/batches"),
        ("POST", "/v1/fine_tuning/jobs"),
        ("GET", "/v1/fine_tuning/jobs/job-1/events?limit=2"),
    ]
    keys = {one.headers["authorization"] for one in everyone.mock.requests}
    assert keys == {"Bearer key-of-openai"}


def test_batches_of_anthropic_pass_to_anthropic(everyone: Gateway) -> None:
    """A17: what is not translated goes to a provider of the client's own language."""
    headers = {"anthropic-version": "2023-06-01"}
    made = through(everyone, "POST", "/v1/messages/batches", json={"requests": []}, headers=headers)
    assert made.json()["type"] == "message_batch"
    assert made.headers["x-sluice-provider"] == "anthropic"
    (request,) = everyone.mock.requests
    assert request.headers["x-api-key"] == "key-of-anthropic"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/moderations", {"model": "omni-moderation-latest", "input": "x"}),
        ("/v1/rerank", {"model": "rerank-v3.5", "query": "q", "documents": ["a", "b"]}),
        ("/v2/rerank", {"model": "rerank-v3.5", "query": "q", "documents": ["a", "b"]}),
    ],
)
def test_moderations_and_rankings_pass(everyone: Gateway, path: str, body: Any) -> None:
    """A15: each is an exchange of the account, by provider and model."""
    before = everyone.metric("sluice_requests_total", outcome="ok")
    ours = through(everyone, "POST", path, json=body)
    assert ours.status_code == 200
    (request,) = everyone.mock.requests
    assert request.json == body
    assert ours.json()["results"]
    line = everyone.wait_exchange(ours.headers["x-sluice-call-id"])
    assert (line["outcome"], line["model"]) == ("ok", body["model"])
    assert everyone.metric("sluice_requests_total", outcome="ok") == before + 1


def test_what_nobody_can_translate_says_so(everyone: Gateway) -> None:
    with pytest.raises(openai.BadRequestError, match="not translated"):
        everyone.openai().moderations.create(model="claude-sonnet-4-5", input="x")
    assert not everyone.mock.requests


SOCKET = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/realtime?model=gpt-4o"),
        ("POST", "/v1/realtime/sessions"),
        ("POST", "/v1/realtime/client_secrets"),
        ("POST", "/v1/realtime/calls"),
    ],
)
def test_realtime_is_refused_and_says_what_to_do(everyone: Gateway, method: str, path: str) -> None:
    """A18"""
    body = {"json": {}} if method == "POST" else {}
    answer = through(everyone, method, path, **body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "realtime_not_supported")
    assert "/v1/chat/completions" in error["message"]
    assert answer.headers["x-sluice-error-origin"] == "gateway"
    assert not everyone.mock.requests


def test_a_web_socket_is_refused_in_the_dialect_of_its_path(everyone: Gateway) -> None:
    """A18"""
    answer = raw.exchange(everyone.port, raw.request("GET", "/v1/realtime", b"", SOCKET))
    assert answer.status == 403
    assert "WebSocket" in answer.json["error"]["message"]
    assert not everyone.mock.requests
