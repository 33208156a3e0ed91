"""The header list of a request (RFC 9113, sections 8.2 and 8.3): whether it is one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from extproc.wire.hpack import Field

_PSEUDO = frozenset({":method", ":scheme", ":authority", ":path"})
_OF_CONNECTION = frozenset(
    {"connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"}
)
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")
_BAD_VALUE = re.compile(r"[\0\r\n]")


def request_headers(fields: list[Field]) -> Mapping[str, str] | None:
    """By name; of a repeated header the last value, as grpc gives it. None: malformed."""
    if not _may_stand(tuple([name for name, _ in fields])):
        return None
    if _BAD_VALUE.search("".join([value for _, value in fields])) is not None:
        return None
    headers = dict(fields)
    if not headers[":path"] or headers.get("te", "trailers") != "trailers":
        return None
    return headers


@lru_cache(maxsize=64)
def _may_stand(names: tuple[str, ...]) -> bool:
    """Whether a list of headers may have these names, in this order. Most lists have the same."""
    seen: set[str] = set()
    regular = False
    for name in names:
        if name in _PSEUDO:
            if regular or name in seen:
                return False
            seen.add(name)
        else:
            regular = True
            if _NAME.fullmatch(name) is None or name in _OF_CONNECTION:
                return False
    return {":method", ":scheme", ":path"} <= seen
