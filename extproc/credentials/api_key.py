"""A fixed key in a header: `Authorization: Bearer` for OpenAI and most that copy it.

Takes the key once, when the configuration loads; gives the same headers for
every request. Never does I/O.
"""

from __future__ import annotations

from collections.abc import Mapping

from extproc.model.ports import Signable

BEARER = "authorization"


class ApiKey:
    """`header` names where the provider wants the key; in `authorization` it goes as a bearer token."""

    __slots__ = ("_headers",)

    def __init__(self, key: str | None, header: str = BEARER) -> None:
        value = f"Bearer {key}" if header == BEARER else key
        self._headers: Mapping[str, str] = {} if key is None else {header: value or ""}

    def headers(self, request: Signable) -> Mapping[str, str]:
        del request
        return self._headers
