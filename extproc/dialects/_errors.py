"""What every dialect does with a provider's error: keep the truth, hide the credential.

Takes status, headers and what the provider said; gives an error of our tree
with origin `provider`. A 401 or 403 is our failure and never the client's: it
becomes a 502. Bodies that no person could read (HTML, nothing) keep the status.
`status_of` and `wait_of` say what most dialects tell their clients of any error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from extproc.model.dialect import Headers
from extproc.model.errors import (
    CREDENTIAL_REFUSED,
    BudgetSpent,
    GatewayError,
    InvalidRequest,
    Kind,
    NotFound,
    Origin,
    Overloaded,
    RateLimited,
    Timeout,
    TooLarge,
    UpstreamBad,
)

MAX_MESSAGE = 4096
"""characters of a provider's message that travel on"""
WAIT = 2.0
"""seconds until another try, where whoever is overloaded does not say how long it takes"""

_BY_STATUS: Mapping[int, type[GatewayError]] = {
    402: BudgetSpent,
    404: NotFound,
    408: Timeout,
    413: TooLarge,
    429: RateLimited,
    503: Overloaded,
    504: Timeout,
    529: Overloaded,
}
_FIXED: Mapping[Kind, int] = {
    Kind.BUDGET: BudgetSpent.status,
    Kind.OVERLOADED: Overloaded.status,
}
_SPENT = re.compile(
    r"credit balance is too low|used all available credits|credits? (are|is) (depleted|exhausted)"
    r"|(spend|spending|billing) (hard )?(limit|cap)\b|calls / month|regain access",
    re.IGNORECASE,
)
"""said where money is out, with a status that says something else"""


def class_of(status: int, message: str = "") -> type[GatewayError]:
    """The kind of error that a provider's status >= 400 stands for, when nothing else is known.

    A spent budget is none that passes when one waits: the message tells it from a rate limit.
    """
    if status in (400, 429) and _SPENT.search(message, 0, MAX_MESSAGE):
        return BudgetSpent
    return _BY_STATUS.get(status, InvalidRequest if status < 500 else UpstreamBad)


def said(
    status: int,
    message: str,
    *,
    make: type[GatewayError] | None = None,
    code: str | None = None,
    param: str | None = None,
    retry_after: float | None = None,
) -> GatewayError:
    """The error that a provider explained. `make` overrules what the status alone would say."""
    if status in (401, 403):
        return refused_us(status)
    return (make or class_of(status, message))(
        message[:MAX_MESSAGE],
        param=param,
        code=code,
        origin=Origin.PROVIDER,
        retry_after=retry_after,
        status=status,
    )


def refused_us(status: int) -> GatewayError:
    """The provider did not accept the gateway's own credential."""
    message = (
        f"the provider refused the gateway's own credential (status {status}); "
        "whoever runs the gateway must look at the provider's api_key"
    )
    return UpstreamBad(message, origin=Origin.PROVIDER, code=CREDENTIAL_REFUSED)


def unreadable(status: int, retry_after: float | None) -> GatewayError:
    """A failure whose body is no error: HTML, text, or nothing."""
    message = f"the provider answered {status} without an error that can be read"
    make = class_of(status)
    if make is NotFound:
        # A page and not an error: the endpoint is wrong, which is not the client's doing.
        return UpstreamBad(message, origin=Origin.PROVIDER)
    return make(message, origin=Origin.PROVIDER, retry_after=retry_after, status=status)


def retry_after_of(headers: Headers) -> float | None:
    """Seconds. A date counts from the reply's own `date`, so no clock is needed."""
    text = headers.get("retry-after-ms")
    if text is not None and (seconds := _seconds(text)) is not None:
        return seconds / 1000
    text = headers.get("retry-after")
    if text is None:
        return None
    seconds = _seconds(text)
    if seconds is not None:
        return seconds
    try:
        until = parsedate_to_datetime(text)
        now = parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, (until - now).total_seconds())
    except (ValueError, TypeError):
        return None


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 <= seconds < 1e9 else None


def status_of(error: GatewayError) -> int:
    """What clients know a kind by, whatever the provider's own status was.

    boto3 and google-genai try again after a 503, and take a 529 for the end: it is Anthropic's word.
    """
    return _FIXED.get(error.kind, error.status)


def wait_of(error: GatewayError) -> float | None:
    """Seconds until a client may try again; None where waiting does not help, or nobody knows."""
    if error.retry_after is None and error.kind is Kind.OVERLOADED:
        return WAIT
    return error.retry_after
