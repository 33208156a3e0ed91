"""JSON as text: read strictly, write compactly, change a member without touching the rest.

`loads` refuses what parsers disagree on (duplicate keys, NaN, infinite numbers,
a byte order mark) and keeps integers exact. `splice` changes top-level members
of a body, and `put` one at any depth; every other byte stays where it was. Nothing
here knows what the members mean, and nothing but `BadJson` is raised for bad input.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import cast

import orjson

from extproc.model.chat import Json

MAX_DEPTH = 254
"""levels of nesting; what the writer can write again"""

_BOM = b"\xef\xbb\xbf"
_EXACT_FLOAT = float(2**63)
_SURROGATE = re.compile("[\ud800-\udfff]")
_SPACE = b" \t\r\n"


class BadJson(Exception):
    """`message` says what is wrong and, where known, the line and column (or byte) at which.

    `key` is the key that an object has twice, if that is what is wrong.
    """

    def __init__(self, message: str, key: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.key = key


def loads(body: bytes) -> Json:
    """The value that `body` holds. Lone surrogates stay in its strings.

    Raises `BadJson` for anything that is not JSON in UTF-8, for a key that an
    object has twice (however it is spelled), for NaN and infinite numbers, for
    more than `MAX_DEPTH` levels, and for an empty body.
    """
    try:
        value = cast(Json, orjson.loads(body))
        canonical = orjson.dumps(value)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return _loads_exactly(body)
    if canonical == body or (_keys_are_unique(body, canonical) and not _has_huge(value)):
        return value
    return _loads_exactly(body)


def _keys_are_unique(body: bytes, canonical: bytes) -> bool:
    """A key that was dropped took its quotes along; only `\\u0022` could make up for them."""
    return b"\\u0022" not in body and body.count(b'"') == canonical.count(b'"')


def _has_huge(value: Json) -> bool:
    """Whether a float may be an integer that was too long for 64 bits."""
    todo: list[Json] = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            todo.extend(item.values())
        elif isinstance(item, list):
            todo.extend(item)
        elif type(item) is float and not -_EXACT_FLOAT < item < _EXACT_FLOAT:
            return True
    return False


def _loads_exactly(body: bytes) -> Json:
    if body.startswith(_BOM):
        raise BadJson("the body starts with a byte order mark; send JSON without one")
    if not body.strip(_SPACE):
        raise BadJson("the body is empty; a JSON object is expected")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BadJson(f"the body is not UTF-8 at byte {error.start}") from None
    try:
        value = cast(Json, _STRICT.decode(text))
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise BadJson(f"the body is not valid JSON: {error.msg} at {place}") from None
    except RecursionError:
        raise BadJson(_TOO_DEEP) from None
    except ValueError:
        raise BadJson("the body has a number with too many digits") from None
    _check_depth(value)
    return value


_TOO_DEEP = f"the body is nested too deeply; at most {MAX_DEPTH} levels are accepted"


def _check_depth(value: Json) -> None:
    level: list[Json] = [value]
    depth = 0
    while level:
        below: list[Json] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
                below.append(None)
            elif isinstance(item, list):
                below.extend(item)
                below.append(None)
        if below:
            depth += 1
        if depth > MAX_DEPTH:
            raise BadJson(_TOO_DEEP)
        level = below


def _members(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise BadJson(f"the body has the key {_shown(key)} twice in one object", key)
            seen.add(key)
    return members


def _shown(key: str) -> str:
    return json.dumps(key if len(key) <= 64 else key[:64] + "...")


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise BadJson(f"the body has a number that is too large: {text[:32]}")
    return number


def _constant(text: str) -> float:
    raise BadJson(f"the body has {text}, which is not valid JSON")


_STRICT = json.JSONDecoder(
    object_pairs_hook=_members, parse_float=_number, parse_constant=_constant
)


def dumps(value: Json) -> bytes:
    """Compact UTF-8. Lone surrogates become U+FFFD; integers are written whole."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return _SURROGATE.sub("\ufffd", text).encode()


# --- splice ---------------------------------------------------------------------------------

# No group is possessive: Python before 3.11.5 matches those wrongly.
_WS = re.compile(rb"[ \t\r\n]*+")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*"', re.DOTALL)
_SCALAR = re.compile(rb"[^,\]}\s]++")
_NESTED = re.compile(rb'[^"\[\]{}]*+(?:("[^"\\]*+(?:\\.[^"\\]*+)*")|([\[{])|([\]}]))', re.DOTALL)


