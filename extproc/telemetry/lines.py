"""A log event as one line of JSON or of text for people. Pure; never raises, whatever it is given.

Takes an event's head and fields, gives bytes that end in one newline. Fields
that are named like a credential, and text that looks like one, come out as
`***`: a second line of defence, no licence to log them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import orjson

MAX_TEXT = 2000
"""characters of one text field"""
MAX_LINE = 16 * 1024
"""bytes of a line, above which its texts are cut"""
MASK = "***"

_SECRET_NAME = re.compile(
    r"(?:^|[_-])(?:key|keys|token|apikey)$|authorization|secret|passw(?:or)?d|credential|cookie",
    re.IGNORECASE,
)
_RESERVED = frozenset({"time", "level", "part", "event"})
_SECRET_TEXT = re.compile(
    r"(?i)(\b(?:bearer|basic)\s+|\b(?:x-api-key|api-key|api_key)\b['\"]?\s*[:=]\s*['\"]?|[?&]key=|\bsk-)"
    r"[^\s\"'\\&,;]+"
)
_HINTS = ("sk-", "bearer", "basic ", "key")
_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS
_MAX_DEPTH = 4
_MAX_KNOWN_NAMES = 1000


class Lines:
    """Remembers which field names are harmless, so that a line of known names is not looked at twice."""

    def __init__(self, part: str, console: bool) -> None:
        self._part = part
        self._console = console
        self._harmless: set[str] = set()
        self._heads: dict[tuple[str, str], bytes] = {}

    def render(self, time: str, level: str, event: str, fields: Mapping[str, object]) -> bytes:
        """The line. `time` is ISO 8601; `fields` keep their order."""
        clean = fields if fields.keys() <= self._harmless else self._rename(fields)
        if self._console:
            return self._text(time, level, event, clean)
        head = self._heads.get((level, event)) or self._head(level, event)
        body = _json(clean)
        if len(body) > 3:
            return b"".join((b'{"time":"', time.encode(), head, b",", body[1:]))
        return b"".join((b'{"time":"', time.encode(), head, body[1:]))

    def _head(self, level: str, event: str) -> bytes:
        """What follows the time, up to the fields; kept, because events are few."""
        fixed = orjson.dumps({"level": level, "part": self._part, "event": _plain(event)})
        head = b'",' + fixed[1:-1]
        if len(self._heads) < _MAX_KNOWN_NAMES:
            self._heads[level, event] = head
        return head

    def _rename(self, fields: Mapping[str, object]) -> dict[str, object]:
        clean: dict[str, object] = {}
        for name, value in fields.items():
            if _SECRET_NAME.search(name):
                clean[name] = MASK
            elif name in _RESERVED:
                clean[name + "_"] = value
            else:
                clean[name] = value
                if len(self._harmless) < _MAX_KNOWN_NAMES:
                    self._harmless.add(name)
        return clean

    def _text(self, time: str, level: str, event: str, fields: Mapping[str, object]) -> bytes:
        words = [time[11:23], f"{level.upper():7}", self._part, _word(event)]
        words.extend(f"{_word(name)}={_word(value)}" for name, value in fields.items())
        return (" ".join(words) + "\n").encode("utf-8", "backslashreplace")


def _json(fields: Mapping[str, object]) -> bytes:
    try:
        data = orjson.dumps(fields, default=_foreign, option=_OPTIONS)
    except (TypeError, ValueError, RecursionError):
        # A lone surrogate, an integer above 64 bits, a nesting too deep.
        data = b""
    if data and len(data) <= MAX_LINE and not _suspect(data):
        return data
    plain = {_plain(name): _simple(value, _MAX_DEPTH) for name, value in fields.items()}
    data = orjson.dumps(plain, option=_OPTIONS)
    if len(data) <= 4 * MAX_LINE:
        return data
    kept = {name: value for name, value in plain.items() if not isinstance(value, list | dict)}
    data = orjson.dumps(kept, option=_OPTIONS)
    return data if len(data) <= 4 * MAX_LINE else b'{"fields":"too long"}\n'


def _suspect(data: bytes) -> bool:
    """A quick look whether a secret may be inside; a false alarm costs only time."""
    return b"sk-" in data or b"earer" in data or b"asic " in data or b"key" in data


def _foreign(value: object) -> object:
    return _simple(value, _MAX_DEPTH)


def _simple(value: object, depth: int) -> object:
    """The value in JSON's own types, cut to a sane size, secrets masked."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else str(value)
    if isinstance(value, str):
        return _plain(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if depth == 0:
        return "..."
    if isinstance(value, Mapping):
        items = list(value.items())[:50]
        return {
            _plain(str(name)): MASK if _SECRET_NAME.search(str(name)) else _simple(item, depth - 1)
            for name, item in items
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_simple(item, depth - 1) for item in list(value)[:50]]
    try:
        return _plain(str(value))
    except Exception:
        # Somebody's __str__ failed: a log line must not raise for that.
        return f"<{type(value).__name__}>"


def _plain(text: str) -> str:
    cut = text[:MAX_TEXT] + "..." if len(text) > MAX_TEXT else text
    if any(hint in cut.lower() for hint in _HINTS):
        cut = _SECRET_TEXT.sub(lambda found: found.group(1) + MASK, cut)
    return cut if cut.isascii() else cut.encode("utf-8", "backslashreplace").decode()


def _word(value: object) -> str:
    """A value as one word: quoted where it holds a space, with everything unprintable escaped."""
    simple = _simple(value, _MAX_DEPTH)
    match simple:
        case None:
            return "-"
        case float():
            return f"{simple:.6g}"
        case str():
            text = simple
        case bool() | int():
            return str(simple).lower()
        case _:
            text = orjson.dumps(simple, option=orjson.OPT_NON_STR_KEYS).decode()
    if not text.isprintable():
        text = "".join(
            char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
        )
    if text and not any(char in text for char in ' "='):
        return text
    return '"' + text.replace('"', '\\"') + '"'
