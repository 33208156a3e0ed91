"""What a client sees when its provider fails: the SDK's own exception, whoever the provider is.

A provider's statuses are played by the mock; `EXPECTED` says for each client which
class its user must catch, and with which status.
"""

from __future__ import annotations

from collections.abc import Mapping

RETRY_AFTER = "7"

FAILURES: Mapping[str, int] = {
    "bad request": 400,
    "our credential refused": 401,
    "unknown model": 404,
    "rate limit": 429,
    "failure": 500,
    "overloaded": 503,
}


def played(failure: str, provider: str) -> int:
    """The status by which this provider says so."""
    if failure == "overloaded" and provider in ("anthropic_messages", "vertex-claude"):
        return 529
    return FAILURES[failure]


Seen = tuple[str, frozenset[int]]


def _seen(kind: str, *statuses: int) -> Seen:
    return kind, frozenset(statuses)


_OPENAI: Mapping[str, Seen] = {
    "bad request": _seen("BadRequestError", 400),
    "our credential refused": _seen("InternalServerError", 502),
    "unknown model": _seen("NotFoundError", 404),
    "rate limit": _seen("RateLimitError", 429),
    "failure": _seen("InternalServerError", 500),
    "overloaded": _seen("InternalServerError", 503),
}
EXPECTED: Mapping[str, Mapping[str, Seen]] = {
    "openai_chat": _OPENAI,
    "openai_responses": _OPENAI,
    "openai_completions": _OPENAI,
    "anthropic_messages": {**_OPENAI, "overloaded": _seen("OverloadedError", 529)},
    "gemini_generate": {
        "bad request": _seen("ClientError", 400),
        "our credential refused": _seen("ServerError", 502),
        "unknown model": _seen("ClientError", 404),
        "rate limit": _seen("ClientError", 429),
        "failure": _seen("ServerError", 500),
        "overloaded": _seen("ServerError", 503),
    },
    "bedrock_converse": {
        "bad request": _seen("ValidationException", 400),
        "our credential refused": _seen("ModelErrorException", 424),
        "unknown model": _seen("ResourceNotFoundException", 404),
        "rate limit": _seen("ThrottlingException", 429),
        "failure": _seen("InternalServerException", 500),
        "overloaded": _seen("ServiceUnavailableException", 503),
    },
    "ollama_chat": {
        "bad request": _seen("ResponseError", 400),
        "our credential refused": _seen("ResponseError", 502),
        "unknown model": _seen("ResponseError", 404),
        "rate limit": _seen("ResponseError", 429),
        "failure": _seen("ResponseError", 500),
        "overloaded": _seen("ResponseError", 503),
    },
    "cohere_chat": {
        "bad request": _seen("BadRequestError", 400),
        "our credential refused": _seen("ApiError", 502),
        "unknown model": _seen("NotFoundError", 404),
        "rate limit": _seen("TooManyRequestsError", 429),
        "failure": _seen("InternalServerError", 500),
        "overloaded": _seen("ServiceUnavailableError", 503),
    },
    "simple_query": {
        "bad request": _seen("HTTP", 400),
        "our credential refused": _seen("HTTP", 502),
        "unknown model": _seen("HTTP", 404),
        "rate limit": _seen("HTTP", 429),
        "failure": _seen("HTTP", 500),
        "overloaded": _seen("HTTP", 503),
    },
}
