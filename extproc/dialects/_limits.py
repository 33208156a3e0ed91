"""Rate limits as providers tell them in headers, read and written in two spellings.

OpenAI: `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, resets as spans
(`6m0s`). Anthropic: `anthropic-ratelimit-{...}`, resets as RFC 3339 times. A time
becomes a span by the reply's own `date`, so no clock is needed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

from extproc.model.dialect import Headers, RateLimit

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|[dhms])")
_KINDS = ("requests", "tokens", "input-tokens", "output-tokens")


def read_spans(headers: Headers, prefix: str = "x-ratelimit-") -> tuple[RateLimit, ...]:
    """OpenAI's spelling."""
    found: list[RateLimit] = []
    for kind in _KINDS:
        limit = _count(headers.get(f"{prefix}limit-{kind}"))
        remaining = _count(headers.get(f"{prefix}remaining-{kind}"))
        if limit is not None or remaining is not None:
            reset = _span(headers.get(f"{prefix}reset-{kind}"))
            found.append(RateLimit(kind, limit, remaining, reset))
    return tuple(found)


def read_times(headers: Headers, prefix: str = "anthropic-ratelimit-") -> tuple[RateLimit, ...]:
    """Anthropic's spelling."""
    found: list[RateLimit] = []
    for kind in _KINDS:
        limit = _count(headers.get(f"{prefix}{kind}-limit"))
        remaining = _count(headers.get(f"{prefix}{kind}-remaining"))
        if limit is not None or remaining is not None:
            reset = _until(headers.get(f"{prefix}{kind}-reset"), headers.get("date"))
            found.append(RateLimit(kind, limit, remaining, reset))
    return tuple(found)


def write_spans(limits: tuple[RateLimit, ...]) -> Mapping[str, str]:
    """OpenAI's spelling."""
    out: dict[str, str] = {}
    for one in limits:
        if one.limit is not None:
            out[f"x-ratelimit-limit-{one.kind}"] = str(one.limit)
        if one.remaining is not None:
            out[f"x-ratelimit-remaining-{one.kind}"] = str(one.remaining)
        if one.reset is not None:
            out[f"x-ratelimit-reset-{one.kind}"] = f"{one.reset:g}s"
    return out


def write_times(limits: tuple[RateLimit, ...]) -> Mapping[str, str]:
    """Anthropic's spelling, without resets: those are times of day, and there is no clock here."""
    out: dict[str, str] = {}
    for one in limits:
        if one.limit is not None:
            out[f"anthropic-ratelimit-{one.kind}-limit"] = str(one.limit)
        if one.remaining is not None:
            out[f"anthropic-ratelimit-{one.kind}-remaining"] = str(one.remaining)
    return out


def _count(text: str | None) -> int | None:
    if text is None or not text.strip().isdecimal():
        return None
    return int(text.strip()[:18])


def _span(text: str | None) -> float | None:
    if not text:
        return None
    pieces = _SPAN.findall(text)
    if "".join(number + unit for number, unit in pieces) != text.strip():
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in pieces)


def _until(text: str | None, date: str | None) -> float | None:
    if not text or not date:
        return None
    try:
        now = parsedate_to_datetime(date)
        return max(0.0, (datetime.fromisoformat(text) - now).total_seconds())
    except (ValueError, TypeError):
        return None
