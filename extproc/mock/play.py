"""Puts an answer on the wire, faults and all.

Takes an `Answer`, `Faults` and a `Line` (one client's connection); writes head
and body and says how it ended. `rendered` is the short way for an answer that
needs no timing: all bytes at once.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterator
from dataclasses import replace
from http import HTTPStatus
from typing import Protocol

from extproc.mock.answer import IDENT, Answer
from extproc.mock.faults import FOREVER, Faults
from extproc.mock.record import FAULT, WHOLE, Recorded

_PIECE = 64 << 10
_READING = 0.02
_CHUNK_END = b"\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_HTML = (
    b"<!DOCTYPE html>\n<html><head><title>%d %s</title></head>"
    b"<body><h1>%d %s</h1><hr>mock</body></html>\n"
)


class Line(Protocol):
    """A client's connection, as a player needs it."""

    async def write(self, data: bytes) -> None:
        """Send, waiting while the client does not read."""
        ...

    def close(self) -> None:
        """Send what is left, then FIN."""
        ...

    def reset(self) -> None:
        """RST, at once."""
        ...


def shaped(answer: Answer, faults: Faults) -> Answer:
    """The answer with the faults that change its bytes but not their timing."""
    headers = list(answer.headers)
    if faults.retry_after:
        headers.append(("retry-after", faults.retry_after))
    headers += faults.header
    if faults.gzip:
        headers.append(("content-encoding", "gzip"))
    answer = replace(
        answer,
        headers=tuple(headers),
        content_type=faults.content_type or answer.content_type,
    )
    if answer.events is None:
        return replace(answer, body=_shaped_body(answer, faults))
    events = list(answer.events)
    if faults.malformed is not None and faults.malformed <= len(events):
        events[faults.malformed - 1] = _broken(events[faults.malformed - 1])
    if faults.crlf:
        events = [event.replace(b"\n", b"\r\n") for event in events]
    if faults.gzip:
        packer = zlib.compressobj(wbits=31)
        events = [packer.compress(e) + packer.flush(zlib.Z_SYNC_FLUSH) for e in events]
        events[-1] += packer.flush()
    return replace(answer, events=tuple(events))


