"""What a client sees when something fails: the SDK's own exception, whoever the provider is.

The mock plays what providers and networks do; `EXPECTED` says for each client which
class its user must catch, and with which status.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.e2e.matrix.providers import PROVIDERS

RETRY_AFTER = "7"
TOO_LARGE = 1 << 20
"""bytes"""


@dataclass(frozen=True, slots=True)
class Failure:
    """How the mock plays it, and whose it is. `model`: what is asked for in place of the provider's own."""

    played: str
    origin: str = "provider"
    model: str = ""


FAILURES: Mapping[str, Failure] = {
    "bad request": Failure("status=400"),
    "our credential refused": Failure("status=401"),
    "spent budget": Failure("refuse=quota"),
    "unknown model": Failure("status=404"),
    "rate limit": Failure("status=429"),
    "too long": Failure("refuse=context_length"),
    "filtered": Failure("refuse=content_filter"),
    "failure": Failure("status=500"),
    "overloaded": Failure("status=503"),
    "web page": Failure("status=502 body=html"),
    "nonsense": Failure("status=200 body=html"),
    "broken off": Failure("reset", "network"),
}
"""of providers, and on the way to them"""
AWAY: Mapping[str, Failure] = {
    "unreachable": Failure("", "network", "unreachable"),
    "too late": Failure("", "network", "late"),
}
"""of the way to providers of their own"""
REFUSALS: Mapping[str, Failure] = {
    "wrong key": Failure("", "gateway"),
    "not allowed": Failure("", "gateway"),
    "no such model": Failure("", "gateway", "no-such-model"),
    "too large": Failure("", "gateway"),
    "resting": Failure("", "gateway", "resting"),
}
"""of the gateway itself"""
ALL = {**FAILURES, **AWAY, **REFUSALS}


def played(failure: str, provider: str) -> str:
    """What the mock is told, so that this provider says so."""
    told = FAILURES[failure].played
    claude = PROVIDERS[provider].dialect == "anthropic_messages"
    if failure == "overloaded" and claude and provider != "bedrock-claude":
        told = "status=529"
    # Of what waiting does not help, nobody says how long to wait.
    return told if told.startswith("refuse") else f"{told} retry-after={RETRY_AFTER}"


def tells(failure: str, client: str, provider: str) -> bool:
    """Whether this provider has words for it, and this client's own words are what its users get."""
    language = PROVIDERS[provider].dialect
    match failure:
        case "spent budget":
            # Google's word for it is that for a rate limit. At home the reply passes as it came.
            return language not in (client, "gemini_generate")
        case "filtered":
            # Google tells of it in a good reply.
            return language != "gemini_generate"
        case _:
            return True


Seen = tuple[str, int]
_OPENAI: Mapping[str, Seen] = {
    "bad request": ("BadRequestError", 400),
    "our credential refused": ("InternalServerError", 502),
    "spent budget": ("RateLimitError", 429),
    "unknown model": ("NotFoundError", 404),
    "rate limit": ("RateLimitError", 429),
    "too long": ("BadRequestError", 400),
    "filtered": ("BadRequestError", 400),
    "failure": ("InternalServerError", 500),
    "overloaded": ("InternalServerError", 503),
    "web page": ("InternalServerError", 502),
    "nonsense": ("InternalServerError", 502),
    "broken off": ("InternalServerError", 502),
    "unreachable": ("InternalServerError", 502),
    "too late": ("InternalServerError", 504),
    "wrong key": ("AuthenticationError", 401),
    "not allowed": ("PermissionDeniedError", 403),
    "no such model": ("NotFoundError", 404),
    "too large": ("APIStatusError", 413),
    "resting": ("InternalServerError", 503),
}
_STATUSES = {
    **{name: status for name, (_, status) in _OPENAI.items()},
    "spent budget": 402,
}
EXPECTED: Mapping[str, Mapping[str, Seen]] = {
    "openai_chat": _OPENAI,
    "openai_responses": _OPENAI,
    "openai_completions": _OPENAI,
    "anthropic_messages": {
        **_OPENAI,
        "spent budget": ("PaymentRequiredError", 402),
        "overloaded": ("OverloadedError", 529),
        "too late": ("GatewayTimeoutError", 504),
        "too large": ("ContentTooLargeError", 413),
        "resting": ("OverloadedError", 529),
    },
    "gemini_generate": {
        name: ("ServerError" if status >= 500 else "ClientError", status)
        for name, status in {**_STATUSES, "spent budget": 429}.items()
    },
    "bedrock_converse": {
        "bad request": ("ValidationException", 400),
        "our credential refused": ("ModelErrorException", 424),
        "spent budget": ("ServiceQuotaExceededException", 400),
        "unknown model": ("ResourceNotFoundException", 404),
        "rate limit": ("ThrottlingException", 429),
        "too long": ("ValidationException", 400),
        "filtered": ("ValidationException", 400),
        "failure": ("InternalServerException", 500),
        "overloaded": ("ServiceUnavailableException", 503),
        "web page": ("ModelErrorException", 424),
        "nonsense": ("ModelErrorException", 424),
        "broken off": ("ModelErrorException", 424),
        "unreachable": ("ModelErrorException", 424),
        "too late": ("ModelTimeoutException", 408),
        "wrong key": ("AccessDeniedException", 403),
        "not allowed": ("AccessDeniedException", 403),
        "no such model": ("ResourceNotFoundException", 404),
        "too large": ("ValidationException", 413),
        "resting": ("ServiceUnavailableException", 503),
    },
    "ollama_chat": {name: ("ResponseError", status) for name, status in _STATUSES.items()},
    "cohere_chat": {
        **{name: ("ApiError", status) for name, status in _STATUSES.items()},
        "bad request": ("BadRequestError", 400),
        "unknown model": ("NotFoundError", 404),
        "rate limit": ("TooManyRequestsError", 429),
        "too long": ("BadRequestError", 400),
        "filtered": ("BadRequestError", 400),
        "failure": ("InternalServerError", 500),
        "overloaded": ("ServiceUnavailableError", 503),
        "too late": ("GatewayTimeoutError", 504),
        "wrong key": ("UnauthorizedError", 401),
        "not allowed": ("ForbiddenError", 403),
        "no such model": ("NotFoundError", 404),
        "resting": ("ServiceUnavailableError", 503),
    },
    "simple_query": {name: ("HTTP", status) for name, status in _STATUSES.items()},
}
