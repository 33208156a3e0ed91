"""JSON read strictly, and spliced without touching a byte more than needed."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.codec import jsontext
from extproc.codec.jsontext import BadJson, loads, put, splice

DUPLICATES = [
    b'{"model":"a","model":"b"}',
    b'{"model":"a","mod\\u0065l":"b"}',
    b'{"\\u006dodel":"a", "model" : "a"}',
    b'{"x":[{"y":{"k":1,"k":1}}]}',
    b'{"a":"x","a":"\\u0022\\u0022\\u0022\\u0022"}',
    b'{"":1,"":2}',
    b'{"\\ud800":1,"\\ud800":2}',
]


@pytest.mark.parametrize("body", DUPLICATES)
def test_trap_16_duplicate_keys(body: bytes) -> None:
    with pytest.raises(BadJson, match="twice in one object"):
        loads(body)


def test_trap_17_lone_surrogates_stay_in_the_value_and_leave_as_replacement() -> None:
    value = loads(b'{"a":"x\\ud800y"}')
    assert value == {"a": "x\ud800y"}
    assert jsontext.dumps(value) == '{"a":"x\ufffdy"}'.encode()


def test_trap_18_integers_are_exact_and_numbers_finite() -> None:
    for number in (10**29, -(10**29), 2**64, 2**63, -(2**63) - 1):
        assert loads(b" [%d]" % number) == [number]
        assert jsontext.dumps([number]) == b"[%d]" % number
    assert loads(b"[1e300, 1.5]") == [1e300, 1.5]
    for text in (b"[1e400]", b"[-1e999]", b"[1" + b"0" * 400 + b".5e0]"):
        with pytest.raises(BadJson, match="too large"):
            loads(text)
    with pytest.raises(BadJson, match="too many digits"):
        loads(b"9" * 10_000)


@pytest.mark.parametrize("text", [b"[NaN]", b"[Infinity]", b"[-Infinity]"])
def test_trap_19_nan_and_infinity(text: bytes) -> None:
    with pytest.raises(BadJson, match="not valid JSON"):
        loads(text)


@pytest.mark.parametrize("depth", [255, 1000, 2000, 10_000, 100_000])
@pytest.mark.parametrize("close", [True, False])
def test_trap_20_deep_nesting(depth: int, close: bool) -> None:
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        end = (b"1" + closing * depth) if close else b""
        with pytest.raises(BadJson):
            loads(opening * depth + end)


def test_the_deepest_that_is_read_can_be_written_again() -> None:
    body = b"[" * jsontext.MAX_DEPTH + b"]" * jsontext.MAX_DEPTH
    assert jsontext.dumps(loads(body)) == body
    spaced = (
        b" " + b"[" * (jsontext.MAX_DEPTH - 1) + b"%d" % 10**30 + b"]" * (jsontext.MAX_DEPTH - 1)
    )
    assert jsontext.dumps(loads(spaced)) == spaced.strip()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "empty"),
        (b" \r\n\t", "empty"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"a":"\xff"}', "not UTF-8 at byte 6"),
        (b'{"a":"\xed\xa0\x80"}', "not UTF-8 at byte 6"),
        (b'{\n"a":1,}', "line 2 column 7"),
        (b'{"a":1} x', "line 1 column 9"),
        (b"{'a':1}", "line 1 column 2"),
        (b'{"a":"\n"}', "control character"),
        (b"[01]", "line 1 column 3"),
    ],
)
def test_messages_name_the_place(body: bytes, message: str) -> None:
    with pytest.raises(BadJson, match=message):
        loads(body)


def same(a: Any, b: Any) -> bool:
    """Equal as JSON values: 1 is not true."""
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


TEXT = st.text(max_size=8)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(TEXT, below, max_size=3),
    max_leaves=12,
)
STYLES: list[dict[str, Any]] = [
    {"separators": (",", ":"), "ensure_ascii": False},
    {"indent": 2},
    {"separators": (" ,\r\n", "\t: ")},
]


@given(VALUES, st.sampled_from(STYLES))
def test_what_json_writes_is_read_the_same(value: Any, style: dict[str, Any]) -> None:
    text = json.dumps(value, **style)
    try:
        body = text.encode()
    except UnicodeEncodeError:
        return
    assert same(loads(body), value)
    assert same(loads(jsontext.dumps(loads(body))), value)


@given(st.binary(max_size=40))
def test_nothing_but_badjson_is_raised(body: bytes) -> None:
    try:
        loads(body)
    except BadJson as error:
        assert error.message


# --- splice


def escaped(key: str) -> str:
    return '"' + "".join(f"\\u{ord(c):04x}" for c in key) + '"'


KEYS = ["model", "messages", "stream", "stream_options", "sluice", 'q"uote', "mod", "nested"]


@given(data=st.data())
def test_splice_changes_what_it_is_told_and_nothing_else(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(KEYS), unique=True))
    inner = st.dictionaries(st.sampled_from(KEYS), VALUES | st.sampled_from(KEYS), max_size=3)
    members = {name: data.draw(VALUES | inner | st.sampled_from(KEYS)) for name in names}
    gaps = st.sampled_from(["", " ", "\n\t", "\r\n"])
    texts: list[str] = []
    for name, value in members.items():
        spelled = data.draw(st.sampled_from([json.dumps(name), escaped(name)]))
        style = data.draw(st.sampled_from(STYLES))
        a, b, c, d = (data.draw(gaps) for _ in range(4))
        texts.append(f"{a}{spelled}{b}:{c}{json.dumps(value, **style)}{d}")
    body = ("{" + (",".join(texts) or data.draw(gaps)) + "}" + data.draw(gaps)).encode(
        "utf-8", "replace"
    )
    before = loads(body)
    assert isinstance(before, dict)
    replaced = data.draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    removed = (
        [n for n in data.draw(st.lists(st.sampled_from(names), unique=True)) if n not in replaced]
        if names
        else []
    )
    added = [name for name in ("new", "added") if data.draw(st.booleans())]
    after = splice(
        body,
        replace=dict.fromkeys(replaced, b'{"r":1}'),
        remove=removed,
        add=dict.fromkeys(added, b'"A"'),
    )
    expected = {**before, **{n: {"r": 1} for n in replaced}, **dict.fromkeys(added, "A")}
    for name in removed:
        del expected[name]
    assert same(loads(after), expected)
    if not removed:
        for text, name in zip(texts, members, strict=True):
            assert name in replaced or text.encode("utf-8", "replace") in after


def test_every_other_byte_stays() -> None:
    body = b'{ "x" : [1, 2.50, "\\u00e9"],\n  "mod\\u0065l" : "a" , "tail":{"model":"inner"} }  '
    assert splice(body, replace={"model": b'"b"'}) == body.replace(b'"a"', b'"b"')
    plain = b'{"messages":[{"role":"model"}],"model":"a","m":"\\"model\\""}'
    assert splice(plain, replace={"model": b'"b"'}) == plain.replace(b'"a"', b'"b"')
    assert splice(b'{"a":1}', add={"b": b"2"}) == b'{"b":2,"a":1}'
    assert splice(b" { } ", add={"b": b"2"}) == b' {"b":2 } '
    assert splice(b'{"a":1, "s": {"x":"}"} ,"b":2}', remove=["s"]) == b'{"a":1, "b":2}'
    assert splice(b'{"a":1 , "s":2 }', remove=["s"]) == b'{"a":1  }'
    assert splice(b'{"s":2}', remove=["s"]) == b"{}"


def test_splice_takes_linear_time() -> None:
    def seconds(size: int) -> float:
        body = b'{"messages":[' + b'{"c":"\\u0041\\"]}"},' * size + b'1],"model":"a"}'
        begin = time.perf_counter()
        splice(body, replace={"model": b'"b"'})
        return time.perf_counter() - begin

    seconds(100)
    assert seconds(100_000) < 100 * max(seconds(10_000), 0.02)


def test_a_key_that_is_not_there_is_a_defect_of_the_caller() -> None:
    with pytest.raises(KeyError):
        splice(b'{"a":{"model":1}, "b":"model", "\\u0063":1}', replace={"model": b"1"})


# --- put


@pytest.mark.parametrize(
    ("body", "path", "after"),
    [
        (b'{"a":{"model":"x"},"model" : "y"}', ("model",), b'{"a":{"model":"x"},"model" : "Z"}'),
        (b'{"a":{"model":"x"}}', ("a", "model"), b'{"a":{"model":"Z"}}'),
        (b' {"\\u006dodel":"y"} ', ("model",), b' {"\\u006dodel":"Z"} '),
        (b'{"a":{"model":"x"}}', ("model",), None),
        (b'{"a":"model"}', ("a", "model"), None),
        (b'{"model":{"model":"x"}}', ("model",), None),
        (b'{"model":null}', ("model",), None),
        (b"[DONE]", ("model",), None),
        (b'["model"]', ("model",), None),
        (b'{"model":', ("model",), None),
        (b"", ("model",), None),
    ],
)
def test_put_changes_a_string_where_there_is_one(
    body: bytes, path: tuple[str, ...], after: bytes | None
) -> None:
    assert put(body, path, b'"Z"') == (body if after is None else after)


@given(st.binary(max_size=40))
def test_put_of_what_is_no_json_raises_nothing(body: bytes) -> None:
    put(b'{"model":' + body, ("model", "model"), b'"Z"')
