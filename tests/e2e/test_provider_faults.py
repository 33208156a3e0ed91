"""A provider that refuses, fails or does not answer: what its clients see of it."""

from __future__ import annotations

import pytest

from tests.e2e.asking import chat, direct, ended, query, refused
from tests.e2e.harness import PROVIDER_KEY, Gateway
from tests.e2e.processes import eventually

# Errors that the provider itself reports.


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422, 429, 500, 502, 503])
@pytest.mark.parametrize("stream", [False, True])
def test_passed_on_faithfully(gateway: Gateway, status: int, stream: bool) -> None:
    """S3-47"""
    faults = f"status={status} retry-after=7"
    answer = chat(gateway, faults, stream=stream)
    assert answer.status == status
    assert answer.body == direct(gateway, faults).body
    assert answer.headers["retry-after"] == "7"
    refused(answer, status, "provider")
    ended(gateway, answer, "provider_error")


@pytest.mark.parametrize("path", ["chat", "/query", "/stream"])
@pytest.mark.parametrize(("faults", "wait"), [("", "2"), (" retry-after=7", "7")])
def test_a_status_of_anthropic_s_is_what_others_know(
    gateway: Gateway, path: str, faults: str, wait: str
) -> None:
    """S3-47"""
    faults = f"status=529{faults}"
    answer = chat(gateway, faults) if path == "chat" else query(gateway, faults, path)
    assert (answer.status, answer.headers["retry-after"]) == (503, wait)
    assert b"status 529" in answer.body
    ended(gateway, answer, "provider_error")


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("stream", [False, True])
def test_our_credential_failed(gateway: Gateway, status: int, stream: bool) -> None:
    answer = chat(gateway, f"status={status} header=www-authenticate:Bearer", stream=stream)
    error = refused(answer, 502, "provider")
    assert "www-authenticate" not in answer.headers
    assert PROVIDER_KEY not in answer.body.decode()
    assert "credential" in error["message"]
    assert answer.headers["x-sluice-provider"] == "acme"


@pytest.mark.parametrize("status", [400, 429, 500])
def test_in_another_language(gateway: Gateway, status: int) -> None:
    for path in ("/query", "/stream"):
        answer = query(gateway, f"status={status} retry-after=7", path)
        assert answer.status == status
        assert answer.headers["retry-after"] == "7"
        assert answer.json["error"]
        assert answer.headers["x-sluice-call-id"] in answer.body.decode()


@pytest.mark.parametrize("status", [400, 429, 500, 502, 503])
@pytest.mark.parametrize("body", ["html", "empty"])
def test_an_error_without_an_envelope(gateway: Gateway, status: int, body: str) -> None:
    for stream in (False, True):
        answer = chat(gateway, f"status={status} body={body} retry-after=7", stream=stream)
        refused(answer, status, "provider")
        assert answer.headers["retry-after"] == "7"


# Connections that fail before a reply.


@pytest.mark.parametrize("stream", [False, True])
def test_reset_before_headers(gateway: Gateway, stream: bool) -> None:
    answer = chat(gateway, "reset", stream=stream)
    refused(answer, 502, "network")
    ended(gateway, answer, "broken")


def test_refused_connection(gateway: Gateway) -> None:
    answer = chat(gateway, "", model="absent-model")
    assert refused(answer, 502, "network")["code"] == "provider_unreachable"
    ended(gateway, answer, "broken")


@pytest.mark.parametrize("faults", ["delay=30", "slow-headers=100"])
@pytest.mark.parametrize("stream", [False, True])
def test_no_headers_in_time(gateway: Gateway, faults: str, stream: bool) -> None:
    """S3-45, S1-82"""
    answer = chat(gateway, faults, stream=stream, model="quick-model")
    refused(answer, 504, "network")
    ended(gateway, answer, "broken")
    eventually(lambda: gateway.mock.requests[-1].ended == "client_gone", 2.0)