def splice(
    body: bytes,
    *,
    replace: Mapping[str, bytes] | None = None,
    remove: Collection[str] = (),
    add: Mapping[str, bytes] | None = None,
) -> bytes:
    """`body` with other top-level members, every other byte as it was.

    `body` must be an object that `loads` accepted; the keys in `replace` and
    `remove` must be members of it and those in `add` must not. Values are JSON
    text. New members come right after the opening brace.
    """
    for key, value in (replace or {}).items():
        _, start, end = _find(body, key)
        body = body[:start] + value + body[end:]
    for key in remove:
        start, _, end = _find(body, key)
        body = _cut(body, start, end)
    if add:
        brace = body.index(b"{") + 1
        after = _end(_WS, body, brace)
        text = b",".join(orjson.dumps(key) + b":" + value for key, value in add.items())
        body = body[:brace] + text + (b"" if body[after] == _CLOSE else b",") + body[brace:]
    return body


_OPEN, _CLOSE = b"{}"
_COMMA = ord(",")
_QUOTE = ord('"')


def _find(body: bytes, key: str) -> tuple[int, int, int]:
    """Where the member starts, and where its value starts and ends."""
    name = orjson.dumps(key)
    # The member is there; so if it is spelled plainly and only once, that is the place.
    if b"\\u" not in body and body.count(name) == 1:
        start = body.index(name)
        value = _value_start(body, start + len(name))
        return start, value, _value_end(body, value)
    found = _walk(body, body.index(b"{"), key, name)
    if found is None:
        raise KeyError(key)
    return found


def put(body: bytes, path: Sequence[str], text: bytes) -> bytes:
    """`body` with `text` in place of the string at `path`; as it is where there is none.

    `path` is of keys, from the outermost object in. Of what is no JSON object nothing is changed.
    """
    at, end = 0, 0
    try:
        for key in path:
            at = _end(_WS, body, at)
            if body[at] != _OPEN:
                return body
            found = _walk(body, at, key, orjson.dumps(key))
            if found is None:
                return body
            _, at, end = found
    except (ValueError, IndexError):
        return body
    return body[:at] + text + body[end:] if body[at] == _QUOTE else body


def _walk(body: bytes, brace: int, key: str, name: bytes) -> tuple[int, int, int] | None:
    """As `_find`, member by member of the object that begins at `brace`."""
    at = _end(_WS, body, brace + 1)
    while at < len(body) and body[at] == _QUOTE:
        end = _end(_STRING, body, at)
        value = _value_start(body, end)
        stop = _value_end(body, value)
        spelled = body[at:end]
        if spelled == name or (b"\\" in spelled and json.loads(spelled) == key):
            return at, value, stop
        at = _end(_WS, body, stop)
        if body[at] == _COMMA:
            at = _end(_WS, body, at + 1)
    return None


def _end(pattern: re.Pattern[bytes], body: bytes, at: int) -> int:
    found = pattern.match(body, at)
    if found is None:
        raise ValueError("splice was given a body that loads did not accept")
    return found.end()


def _value_start(body: bytes, key_end: int) -> int:
    return _end(_WS, body, _end(_WS, body, key_end) + 1)


def _value_end(body: bytes, at: int) -> int:
    first = body[at : at + 1]
    if first == b'"':
        return _end(_STRING, body, at)
    if first not in (b"{", b"["):
        return _end(_SCALAR, body, at)
    depth = 0
    while True:
        token = _NESTED.match(body, at)
        if token is None:
            raise ValueError("splice was given a body that loads did not accept")
        at = token.end()
        if token.lastindex == 2:
            depth += 1
        elif token.lastindex == 3:
            depth -= 1
            if depth == 0:
                return at


def _cut(body: bytes, start: int, end: int) -> bytes:
    """Without the member, and without the one comma that it needed."""
    after = _end(_WS, body, end)
    if body[after] == _COMMA:
        return body[:start] + body[after + 1 :]
    before = len(body[:start].rstrip(_SPACE))
    if body[before - 1] == _COMMA:
        return body[: before - 1] + body[end:]
    return body[:start] + body[end:]