def _shaped_body(answer: Answer, faults: Faults) -> bytes:
    body = answer.body
    if faults.malformed is not None or faults.end is not None:
        body = body[: len(body) // 2]
    if not faults.gzip:
        return body
    packer = zlib.compressobj(wbits=31)
    return packer.compress(body) + packer.flush()


def failure(status: int, kind: str, answer: Answer) -> Answer:
    """An error answer with its body exchanged: a web page, or nothing."""
    if kind == "empty":
        return replace(answer, body=b"")
    if kind == "html":
        reason = _reason(status).encode()
        body = _HTML % (status, reason, status, reason)
        return replace(answer, body=body, content_type="text/html; charset=utf-8")
    return answer


def _broken(event: bytes) -> bytes:
    payload = event.rstrip(b"\r\n")
    return payload[: max(len(payload) // 2, 1)] + event[len(payload) :]


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Overloaded" if status == 529 else "Unknown"


def head(answer: Answer, *, chunked: bool, close: bool) -> bytes:
    """The reply's head. A header of the answer takes the place of ours of the same name."""
    fields = {"server": "mock", "content-type": answer.content_type}
    fields["x-request-id"] = "req_" + IDENT.decode()
    if chunked:
        fields["transfer-encoding"] = "chunked"
    elif answer.status != 204:
        fields["content-length"] = str(len(answer.body))
    if close:
        fields["connection"] = "close"
    lines = [f"HTTP/1.1 {answer.status} {_reason(answer.status)}"]
    own = {name.lower() for name, _ in answer.headers}
    lines += [f"{name}: {value}" for name, value in fields.items() if name not in own]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def chunk(data: bytes) -> bytes:
    """One chunk of the chunked coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def is_instant(faults: Faults) -> bool:
    """Whether an answer with these faults can be written at once."""
    timed = faults.delay or faults.slow_headers or faults.pace or faults.split
    broken = faults.reset or faults.cut or faults.stall
    stopped = faults.end is not None or faults.error is not None
    return not (timed or broken or stopped) and faults.framing == "length"


def rendered(answer: Answer) -> bytes:
    """Head and body of a shaped answer, in one piece, `IDENT` still in it."""
    if answer.events is None:
        return head(answer, chunked=False, close=False) + answer.body
    body = b"".join(map(chunk, answer.events)) + _LAST_CHUNK
    return head(answer, chunked=True, close=False) + body


async def play(
    answer: Answer,
    faults: Faults,
    error_event: bytes,
    line: Line,
    recorded: Recorded | None,
    *,
    close: bool,
) -> str:
    """Write a shaped answer with its timing and breaks; how it ended (`record.WHOLE`, ...)."""
    await asyncio.sleep(faults.delay)
    if faults.reset:
        line.reset()
        return FAULT
    chunked = answer.events is not None or faults.framing == "chunked"
    start = head(answer, chunked=chunked, close=close)
    if faults.slow_headers:
        for at in range(len(start)):
            await line.write(start[at : at + 1])
            await asyncio.sleep(faults.slow_headers)
    else:
        await line.write(start)
    if answer.events is not None:
        ending = await _stream(answer.events, faults, error_event, line, recorded)
    else:
        ending = await _whole(answer.body, faults, line, chunked=chunked)
    if close:
        line.close()
    return ending


async def _whole(body: bytes, faults: Faults, line: Line, *, chunked: bool) -> str:
    async def send(part: bytes) -> None:
        for piece in _pieces(part, faults.split or _PIECE):
            await line.write(chunk(piece) if chunked else piece)
            await asyncio.sleep(0)

    middle = len(body) // 2
    await send(body[:middle])
    if faults.stall is not None:
        await _silence(faults.stall[0])
    if faults.cut is not None:
        await _cut(faults.cut[0], body[middle:] if chunked else b"", line)
        return FAULT
    await send(body[middle:])
    if chunked:
        await line.write(_LAST_CHUNK)
    return WHOLE


async def _stream(
    events: tuple[bytes, ...],
    faults: Faults,
    error_event: bytes,
    line: Line,
    recorded: Recorded | None,
) -> str:
    now = asyncio.get_running_loop().time
    due = now()
    for done in range(len(events) + 1):
        if faults.stall is not None and faults.stall[1] == done:
            await _silence(faults.stall[0])
            due = now()
        if faults.cut is not None and faults.cut[1] == done:
            await _cut(faults.cut[0], events[done] if done < len(events) else b"....", line)
            return FAULT
        if faults.error == done:
            await line.write(chunk(error_event) + _LAST_CHUNK)
            return FAULT
        if faults.end == done:
            await line.write(_LAST_CHUNK)
            return FAULT
        if done == len(events):
            break
        if done and faults.pace:
            # By a timetable: sleeping the pace each time would add up the loop's rounding.
            due = max(due + faults.pace, now())
            await asyncio.sleep(due - now())
        for piece in _pieces(events[done], faults.split or len(events[done])):
            await line.write(chunk(piece))
            if faults.split:
                await asyncio.sleep(0)
        if recorded is not None:
            recorded.events = done + 1
    await line.write(_LAST_CHUNK)
    return WHOLE


async def _silence(seconds: float) -> None:
    if seconds == FOREVER:
        await asyncio.get_running_loop().create_future()
    await asyncio.sleep(seconds)


async def _cut(kind: str, coming: bytes, line: Line) -> None:
    if kind == "rst":
        # A reset may overtake what was sent; the client should have read its events.
        await asyncio.sleep(_READING)
        line.reset()
        return
    if kind == "chunk" and coming:
        await line.write(b"%x\r\n" % len(coming) + coming[: len(coming) // 2])
    line.close()


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]
