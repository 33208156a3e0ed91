"""The header list of a request (RFC 9113, sections 8.2 and 8.3): whether it is one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from extproc.wire.hpack import Field

_PSEUDO = frozenset({":method", ":scheme", ":authority", ":path"})
_OF_CONNECTION = frozenset(
    {"connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"}
)
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")
_BAD_VALUE = re.compile(r"[\0\r\n]")


def request_headers(fields: Iterable[Field]) -> Mapping[str, str] | None:
    """By name; of a repeated header the last value, as grpc gives it. None: malformed."""
    headers: dict[str, str] = {}
    regular = False
    for name, value in fields:
        if name in _PSEUDO:
            if regular or name in headers:
                return None
        else:
            regular = True
            if not _is_name(name) or (name == "te" and value != "trailers"):
                return None
        if _BAD_VALUE.search(value) is not None:
            return None
        headers[name] = value
    if ":method" not in headers or ":scheme" not in headers or not headers.get(":path"):
        return None
    return headers


@lru_cache(maxsize=256)
def _is_name(name: str) -> bool:
    """A name in lower case that may stand in HTTP/2."""
    return _NAME.fullmatch(name) is not None and name not in _OF_CONNECTION
