"""Faults on demand: one small language, read from four places.

A directive is a list of `key=value` or plain `key`, parted by spaces or `;`,
values percent-encoded where they hold either. It stands in a path prefix
(`/fault/status=429;retry-after=3/v1/...`), in the model's name
(`gpt-4o;status=429`, in the body or in the path), in request headers
(`x-mock: status=429`, `x-mock-status: 429`) or in the prompt
(`[[mock status=429 retry-after=3]]`; the last one counts). Later places win, in
that order. Durations are `5ms`, `2s` or a bare number in the unit given below.

    status=N         answer with this status; from 400 up with an error body
    body=html|empty  the body beside `status`: a web page, or nothing
    refuse=KIND      the provider's own refusal: context_length, content_filter, quota or
                     unknown_key
    retry-after=V    the header, as it stands
    delay=S          seconds before the reply's first byte
    reset            TCP reset in place of a reply
    slow-headers=MS  milliseconds between the bytes of the reply's head
    cut=KIND@N       after N events close (fin), reset (rst) or close inside a chunk (chunk)
    end=N            end cleanly after N events, without the terminal
    stall=S@N        go silent for S seconds (or `forever`) after N events, then go on
    malformed=N      event N (from 1) is broken JSON
    error=N          after N events send an error event and end
    giant=BYTES      a text of that size (`64k`, `5m`), in one event when streamed
    framing=chunked  a whole reply in chunked coding rather than with a length
    gzip             content-encoding: gzip
    no-usage         leave usage out
    usage=IN,OUT     report these token counts
    content-type=V   in place of the right one
    header=NAME:V    add a reply header; may be repeated
    pace=MS          milliseconds between events
    words=N          length of the answer
    say=TEXT         the answer's text, whatever shape was asked for
    events=N         number of content events
    split=N          bytes per write, each its own chunk; cuts inside characters and line ends
    crlf             line ends of events are CR LF
    id=ID            answer with this recorded exchange (replay only)
    times=N          only the first N requests with this very directive are affected
    every=N          only each Nth request with this very directive is
    key=END          only requests are that have a header which ends like this, such as a credential
    tag=ANY          no effect; makes a directive of `times` or `every` differ from another

In a whole reply cut and stall strike in the middle of the body, end and
malformed leave its second half out, and error does nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from urllib.parse import unquote

KINDS = ("context_length", "content_filter", "quota", "unknown_key")
"""of refusals"""
_PROMPT = re.compile(rb"\[\[mock\s+([^\]]*)\]\]")
_MODEL = re.compile(rb'"model"\s*:\s*"[^";\\]*;([^"\\]*)"')
_PATH_MODEL = re.compile(r";([^/:?]*)")
_SIZES = {"k": 1 << 10, "m": 1 << 20}
_GIANT_LIMIT = 256 << 20
FOREVER = float("inf")


class BadDirective(Exception):
    """A directive that cannot be read; the message says which part and why."""


@dataclass(frozen=True, slots=True)
class Faults:
    """What to do wrong, and how to shape the answer. Durations in seconds.

    `cut`, `stall` are pairs with the number of events before them; counts of
    None mean: not asked for.
    """

    status: int | None = None
    body: str = ""
    refuse: str = ""
    retry_after: str = ""
    delay: float = 0.0
    reset: bool = False
    slow_headers: float = 0.0
    cut: tuple[str, int] | None = None
    end: int | None = None
    stall: tuple[float, int] | None = None
    malformed: int | None = None
    error: int | None = None
    giant: int | None = None
    framing: str = "length"
    gzip: bool = False
    no_usage: bool = False
    usage: tuple[int, int] | None = None
    content_type: str = ""
    header: tuple[tuple[str, str], ...] = ()
    pace: float = 0.0
    words: int | None = None
    say: str = ""
    events: int | None = None
    split: int | None = None
    crlf: bool = False
    id: str = ""
    times: int | None = None
    every: int | None = None
    key: str = ""
    tag: str = ""


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError("a whole number")
    return int(text)


def _positive(text: str) -> int:
    if (number := _count(text)) < 1:
        raise ValueError("a number from 1")
    return number


def _duration(unit: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        if text == "forever":
            return FOREVER
        scale = unit
        if text.endswith("ms"):
            text, scale = text[:-2], 0.001
        elif text.endswith("s"):
            text, scale = text[:-1], 1.0
        try:
            seconds = float(text) * scale
        except ValueError:
            raise ValueError("a duration such as 5ms or 2s") from None
        if not 0 <= seconds < FOREVER:
            raise ValueError("a duration such as 5ms or 2s")
        return seconds

    return read


def _status(text: str) -> int:
    if not 200 <= (status := _count(text)) <= 599:
        raise ValueError("a status from 200 to 599")
    return status


def _size(text: str) -> int:
    scale = _SIZES.get(text[-1:].lower(), 1)
    size = _count(text[:-1] if scale > 1 else text) * scale
    if size > _GIANT_LIMIT:
        raise ValueError("a size of at most 256m")
    return size


def _one_of(*names: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in names:
            raise ValueError(" or ".join(names))
        return text

    return read


def _at(read: Callable[[str], object]) -> Callable[[str], object]:
    def both(text: str) -> object:
        value, _, after = text.partition("@")
        return read(value), _count(after or "1")

    return both


def _usage(text: str) -> tuple[int, int]:
    given, _, made = text.partition(",")
    try:
        return _count(given), _count(made)
    except ValueError:
        raise ValueError("two counts, as in 1000,50") from None


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name or any(c in text for c in "\r\n"):
        raise ValueError("name:value")
    return name, value.strip()


def _flag(text: str) -> bool:
    if text not in ("", "1", "true", "yes"):
        raise ValueError("nothing, it is a switch")
    return True


def _line(text: str) -> str:
    if any(c in text for c in "\r\n"):
        raise ValueError("one line")
    return text


_SECONDS = _duration(1.0)
_MILLIS = _duration(0.001)
_READERS: dict[str, Callable[[str], object]] = {
    "status": _status,
    "body": _one_of("html", "empty"),
    "refuse": _one_of(*KINDS),
    "retry_after": _line,
    "delay": _SECONDS,
    "reset": _flag,
    "slow_headers": _MILLIS,
    "cut": _at(_one_of("fin", "rst", "chunk")),
    "end": _count,
    "stall": _at(_SECONDS),
    "malformed": _positive,
    "error": _count,
    "giant": _size,
    "framing": _one_of("length", "chunked"),
    "gzip": _flag,
    "no_usage": _flag,
    "usage": _usage,
    "content_type": _line,
    "header": _header,
    "pace": _MILLIS,
    "words": _count,
    "say": _line,
    "events": _positive,
    "split": _positive,
    "crlf": _flag,
    "id": _line,
    "times": _count,
    "every": _positive,
    "key": _line,
    "tag": _line,
}


def apply(faults: Faults, pairs: Iterable[tuple[str, str]]) -> Faults:
    """`faults` with these directives on top; raises BadDirective."""
    for key, text in pairs:
        name = key.lower().replace("-", "_")
        reader = _READERS.get(name)
        if reader is None:
            raise BadDirective(f"there is no fault {key!r}; known are {', '.join(names())}")
        try:
            value = reader(unquote(text))
        except ValueError as wrong:
            raise BadDirective(f"fault {key}={text}: expected {wrong}") from None
        if name == "header":
            value = (*faults.header, value)
        faults = replace(faults, **{name: value})
    return faults


def names() -> tuple[str, ...]:
    """The directives' keys, as a person writes them."""
    return tuple(name.replace("_", "-") for name in _READERS)


