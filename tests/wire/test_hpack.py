"""Header compression: the examples of RFC 7541, the `hpack` package as oracle, and bad blocks."""

from __future__ import annotations

import contextlib

import hpack as oracle
import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.table import HeaderTable
from hypothesis import given
from hypothesis import strategies as st

from extproc.wire import huffman
from extproc.wire.hpack import DEFAULT_TABLE, STATIC, BadBlock, Decoder, Field, encode

LIST = 64 << 10
HUFFMAN = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)

NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=20)
VALUES = st.text(st.characters(max_codepoint=255), max_size=60)
FIELDS = st.lists(st.one_of(st.sampled_from(STATIC), st.tuples(NAMES, VALUES)), max_size=12)


def test_the_static_table_is_the_rfcs() -> None:
    assert [(n.decode(), v.decode()) for n, v in HeaderTable.STATIC_TABLE] == list(STATIC)


FIRST = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")]
REQUESTS: list[list[Field]] = [
    FIRST,
    [*FIRST, ("cache-control", "no-cache")],
    [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ],
]
PLAIN = (
    "828684410f7777772e6578616d706c652e636f6d",
    "828684be58086e6f2d6361636865",
    "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
)
CODED = (
    "828684418cf1e3c2e5f23a6ba0ab90f4ff",
    "828684be5886a8eb10649cbf",
    "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
)
DATE = "Mon, 21 Oct 2013 20:13:21 GMT"
REPLIES: list[list[Field]] = [
    [
        (":status", "302"),
        ("cache-control", "private"),
        ("date", DATE),
        ("location", "https://www.example.com"),
    ],
    [
        (":status", "307"),
        ("cache-control", "private"),
        ("date", DATE),
        ("location", "https://www.example.com"),
    ],
    [
        (":status", "200"),
        ("cache-control", "private"),
        ("date", DATE.replace("21 GMT", "22 GMT")),
        ("location", "https://www.example.com"),
        ("content-encoding", "gzip"),
        ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
    ],
]
EVICTING = (
    "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97"
    "c8e9ae82ae43d3",
    "4883640effc1c0bf",
    "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd"
    "5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
)


@pytest.mark.parametrize(
    ("blocks", "lists", "table"),
    [(PLAIN, REQUESTS, 4096), (CODED, REQUESTS, 4096), (EVICTING, REPLIES, 256)],
    ids=["C.3 without Huffman", "C.4 with Huffman", "C.6 with eviction"],
)
def test_examples_of_the_rfc(blocks: tuple[str, ...], lists: list[list[Field]], table: int) -> None:
    decoder = Decoder(LIST, table)
    assert [decoder.decode(bytes.fromhex(block)) for block in blocks] == lists


def test_single_fields_of_the_rfc() -> None:
    """C.2: added to the table, not added, never added, indexed."""
    for block, field in (
        ("400a637573746f6d2d6b65790d637573746f6d2d686561646572", ("custom-key", "custom-header")),
        ("040c2f73616d706c652f70617468", (":path", "/sample/path")),
        ("100870617373776f726406736563726574", ("password", "secret")),
        ("82", (":method", "GET")),
    ):
        assert Decoder(LIST).decode(bytes.fromhex(block)) == [field]


@given(st.binary(max_size=80))
def test_huffman_is_the_oracles(text: bytes) -> None:
    assert huffman.decode(HUFFMAN.encode(text)) == text.decode("latin-1")


@given(st.lists(FIELDS, max_size=6), st.booleans(), st.sampled_from([0, 100, 4096]))
def test_what_the_oracle_encodes_is_decoded(
    lists: list[list[Field]], coded: bool, table: int
) -> None:
    encoder = oracle.Encoder()
    decoder = Decoder(LIST)
    encoder.header_table_size = table
    for fields in lists:
        octets = [(n.encode(), v.encode("latin-1")) for n, v in fields]
        assert decoder.decode(encoder.encode(octets, huffman=coded)) == fields


