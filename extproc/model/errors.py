"""Everything that can go wrong with an exchange, as one tree.

    GatewayError                      status   who may raise it
    ├── InvalidRequest                   400   dialects, flow: the client must change the request
    │   ├── Unsupported                  400   the provider's language cannot carry a field
    │   ├── ContextTooLong               400   the prompt exceeds the model's window
    │   └── ContentBlocked               400   a guard or the provider's filter said no
    ├── Unauthenticated                  401   identify: no key, or not a valid one
    ├── BudgetSpent                      402   budget
    ├── PermissionDenied                 403   identify, router: the key may not do this
    ├── NotFound                         404   unknown path or model
    ├── MethodNotAllowed                 405   known path, other method
    ├── TooLarge                         413   a limit on the request's size
    ├── RateLimited                      429   rate, or the provider's own limit
    ├── Internal                         500   a defect of ours, or a stage that raised
    ├── UpstreamBad                      502   the provider answered what cannot be used
    ├── Overloaded                       503   no capacity here, or at the provider
    └── Timeout                          504   nobody answered in time

An error is raised anywhere and rendered once, in the client's own dialect
(`Dialect.render_error`). It is also a value: `reply.Failed` carries one.
It never holds a secret: its text reaches clients and logs.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

CREDENTIAL_REFUSED = "provider_credential_refused"
"""`code` of an `UpstreamBad`: the provider did not take the gateway's own credential"""


class Origin(StrEnum):
    """Who said no. Sent to clients as `x-sluice-error-origin`."""

    GATEWAY = "gateway"
    PROVIDER = "provider"
    NETWORK = "network"


class Kind(StrEnum):
    """The canonical taxonomy, which dialects map to their own types and codes."""

    INVALID_REQUEST = "invalid_request"
    UNSUPPORTED = "unsupported"
    CONTEXT_TOO_LONG = "context_too_long"
    CONTENT_BLOCKED = "content_blocked"
    AUTH = "auth"
    BUDGET = "budget"
    PERMISSION = "permission"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    INTERNAL = "internal"
    UPSTREAM_BAD = "upstream_bad"
    OVERLOADED = "overloaded"
    TIMEOUT = "timeout"


class GatewayError(Exception):
    """The root. `message` is for the person who sees the error, and says what to do.

    `status` is the HTTP status of a dialect that has no opinion of its own.
    `param` names the offending field of the request, as the client spelled it.
    `code` overrides the dialect's usual code for this kind (a short stable word).
    `retry_after` is in seconds.
    """

    kind: ClassVar[Kind] = Kind.INTERNAL
    status: int = 500

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        origin: Origin = Origin.GATEWAY,
        retry_after: float | None = None,
        status: int | None = None,
        allow: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.origin = origin
        self.retry_after = retry_after
        self.allow = allow
        if status is not None:
            self.status = status

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r}, origin={self.origin.value})"


class InvalidRequest(GatewayError):
    kind = Kind.INVALID_REQUEST
    status = 400


class Unsupported(InvalidRequest):
    kind = Kind.UNSUPPORTED

    def named(self, name: str) -> Unsupported:
        """The same, with `param` called as the client calls it."""
        message = self.message.replace(f"`{self.param}`", f"`{name}`")
        return Unsupported(message, param=name, code=self.code, origin=self.origin)


class ContextTooLong(InvalidRequest):
    kind = Kind.CONTEXT_TOO_LONG


class ContentBlocked(InvalidRequest):
    kind = Kind.CONTENT_BLOCKED


class Unauthenticated(GatewayError):
    kind = Kind.AUTH
    status = 401


class BudgetSpent(GatewayError):
    kind = Kind.BUDGET
    status = 402


class PermissionDenied(GatewayError):
    kind = Kind.PERMISSION
    status = 403


class NotFound(GatewayError):
    kind = Kind.NOT_FOUND
    status = 404


class MethodNotAllowed(GatewayError):
    """`allow` lists the methods that the path knows."""

    kind = Kind.METHOD_NOT_ALLOWED
    status = 405


class TooLarge(GatewayError):
    kind = Kind.TOO_LARGE
    status = 413


class RateLimited(GatewayError):
    kind = Kind.RATE_LIMITED
    status = 429


class Internal(GatewayError):
    kind = Kind.INTERNAL
    status = 500


class UpstreamBad(GatewayError):
    kind = Kind.UPSTREAM_BAD
    status = 502


class Overloaded(GatewayError):
    kind = Kind.OVERLOADED
    status = 503


class Timeout(GatewayError):
    kind = Kind.TIMEOUT
    status = 504
