"""What a request's head must have at the doors of some providers: a credential, a version.

A table by path. Takes a path and a head in small letters, gives what is missing.
Values are not checked: any key will do. The providers that people try without a
key (OpenAI, Ollama and what copies them) are not here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Missing:
    """The refusal of who comes without."""

    status: int
    message: str


@dataclass(frozen=True, slots=True)
class _Door:
    """Requests whose path matches need one of the `headers`."""

    path: re.Pattern[str]
    headers: tuple[str, ...]
    refusal: Missing


_TOKEN = "Request is missing required authentication credential."  # noqa: S105
_DOORS = (
    _Door(
        re.compile(r"/openai/(deployments/|v1/|responses)"),
        ("api-key", "authorization"),
        Missing(
            401,
            "Access denied due to invalid subscription key or wrong API endpoint. Make sure to"
            " provide a valid key for an active subscription.",
        ),
    ),
    _Door(
        re.compile(r"/model/[^/]+/"),
        ("authorization",),
        Missing(403, "Missing Authentication Token"),
    ),
    _Door(
        re.compile(r"/projects/[^/]+/locations/[^/]+/publishers/"),
        ("authorization", "x-goog-api-key"),
        Missing(401, _TOKEN),
    ),
    _Door(
        re.compile(r"/v1/messages(/count_tokens)?(\?|$)"),
        ("anthropic-version",),
        Missing(400, "anthropic-version: header is required"),
    ),
)


def missing(path: str, head: bytes) -> Missing | None:
    """What keeps this request out. `head` is in small letters, with its line ends."""
    for door in _DOORS:
        if door.path.search(path):
            found = any(b"\r\n%b:" % name.encode() in head for name in door.headers)
            return None if found else door.refusal
    return None