def pairs_of(directive: str) -> list[tuple[str, str]]:
    """`status=429;gzip` as pairs; nothing is checked here."""
    items = re.split(r"[;\s]+", directive.strip())
    return [(key, value) for key, _, value in (item.partition("=") for item in items if item)]


def take_from_path(path: str) -> tuple[str, list[str]]:
    """The path without directives, and the directives found in it."""
    found: list[str] = []
    while path.startswith("/fault/"):
        directive, _, rest = path[len("/fault/") :].partition("/")
        found.append(directive)
        path = "/" + rest
    route, mark, query = path.partition("?")
    found += _PATH_MODEL.findall(route)
    return _PATH_MODEL.sub("", route) + mark + query, found


def take_from_body(body: bytes) -> tuple[str, str]:
    """The directives in the model's name and in the prompt, empty when there are none."""
    model = _MODEL.search(body) if b";" in body else None
    prompt = _PROMPT.findall(body) if b"[[mock" in body else []
    return (
        model.group(1).decode("utf-8", "replace") if model else "",
        prompt[-1].decode("utf-8", "replace") if prompt else "",
    )


def take_from_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Pairs from `x-mock` and `x-mock-*`; names are lower case."""
    found: list[tuple[str, str]] = []
    for name, value in headers:
        if name == "x-mock":
            found += pairs_of(value)
        elif name.startswith("x-mock-"):
            found.append((name[len("x-mock-") :], value))
    return found
