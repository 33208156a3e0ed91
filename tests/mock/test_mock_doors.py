"""The heads of requests: what each door asks for, and that a key of any kind opens it."""

from __future__ import annotations

import json

import pytest

from extproc.mock import MockProvider
from tests.mock.raw import request, send

INVOKE = "/model/us.anthropic.claude-sonnet-4-5/invoke"
VERTEX = "/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-flash:generateContent"
AZURE = "/openai/deployments/d/chat/completions?api-version=2025-01-01"


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        (AZURE, 401, "subscription key"),
        ("/openai/v1/responses", 401, "subscription key"),
        (INVOKE, 403, "Missing Authentication Token"),
        (VERTEX, 401, "authentication credential"),
        ("/v1/messages", 400, "anthropic-version"),
        ("/v1/messages/count_tokens", 400, "anthropic-version"),
    ],
)
def test_who_comes_without_stays_outside(
    mock: MockProvider, path: str, status: int, said: str
) -> None:
    reply = send(mock, request(b"{}", path=path, headers="x-other: authorization: k\r\n"))
    assert (reply.status, said in reply.body.decode()) == (status, True)


@pytest.mark.parametrize(
    ("path", "header"),
    [
        (AZURE, "API-Key"),
        (AZURE, "authorization"),
        (INVOKE, "authorization"),
        (VERTEX, "x-goog-api-key"),
        (VERTEX, "authorization"),
        ("/v1/messages", "anthropic-version"),
        ("/v1/chat/completions", "x-none"),
    ],
)
def test_who_has_it_comes_in(mock: MockProvider, path: str, header: str) -> None:
    """An empty body is refused for what it lacks, by the provider's own rules."""
    reply = send(mock, request(b"{}", path=path, headers=f"{header}: k\r\n"))
    assert reply.status == 400
    assert "anthropic-version: header" not in json.dumps(json.loads(reply.body))


def test_a_kept_answer_is_not_for_who_lacks_it(mock: MockProvider) -> None:
    body = b'{"messages":[{"role":"user","content":"hi"}]}'
    inside = send(mock, request(body, path=AZURE, headers="api-key: k\r\n"))
    outside = send(mock, request(body, path=AZURE))
    assert (inside.status, outside.status) == (200, 401)
