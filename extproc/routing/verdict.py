"""What an attempt that is over says about its target: that it works, that it does not, or nothing.

Pure. A request that the provider refused because of what was asked says nothing bad about it.
"""

from __future__ import annotations

from enum import Enum, auto

from extproc.model.call import Failure, Tried

COOLDOWN = 2.0
"""seconds that a target is left alone whose provider said "too many", and not for how long"""
REFUSED = 60.0
"""seconds that one of several keys or regions is left alone that refuses its credential"""
_TOO_MANY = 429
_REFUSED = frozenset({401, 402, 403})
_TARGETS_FAULT = frozenset({401, 403, 408})
ERROR = 400
_SERVER_ERROR = 500


class Verdict(Enum):
    GOOD = auto()
    BAD = auto()
    NONE = auto()


_BAD = frozenset(
    {
        Failure.CONNECT,
        Failure.DNS,
        Failure.TLS,
        Failure.RESET,
        Failure.TIMEOUT,
        Failure.FIRST_EVENT,
        Failure.OVERLOADED,
        Failure.SERVER_ERROR,
        Failure.CREDENTIAL,
        Failure.STREAM_ERROR,
        Failure.EMPTY,
    }
)


def of_failure(failure: Failure) -> Verdict:
    """Bad, or it says nothing about the target."""
    return Verdict.BAD if failure in _BAD else Verdict.NONE


def verdict(tried: Tried) -> Verdict:
    """A reply that went to the client is judged by its status: it may be the last one's error."""
    if tried.failure is not None:
        return of_failure(tried.failure)
    status = tried.status
    if status < ERROR:
        return Verdict.GOOD if status else Verdict.NONE
    if status == _TOO_MANY:
        return Verdict.NONE
    return Verdict.BAD if status >= _SERVER_ERROR or status in _TARGETS_FAULT else Verdict.GOOD


def cooldown(tried: Tried, longest: float) -> float:
    """Seconds to leave the target alone, 0: none. A provider that says how long is obeyed, to a bound."""
    asked = tried.retry_after
    limited = tried.failure is Failure.RATE_LIMIT or (
        tried.failure is None and tried.status == _TOO_MANY
    )
    if asked is not None and asked >= 0.0:
        return min(asked, longest) if limited or verdict(tried) is Verdict.BAD else 0.0
    if (tried.target.key_name or tried.target.region_name) and _is_refused(tried):
        return min(REFUSED, longest)
    return min(COOLDOWN, longest) if limited else 0.0


def _is_refused(tried: Tried) -> bool:
    """Whether the fault is the key's that it was asked with."""
    if tried.failure is None:
        return tried.status in _REFUSED
    return tried.failure is Failure.CREDENTIAL