@given(st.lists(FIELDS, min_size=1, max_size=6), st.integers(0, 7), st.booleans())
def test_blocks_that_begin_alike_are_decoded_alike(
    lists: list[list[Field]], shared: int, agreed: bool
) -> None:
    """Once there is no table, what blocks have in common is remembered: it must not show."""
    decoder, encoder = Decoder(LIST), oracle.Encoder()
    if agreed:
        decoder.limit(0)
        encoder.header_table_size = 0
        decoder.decode(encoder.encode([]) + b" ")
    for fields in lists:
        same = [*lists[0][:shared], *fields]
        octets = [(n.encode(), v.encode("latin-1")) for n, v in same]
        assert decoder.decode(encoder.encode(octets)) == same


@given(FIELDS)
def test_what_we_encode_the_oracle_decodes(fields: list[Field]) -> None:
    decoder = oracle.Decoder()
    for _ in range(2):
        found = decoder.decode(encode(fields), raw=True)
        assert [(n.decode(), v.decode("latin-1")) for n, v in found] == fields


@given(st.binary(max_size=200))
def test_garbage_is_a_bad_block_or_none(block: bytes) -> None:
    decoder = Decoder(1000)
    with contextlib.suppress(BadBlock):
        decoder.decode(block)


@pytest.mark.parametrize(
    "block",
    [
        "80",  # index 0
        "be",  # index 62, in an empty table
        "ffffffffffff7f",  # a number without end
        "00",  # no name
        "000561",  # a name that is cut
        "0001610a62",  # a value that is cut
        "0085",  # a coded name that is cut
        "00018461",
        "0084ffffffff00",  # EOS
        "00811800",  # padding that is not ones
        "3fe21f",  # a table of 4,097 bytes
        "8220",  # a size update after a field
    ],
)
def test_bad_blocks(block: str) -> None:
    with pytest.raises(BadBlock):
        Decoder(LIST).decode(bytes.fromhex(block))


def test_a_table_never_outgrows_its_limit() -> None:
    decoder = Decoder(1 << 30)
    encoder = oracle.Encoder()
    for i in range(500):
        decoder.decode(encoder.encode([(f"name-{i}".encode(), b"v" * (i % 90))]))
        kept = decoder._entries  # pyright: ignore[reportPrivateUsage]
        assert sum(len(n) + len(v) + 32 for n, v in kept) <= DEFAULT_TABLE
    with pytest.raises(BadBlock):
        decoder.decode(bytes.fromhex("3fe21f"))


def test_an_entry_larger_than_the_table_empties_it() -> None:
    decoder = Decoder(LIST, 100)
    assert decoder.decode(b"\x40\x01a\x01b" + b"\xbe") == [("a", "b")] * 2
    assert decoder.decode(b"\x40\x01a\x64" + b"b" * 100) == [("a", "b" * 100)]
    with pytest.raises(BadBlock):
        decoder.decode(b"\xbe")


def test_a_list_over_the_limit_is_told_and_the_table_stays_right() -> None:
    """A small block can name a large entry again and again."""
    decoder = Decoder(20_000)
    entry = b"\x40\x01a\x7f\x81\x1f" + b"b" * 4096  # does not fit into the table
    assert decoder.decode(entry) == [("a", "b" * 4096)]
    entry = b"\x40\x01a\x7f\xa1\x1e" + b"b" * 4000
    bomb = entry + b"\xbe" * 10_000
    assert decoder.decode(bomb) is None
    assert decoder.decode(b"\xbe") == [("a", "b" * 4000)]


def test_a_peer_that_agreed_to_no_table_must_say_so() -> None:
    """RFC 9113, 4.3.1."""
    decoder = Decoder(LIST)
    decoder.decode(b"\x40\x01a\x01b")
    decoder.limit(0)
    with pytest.raises(BadBlock):
        decoder.decode(b"\xbe")
    decoder = Decoder(LIST)
    decoder.limit(0)
    assert decoder.decode(b"\x20\x82") == [(":method", "GET")]
    assert decoder.decode(b"\x40\x01a\x01b") == [("a", "b")]
    with pytest.raises(BadBlock):
        decoder.decode(b"\xbe")
