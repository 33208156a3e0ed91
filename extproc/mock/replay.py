"""Answers from recorded exchanges.

Takes a transcripts file, one JSON object a line with `id`, `method`, `path`,
`status`, `response_headers`, `request` (a JSON value), `response` (the body as
text, or base64 where `response_encoding` says so) and `stream`. Gives the
recorded reply to an equal request. It never makes up an answer.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import orjson

from extproc.mock.answer import Answer, Asked

_NOT_COPIED = {"content-type", "content-length", "content-encoding", "transfer-encoding"}
_LOOSE = ("stream_options",)


class BadTranscripts(Exception):
    """A transcripts file that cannot be read; the message names file and line."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One recorded exchange. `tail` is the path's last parts, without host, base or version."""

    id: str
    method: str
    tail: tuple[str, ...]
    request: object
    answer: Answer


class Transcripts:
    """Recorded exchanges by request. Equal requests are answered in turn."""

    def __init__(self, exchanges: list[Exchange]) -> None:
        self._exchanges = exchanges
        self._by_id = {one.id: one for one in exchanges}
        self._by_request: dict[bytes, list[Exchange]] = {}
        self._turns: dict[bytes, int] = {}
        for one in exchanges:
            for key in dict.fromkeys(
                (_key(one.request, strict=True), _key(one.request, strict=False))
            ):
                self._by_request.setdefault(key, []).append(one)

    @classmethod
    def load(cls, file: Path) -> Transcripts:
        """Read a `.jsonl` file; raises BadTranscripts or OSError."""
        exchanges: list[Exchange] = []
        for number, line in enumerate(file.read_bytes().splitlines(), 1):
            if line.strip():
                try:
                    exchanges.append(_exchange(orjson.loads(line)))
                except (KeyError, TypeError, ValueError) as wrong:
                    raise BadTranscripts(f"{file}:{number}: {wrong!r}") from wrong
        return cls(exchanges)

    def __len__(self) -> int:
        return len(self._exchanges)

    def find(self, asked: Asked) -> Answer | str:
        """The recorded answer, or a sentence that says what came nearest.

        `id=` chooses by name; else path and JSON must be equal, or equal apart
        from `stream_options`, which a gateway may add.
        """
        if asked.faults.id:
            chosen = self._by_id.get(asked.faults.id)
            return chosen.answer if chosen else f"no recorded exchange has the id {asked.faults.id}"
        request = _loads(asked.body)
        tail = _tail(asked.path)
        for strict in (True, False):
            key = _key(request, strict=strict)
            same = [
                one
                for one in self._by_request.get(key, ())
                if one.method == asked.method and _same_path(one.tail, tail)
            ]
            if same:
                turn = self._turns.get(key, 0)
                self._turns[key] = turn + 1
                return same[turn % len(same)].answer
        return self._nearest(asked.method, tail, request)

    def _nearest(self, method: str, tail: tuple[str, ...], request: object) -> str:
        candidates = [
            one for one in self._exchanges if one.method == method and _same_path(one.tail, tail)
        ]
        if not candidates:
            known = sorted({f"{one.method} .../{'/'.join(one.tail)}" for one in self._exchanges})
            return f"no exchange was recorded for this path; recorded are {', '.join(known[:20])}"
        nearest = min(candidates, key=lambda one: len(_differing(one.request, request)))
        fields = ", ".join(_differing(nearest.request, request)) or "its shape"
        return f"no recorded request is equal; nearest is {nearest.id}, which differs in {fields}"


def _exchange(line: object) -> Exchange:
    if not isinstance(line, Mapping):
        raise TypeError("expected an object")
    record = cast("Mapping[str, object]", line)
    text = record["response"]
    if not isinstance(text, str):
        raise TypeError("response must be a string")
    body = base64.b64decode(text) if record.get("response_encoding") == "base64" else text.encode()
    headers = cast("Mapping[str, str]", record.get("response_headers") or {})
    content_type = headers.get("content-type", "application/json")
    answer = Answer(
        status=int(cast("int", record["status"])),
        content_type=content_type,
        body=body,
        events=split_events(body, content_type) if record.get("stream") else None,
        headers=tuple((k, v) for k, v in headers.items() if k not in _NOT_COPIED),
    )
    method, path = str(record["method"]), str(record["path"])
    return Exchange(str(record["id"]), method, _tail(path), record.get("request"), answer)


def split_events(body: bytes, content_type: str) -> tuple[bytes, ...]:
    """A recorded stream cut into its events; they join to the same bytes."""
    if "amazon.eventstream" in content_type:
        return tuple(_frames(body))
    if "event-stream" not in content_type:
        return tuple(body.splitlines(keepends=True))
    end = b"\r\n\r\n" if b"\r\n\r\n" in body else b"\n\n"
    parts = body.split(end)
    events = [part + end for part in parts[:-1]]
    return tuple([*events, parts[-1]] if parts[-1] else events)


def _frames(body: bytes) -> list[bytes]:
    """AWS event stream: each frame starts with its length, four bytes big endian."""
    frames: list[bytes] = []
    at = 0
    while at < len(body):
        length = max(int.from_bytes(body[at : at + 4], "big"), 16)
        frames.append(body[at : at + length])
        at += length
    return frames


def _loads(body: bytes) -> object:
    try:
        return orjson.loads(body) if body else None
    except orjson.JSONDecodeError:
        return None


def _key(request: object, *, strict: bool) -> bytes:
    if not strict and isinstance(request, dict):
        fields = cast("dict[str, object]", request)
        request = {key: value for key, value in fields.items() if key not in _LOOSE}
    return orjson.dumps(request, option=orjson.OPT_SORT_KEYS)


def _tail(path: str) -> tuple[str, ...]:
    parts = [part for part in path.partition("?")[0].split("/") if part]
    named = [part for part in parts if not (part[0] == "v" and part[1:2].isdigit())]
    return tuple(named[-2:])


def _same_path(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    shared = min(len(first), len(second))
    return shared > 0 and first[-shared:] == second[-shared:]


def _differing(first: object, second: object) -> list[str]:
    if not isinstance(first, dict) or not isinstance(second, dict):
        return [] if first == second else ["body"]
    one, other = cast("dict[str, object]", first), cast("dict[str, object]", second)
    absent = object()
    return sorted(k for k in {*one, *other} if one.get(k, absent) != other.get(k, absent))
