"""A fixed key in a header: `Authorization: Bearer` for OpenAI and most that copy it.

Takes the key once, when the configuration loads; gives the same headers for
every request. Which header it is follows from the dialect and its variant.
Never does I/O.
"""

from __future__ import annotations

from collections.abc import Mapping

from extproc.config.schema import KeyAuth, Provider
from extproc.credentials.refresh import Surroundings
from extproc.model.ports import Signable

BEARER = "authorization"

_HEADERS = {"anthropic_messages": "x-api-key", "gemini_generate": "x-goog-api-key"}
_OF_VARIANTS = {"azure": "api-key", "bedrock": BEARER, "vertex": "x-goog-api-key"}

SIGNS = KeyAuth


def build(provider: Provider, auth: KeyAuth, around: Surroundings) -> ApiKey:
    del auth, around
    header = _OF_VARIANTS.get(provider.variant) or _HEADERS.get(provider.dialect, BEARER)
    return ApiKey(provider.api_key.reveal() if provider.api_key else None, header)


class ApiKey:
    """`header` names where the provider wants the key; in `authorization` it goes as a bearer token."""

    __slots__ = ("_headers",)

    def __init__(self, key: str | None, header: str = BEARER) -> None:
        value = f"Bearer {key}" if header == BEARER else key
        self._headers: Mapping[str, str] = {} if key is None else {header: value or ""}

    def headers(self, request: Signable) -> Mapping[str, str]:
        del request
        return self._headers
