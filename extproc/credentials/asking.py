"""One question to an endpoint that hands out credentials, and how its answer is read.

Takes an `httpx.AsyncClient` (make it with `trust_env=False` for metadata
services: they must not be asked through a proxy); gives the answer or raises
`FetchFailed`, whose reason reaches clients and logs: it names the host, the
status and words from fixed lists, and never anything else that was sent or
received. Follows no redirect, since a question carries secrets.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import cast
from urllib.parse import urlencode

import httpx

MAX_ANSWER = 256 * 1024
"""bytes: tokens are a few thousand"""

FORM = "application/x-www-form-urlencoded"
_LONGEST_LIFE = 10 * 365 * 86400.0
_PRINTABLE = re.compile(r"[\x21-\x7e]{1,65536}")

_OAUTH_WORDS = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "invalid_scope",
        "invalid_resource",
        "unauthorized_client",
        "unsupported_grant_type",
        "temporarily_unavailable",
    }
)
_ENTRA_CODE = re.compile(r"\bAADSTS\d{4,7}\b")


class FetchFailed(Exception):
    """No credential came. The text says why in words that hold no secret."""


@dataclass(frozen=True, slots=True)
class Answer:
    host: str
    status: int
    body: bytes = field(repr=False)

    def failed(self, why: str = "") -> FetchFailed:
        return FetchFailed(f"{self.host} answered {self.status}{f' ({why})' if why else ''}")


async def ask(
    http: httpx.AsyncClient,
    method: str,
    url: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> Answer:
    """The answer, whatever its status. Raises `FetchFailed` where there is none."""
    host = "its endpoint"
    got = bytearray()
    # The reasons are told outside of `except`, so that no trace holds the request with its secrets.
    try:
        host = httpx.URL(url).host or host
        asked = {"accept-encoding": "identity", **(headers or {})}
        async with http.stream(
            method, url, headers=asked, content=body or None, follow_redirects=False
        ) as reply:
            async for piece in reply.aiter_raw():
                got += piece
                if len(got) > MAX_ANSWER:
                    break
            status = reply.status_code
        why = f"{host} answered more than {MAX_ANSWER} bytes" if len(got) > MAX_ANSWER else None
    except httpx.TimeoutException:
        status, why = 0, f"{host} did not answer in time"
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
        status, why = 0, f"{host} could not be asked ({type(error).__name__})"
    if why is not None:
        raise FetchFailed(why)
    return Answer(host, status, bytes(got))


def form(fields: Mapping[str, str]) -> bytes:
    """A body of content type `FORM`."""
    return urlencode(fields).encode()


def json_object(answer: Answer) -> Mapping[str, object]:
    """Raises `FetchFailed`."""
    try:
        value: object = json.loads(answer.body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise FetchFailed(f"{answer.host} answered {answer.status} with what is no JSON object")
    return cast("dict[str, object]", value)


def oauth_token(answer: Answer, asked_at: float) -> tuple[str, float]:
    """Token and its end in Unix seconds, from the reply of RFC 6749, section 5.

    `asked_at` is when the question left: a lifetime counts from there at the earliest.
    """
    if answer.status != 200:
        raise answer.failed(_oauth_reason(answer))
    fields = json_object(answer)
    kind = fields.get("token_type", "Bearer")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise FetchFailed(f"{answer.host} answered a token that is no bearer token")
    token = secret_text(fields.get("access_token"), answer)
    return token, asked_at + _lifetime(fields.get("expires_in"), answer)


def _oauth_reason(answer: Answer) -> str:
    try:
        fields = json_object(answer)
    except FetchFailed:
        return ""
    word = fields.get("error")
    words = [word] if isinstance(word, str) and word in _OAUTH_WORDS else []
    description = fields.get("error_description")
    if isinstance(description, str):
        words += _ENTRA_CODE.findall(description)[:1]
    return ", ".join(words)


def secret_text(value: object, answer: Answer) -> str:
    """A secret that can go into a header as it is. Raises `FetchFailed`."""
    if not isinstance(value, str) or not _PRINTABLE.fullmatch(value):
        raise FetchFailed(f"{answer.host} answered {answer.status} without a usable credential")
    return value


def unix_time(value: object, answer: Answer) -> float:
    """Unix seconds of an ISO 8601 time; without a zone it is UTC. Raises `FetchFailed`."""
    try:
        if not isinstance(value, str):
            raise ValueError
        when = datetime.fromisoformat(value)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise FetchFailed(f"{answer.host} answered a credential without its end") from None


def _lifetime(value: object, answer: Answer) -> float:
    """Seconds; some endpoints send them as text."""
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        seconds = float(value)
    except (ValueError, OverflowError):
        seconds = math.nan
    if not 0 < seconds <= _LONGEST_LIFE:
        raise FetchFailed(f"{answer.host} answered a token without a usable lifetime")
    return seconds


async def read_secret(path: Path) -> str:
    """The text of a token file, read anew each time since it is rotated. Raises `FetchFailed`."""
    try:
        text = (await asyncio.to_thread(path.read_text)).strip()
    except (OSError, ValueError) as error:
        raise FetchFailed(f"cannot read {path} ({type(error).__name__})") from None
    if not _PRINTABLE.fullmatch(text):
        raise FetchFailed(f"{path} holds no token")
    return text
