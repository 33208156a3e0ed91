"""gRPC's own bytes: messages however they are cut, deadlines, the words of a status."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.wire.grpc_frames import BadMessage, Messages, Status, message, seconds, trailers
from extproc.wire.hpack import Decoder

LIMIT = 100


def taken(messages: Messages) -> list[bytes]:
    found: list[bytes] = []
    while (one := messages.next()) is not None:
        found.append(one)
    return found


@given(
    st.lists(st.binary(max_size=LIMIT), max_size=8),
    st.lists(st.integers(0, 1000), max_size=12),
    st.booleans(),
)
def test_messages_however_they_are_cut(said: list[bytes], cuts: list[int], at_once: bool) -> None:
    octets = b"".join(map(message, said))
    messages = Messages(LIMIT)
    found: list[bytes] = []
    for a, b in pairwise(sorted({0, *(c for c in cuts if c < len(octets)), len(octets)})):
        messages.feed(octets[a:b])
        if not at_once:
            found += taken(messages)
    assert found + taken(messages) == said
    assert messages.held == 0


def test_part_of_a_message_is_held() -> None:
    messages = Messages(LIMIT)
    messages.feed(message(b"one") + message(b"two")[:-1])
    assert taken(messages) == [b"one"]
    assert messages.held == 7
    messages.feed(b"o")
    assert taken(messages) == [b"two"]


def test_a_message_over_the_limit_is_refused_before_it_is_there() -> None:
    messages = Messages(LIMIT)
    messages.feed(message(bytes(LIMIT + 1))[:5])
    with pytest.raises(BadMessage, match="101 bytes; the limit is 100") as caught:
        messages.next()
    assert caught.value.status is Status.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("flag", [1, 2, 255])
def test_a_compressed_message_is_refused(flag: int) -> None:
    messages = Messages(LIMIT)
    messages.feed(bytes([flag]) + message(b"x")[1:])
    with pytest.raises(BadMessage) as caught:
        messages.next()
    assert caught.value.status is Status.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("timeout", "expected"),
    [
        ("2H", 7200.0),
        ("3M", 180.0),
        ("4S", 4.0),
        ("250m", 0.25),
        ("7u", 7e-6),
        ("9n", 9e-9),
        ("00000001S", 1.0),
        ("99999999H", 99999999 * 3600.0),
        ("", None),
    ],
)
def test_timeouts(timeout: str, expected: float | None) -> None:
    assert seconds(timeout) == (expected if expected is None else pytest.approx(expected))


def test_the_words_of_a_status_are_escaped() -> None:
    fields = dict(Decoder(1 << 16).decode(trailers(Status.INTERNAL, "50% é\n")) or [])
    assert fields == {"grpc-status": "13", "grpc-message": "50%25 %C3%A9%0A"}


def test_the_words_of_a_status_are_short() -> None:
    assert len(trailers(Status.INTERNAL, "é" * 100_000)) < 16_384
