"""Every class of failure, in every SDK: the exception that its users know, and whose it is.

What providers say, what happens on the way to them, and what the gateway refuses by itself.
"""

from __future__ import annotations

import pytest

from tests.e2e.harness import BOB_KEY
from tests.e2e.matrix.clients import CLIENTS, AnthropicClient, ChatClient
from tests.e2e.matrix.failures import (
    AWAY,
    EXPECTED,
    FAILURES,
    REFUSALS,
    RETRY_AFTER,
    TOO_LARGE,
    Failure,
    played,
    tells,
)
from tests.e2e.matrix.matrix import Matrix, telling
from tests.e2e.matrix.providers import LANGUAGES, VARIANTS, alias
from tests.e2e.matrix.talk import Ask, Client, Failed
from tests.e2e.processes import eventually

# Cohere's SDK uses what its own base has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute")


def _ids(client: type[Client]) -> str:
    return client.dialect


of_clients = pytest.mark.parametrize("client", CLIENTS, ids=_ids)
of_streams = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
PLACES = [
    *((client, one.name) for client in CLIENTS for one in LANGUAGES),
    *((client, one.name) for client in (ChatClient, AnthropicClient) for one in VARIANTS),
]
CREDENTIALS = {"anthropic_messages": "x-api-key", "gemini_generate": "x-goog-api-key"}
"""the header of a client's own; of most it is a bearer's"""


def failed(matrix: Matrix, client: type[Client], model: str, text: str, *, stream: bool) -> Failed:
    """What the SDK raises."""
    talk = matrix.client(client).talk(Ask(model))
    talk.user(text)
    with pytest.raises(Failed) as caught:
        talk.ask(stream=stream)
    return caught.value


def check(matrix: Matrix, client: type[Client], failure: str, what: Failure, found: Failed) -> None:
    kind, status = EXPECTED[client.dialect][failure]
    assert (failure, found.kind, found.status) == (failure, kind, status), found
    headers = matrix.client(client).last.headers
    assert (failure, headers["x-sluice-error-origin"]) == (failure, what.origin)
    if failure in ("rate limit", "resting"):
        assert found.retry_after or headers["retry-after"]
    if failure == "spent budget" and client.dialect.startswith("openai"):
        # a rate limit, but that waiting does not help
        assert headers["x-should-retry"] == "false"
        assert "retry-after" not in headers


@of_streams
@pytest.mark.parametrize(
    ("client", "provider"), PLACES, ids=[f"{c.dialect}-{provider}" for c, provider in PLACES]
)
def test_what_a_provider_says(
    matrix: Matrix, client: type[Client], provider: str, stream: bool
) -> None:
    """A13, S3-44 to S3-47."""
    for failure, what in FAILURES.items():
        if not tells(failure, client.dialect, provider):
            continue
        text = f"[[mock {played(failure, provider)}]] hi"
        found = failed(matrix, client, alias(provider), text, stream=stream)
        check(matrix, client, failure, what, found)
        if failure == "rate limit":
            headers = matrix.client(client).last.headers
            assert (found.retry_after or headers["retry-after"]) == RETRY_AFTER


@of_streams
@of_clients
@pytest.mark.parametrize("failure", AWAY)
def test_who_is_away(matrix: Matrix, client: type[Client], failure: str, stream: bool) -> None:
    """A13."""
    what = AWAY[failure]
    found = failed(matrix, client, what.model, "hi", stream=stream)
    check(matrix, client, failure, what, found)


@of_streams
@of_clients
@pytest.mark.parametrize("failure", REFUSALS)
def test_what_the_gateway_refuses(
    matrix: Matrix, client: type[Client], failure: str, stream: bool
) -> None:
    """A13: nobody is asked."""
    what, text, more = REFUSALS[failure], "hi", dict[str, str]()
    model = what.model or alias("openai_chat")
    if key := {"wrong key": "wrong-key-0123456789", "not allowed": BOB_KEY}.get(failure):
        name = CREDENTIALS.get(client.dialect, "authorization")
        more[name] = key if client.dialect in CREDENTIALS else f"Bearer {key}"
    if failure == "too large":
        text = "x" * TOO_LARGE
    if failure == "resting":
        eventually(lambda: rests(matrix), 5.0, "all its targets rest")
    matrix.gateway.mock.clear()
    with telling(matrix.client(client), more):
        found = failed(matrix, client, model, text, stream=stream)
    check(matrix, client, failure, what, found)
    assert not matrix.gateway.mock.requests


def rests(matrix: Matrix) -> bool:
    """Whether no target of this model is asked any more, by either worker."""
    sdk = matrix.client(ChatClient)
    for _ in range(10):
        failed(matrix, ChatClient, REFUSALS["resting"].model, "hi", stream=False)
        if sdk.last.headers["x-sluice-error-origin"] != "gateway":
            return False
    return True
