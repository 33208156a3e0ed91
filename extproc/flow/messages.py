"""What Envoy tells an exchange and what an exchange answers, without any protobuf.

One HTTP exchange is a dialogue: `RequestHead`, `RequestBody`, `ResponseHead`,
`ResponseBody`+. Every message gets exactly one answer, `Continue` or `Reply`;
after a `Reply` there is nothing more. `wire/translate.py` turns these into the
external processing protocol and back; the exchange itself never sees gRPC.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeAlias

from extproc.model.call import CallId
from extproc.model.value import value


@value
class RequestHead:
    """The client's headers, pseudo-headers (`:path`, ...) among them.

    `call_id` and `peer` come from Envoy alone: `peer` is the address of whoever
    opened the connection. `end` means that no body follows.
    """

    call_id: CallId
    peer: str
    headers: Mapping[str, str]
    end: bool


@value
class RequestBody:
    """The whole body of the request."""

    body: bytes


@value
class ResponseHead:
    """The reply's headers. `details` is `via_upstream` when a provider answered.

    Anything else is Envoy's own reason for answering in its place.
    """

    headers: Mapping[str, str]
    end: bool
    details: str


@value
class ResponseBody:
    """The whole body, or a piece of a stream; `end` marks the last.

    In mode WHOLE a body without `end` is one that outgrew Envoy's buffer.
    """

    body: bytes
    end: bool


Incoming: TypeAlias = RequestHead | RequestBody | ResponseHead | ResponseBody


class Mode(Enum):
    """How Envoy shall send what comes next."""

    REQUEST = "request"
    """the whole request body, and later the reply's head"""
    UPLOAD = "upload"
    """nothing of the request's body, which goes straight to the provider; later the reply's head"""
    WHOLE = "whole"
    """the reply's whole body; its length is known and within the limit"""
    BOUNDED = "bounded"
    """the reply's whole body, or what fits into the limit"""
    PIECES = "pieces"
    """the reply piece by piece, as it comes"""


@value
class Route:
    """Where the request goes: the ordered clusters, one a group, and what the log shall know.

    Without clusters it is for the log alone.
    """

    clusters: tuple[str, ...]
    plan: tuple[tuple[str, str], ...]


@value
class Continue:
    """Go on, with these changes. `body` None leaves the body as it is.

    `set` overwrites, `remove` takes away; both are applied before anything is
    sent on. While a reply's head is held, `set` may also replace `:status`.
    """

    set: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()
    body: bytes | None = None
    mode: Mode | None = None
    route: Route | None = None


@value
class Reply:
    """Answer the client now, in place of whatever would have come."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Outgoing: TypeAlias = Continue | Reply

CONTINUE = Continue()
