"""The language of faults, without a server."""

from __future__ import annotations

import pytest

from extproc.mock import faults
from extproc.mock.faults import BadDirective, Faults, apply, pairs_of


def test_every_key_is_described() -> None:
    described = faults.__doc__ or ""
    assert [name for name in faults.names() if f"\n    {name}" not in described] == []


@pytest.mark.parametrize(
    ("directive", "expected"),
    [
        ("", Faults()),
        ("status=429;retry-after=3", Faults(status=429, retry_after="3")),
        ("delay=2 pace=5", Faults(delay=2.0, pace=0.005)),
        ("delay=20ms;pace=1s", Faults(delay=0.02, pace=1.0)),
        ("cut=rst", Faults(cut=("rst", 1))),
        ("cut=chunk@40", Faults(cut=("chunk", 40))),
        ("stall=30@40", Faults(stall=(30.0, 40))),
        ("stall=forever@0", Faults(stall=(faults.FOREVER, 0))),
        ("giant=2k", Faults(giant=2048)),
        ("gzip no-usage=yes", Faults(gzip=True, no_usage=True)),
        ("header=a:b%20c", Faults(header=(("a", "b c"),))),
    ],
)
def test_readable(directive: str, expected: Faults) -> None:
    assert apply(Faults(), pairs_of(directive)) == expected


@pytest.mark.parametrize(
    ("directive", "message"),
    [
        ("status=99", "fault status=99: expected a status from 200 to 599"),
        ("status", "fault status=: expected a whole number"),
        ("cut=soft", "fault cut=soft: expected fin or rst or chunk"),
        ("delay=-1", "fault delay=-1: expected a duration such as 5ms or 2s"),
        ("delay=nan", "fault delay=nan: expected a duration such as 5ms or 2s"),
        ("usage=5", "fault usage=5: expected two counts, as in 1000,50"),
        ("split=0", "fault split=0: expected a number from 1"),
        ("header=a", "fault header=a: expected name:value"),
        ("retry-after=1%0d%0ax:y", "fault retry-after=1%0d%0ax:y: expected one line"),
        ("giant=1000m", "fault giant=1000m: expected a size of at most 256m"),
        ("gzip=5", "fault gzip=5: expected nothing, it is a switch"),
    ],
)
def test_unreadable(directive: str, message: str) -> None:
    with pytest.raises(BadDirective) as caught:
        apply(Faults(), pairs_of(directive))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("path", "rest", "found"),
    [
        ("/v1/models?a=1;b", "/v1/models?a=1;b", []),
        ("/fault/reset/v1/models", "/v1/models", ["reset"]),
        ("/fault/gzip/fault/crlf/x", "/x", ["gzip", "crlf"]),
        ("/models/g;status=429:generate?k", "/models/g:generate?k", ["status=429"]),
    ],
)
def test_path(path: str, rest: str, found: list[str]) -> None:
    assert faults.take_from_path(path) == (rest, found)


def test_body_takes_the_last_directive_of_a_conversation() -> None:
    body = b'{"model": "m;gzip", "a": "[[mock status=500]]", "b": "[[mock status=429 crlf]]"}'
    assert faults.take_from_body(body) == ("gzip", "status=429 crlf")
