"""Rate limits and times to wait, from one provider's headers to another client's."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.dialects._errors import retry_after_of
from extproc.dialects._limits import read_spans, read_times, write_spans, write_times
from extproc.dialects.openai_chat import DIALECT
from extproc.model.dialect import RateLimit, ReplyHead
from extproc.model.errors import RateLimited

OPENAI = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-requests": "59",
    "x-ratelimit-reset-requests": "1s",
    "x-ratelimit-limit-tokens": "150000",
    "x-ratelimit-remaining-tokens": "149984",
    "x-ratelimit-reset-tokens": "6m0s",
}
ANTHROPIC = {
    "date": "Sat, 21 Nov 2026 10:00:00 GMT",
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-remaining": "0",
    "anthropic-ratelimit-requests-reset": "2026-11-21T10:00:30Z",
    "anthropic-ratelimit-input-tokens-limit": "1000",
    "anthropic-ratelimit-input-tokens-reset": "2026-11-21T09:00:00+00:00",
    "anthropic-ratelimit-output-tokens-remaining": "7",
    "anthropic-ratelimit-output-tokens-reset": "tomorrow",
}


def test_openais_spelling() -> None:
    expected = (RateLimit("requests", 60, 59, 1.0), RateLimit("tokens", 150000, 149984, 360.0))
    assert read_spans(OPENAI) == expected
    assert DIALECT.read_limits(ReplyHead(200, OPENAI)) == expected


def test_anthropics_spelling() -> None:
    assert read_times(ANTHROPIC) == (
        RateLimit("requests", 50, 0, 30.0),
        RateLimit("input-tokens", 1000, None, 0.0),
        RateLimit("output-tokens", None, 7, None),
    )
    undated = {name: value for name, value in ANTHROPIC.items() if name != "date"}
    assert {one.reset for one in read_times(undated)} == {None}


def test_an_anthropic_limit_reaches_an_openai_client() -> None:
    assert DIALECT.write_limits(read_times(ANTHROPIC)) == {
        "x-ratelimit-limit-requests": "50",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "30s",
        "x-ratelimit-limit-input-tokens": "1000",
        "x-ratelimit-reset-input-tokens": "0s",
        "x-ratelimit-remaining-output-tokens": "7",
    }


def test_an_openai_limit_reaches_an_anthropic_client() -> None:
    assert write_times(read_spans(OPENAI)) == {
        "anthropic-ratelimit-requests-limit": "60",
        "anthropic-ratelimit-requests-remaining": "59",
        "anthropic-ratelimit-tokens-limit": "150000",
        "anthropic-ratelimit-tokens-remaining": "149984",
    }


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12ms", 0.012),
        ("6m0s", 360.0),
        ("1h2m3.5s", 3723.5),
        ("1d", 86400.0),
        ("", None),
        ("60", None),
        ("soon", None),
        ("1s?", None),
        ("s", None),
    ],
)
def test_spans(text: str, seconds: float | None) -> None:
    (found,) = read_spans({"x-ratelimit-limit-tokens": "1", "x-ratelimit-reset-tokens": text})
    assert found.reset == seconds


@pytest.mark.parametrize("text", ["-1", "", "many", "1.5", "0x10"])
def test_counts_that_say_nothing(text: str) -> None:
    """Azure's gateway sends -1."""
    assert read_spans({"x-ratelimit-limit-tokens": text}) == ()


COUNTS = st.none() | st.integers(0, 10**12)
LIMITS = st.builds(
    RateLimit, st.just("tokens"), COUNTS, COUNTS, st.none() | st.integers(0, 9999).map(float)
)


@given(LIMITS)
@settings(max_examples=60)
def test_what_is_written_is_read_again(limit: RateLimit) -> None:
    said = limit.limit is not None or limit.remaining is not None
    assert read_spans(write_spans((limit,))) == ((limit,) if said else ())


@given(st.text(max_size=12))
@settings(max_examples=60)
def test_no_header_raises(text: str) -> None:
    read_spans({"x-ratelimit-limit-tokens": text, "x-ratelimit-reset-tokens": text})
    read_times(
        {
            "anthropic-ratelimit-tokens-limit": "1",
            "anthropic-ratelimit-tokens-reset": text,
            "date": text,
        }
    )
    retry_after_of({"retry-after": text, "date": text, "retry-after-ms": text})


def test_a_time_to_wait_is_written_both_ways() -> None:
    seconds = retry_after_of({"retry-after-ms": "1500"})
    headers = DIALECT.render_error(RateLimited("x", retry_after=seconds), "gw-1").headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "1500")
