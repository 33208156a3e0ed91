"""How any dialect decodes a reply: choose by head and first byte, cut into frames, keep what may pass.

A dialect brings the words: how its errors read (`Language.error`), what a whole
body says (`Language.whole`), and a `Reader` for the frames of a stream. What
comes out is a `ReplyDecoder` that never raises, holds a bounded number of bytes
and gives exactly one `Finished` or `Failed`. It knows no wire language.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import orjson

from extproc.codec import jsontext
from extproc.model.chat import Json
from extproc.model.dialect import Headers, ReplyDecoder, ReplyHead
from extproc.model.errors import GatewayError, Origin, UpstreamBad
from extproc.model.reply import Event, Failed

MAX_WHOLE = 64 * 1024 * 1024
MAX_ERROR = 256 * 1024
"""bytes of an error's body that are read; what is longer is no error that a person could read"""
_SPACE = b" \t\r\n\xef\xbb\xbf"
_BOM = b"\xef\xbb\xbf"


class TooMuch(Exception):
    """A provider sent more parts, choices or held-back text than a reply may have."""


class Unreadable(Exception):
    """A frame is not the JSON that it must be. Half a frame at a stream's end does not count."""


def read_object(data: bytes) -> dict[str, Json]:
    """The JSON object in a frame. Raises `Unreadable`."""
    try:
        value: Json = orjson.loads(data)
    except orjson.JSONDecodeError:
        # What the quick reader refuses, such as half of a surrogate pair.
        try:
            value = jsontext.loads(data)
        except jsontext.BadJson:
            raise Unreadable from None
    if not isinstance(value, dict):
        raise Unreadable
    return value


def read_exactly(data: bytes) -> dict[str, Json]:
    """As `read_object`, with integers of any size exact: for frames whose objects become text again."""
    try:
        value = jsontext.loads(data)
    except jsontext.BadJson:
        return read_object(data)
    return value if isinstance(value, dict) else read_object(data)


class HasRaw(Protocol):
    @property
    def raw(self) -> bytes: ...


F = TypeVar("F", bound=HasRaw)
F_co = TypeVar("F_co", bound=HasRaw, covariant=True)
F_contra = TypeVar("F_contra", bound=HasRaw, contravariant=True)


class Splitter(Protocol[F_co]):
    """`codec.sse.SseSplitter`, `codec.ndjson.LineSplitter`, or one of the same kind."""

    @property
    def pending(self) -> int: ...

    @property
    def too_long(self) -> bool: ...

    def feed(self, chunk: bytes) -> Sequence[F_co]: ...

    def close(self) -> Sequence[F_co]: ...


class Reader(Protocol[F_contra]):
    """Reads the frames of one stream into events.

    `frame` and `close` append to `out`, and may raise `GatewayError` (becomes
    `Failed`), `TooMuch` or `Unreadable`. `frame` gives False when the frame's bytes must not
    reach the client. `done` turns true when the stream's terminal was read, and
    `Finished` is in `out`: what follows passes unread. `close` is called at the
    end of a stream that is not done: it finishes what may end so, or raises.
    """

    out: list[Event]
    done: bool

    def frame(self, frame: F_contra) -> bool: ...

    def close(self) -> None: ...

    def failing(self) -> Sequence[Event]:
        """What must still be said before a `Failed`: the usage so far, most of all."""
        ...


@dataclass(frozen=True, slots=True)
class Language:
    """A dialect's words. `streams` says whether a body that begins with this byte is a stream."""

    error: Callable[[int, Headers, bytes], GatewayError]
    whole: Callable[[bytes], Sequence[Event]]
    """events of a whole good body; may raise what `Reader.frame` may"""
    stream: Callable[[], ReplyDecoder]
    streams: Callable[[ReplyHead, bytes], bool]


def decoder(head: ReplyHead, language: Language) -> ReplyDecoder:
    """The head decides about errors and compression, the first byte that is not space about the rest."""
    encoding = head.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        return Refusing(bad("the provider compressed its reply, which was not asked for"))
    if head.status >= 400:
        return Whole(head, language, MAX_ERROR)
    if not 200 <= head.status < 300:
        return Refusing(bad(f"the provider answered with status {head.status}"))
    return _Sniffing(head, language)


def bad(message: str) -> GatewayError:
    """The provider answered what cannot be used."""
    return UpstreamBad(message, origin=Origin.PROVIDER)


_TOO_MANY = bad("the provider's reply has too many parts")
ENDED_EARLY = "the provider's stream ended early"


def sse_streams(head: ReplyHead, start: bytes) -> bool:
    """For languages on server-sent events: providers mislabel them, so the first byte has a say."""
    if start in (b"{", b"[", b"<"):
        return False
    return head.content_type == "text/event-stream" or start in (b"d", b":", b"e", b"i", b"r")


class Refusing:
    """Takes anything, and fails at once."""

    def __init__(self, error: GatewayError) -> None:
        self._error: GatewayError | None = error

    def feed(self, data: bytes) -> Sequence[Event]:
        del data
        return self.close()

    def close(self) -> Sequence[Event]:
        error, self._error = self._error, None
        return () if error is None else (Failed(error),)

    def take(self) -> bytes:
        return b""


class _Feed(Protocol):
    def __call__(self, data: bytes) -> Sequence[Event]: ...


class _Sniffing:
    """Waits for the first byte that is not space, and then hands over for good.

    Its methods are attributes, so that nothing stands between a stream and its decoder.
    """

    def __init__(self, head: ReplyHead, language: Language) -> None:
        self._head = head
        self._language = language
        self._held = b""
        empty = Refusing(bad("the provider's reply is empty"))
        self.feed: _Feed = self._sniff
        self.close: Callable[[], Sequence[Event]] = empty.close
        self.take: Callable[[], bytes] = empty.take

    def _sniff(self, data: bytes) -> Sequence[Event]:
        if self._held:
            data = self._held + data
        start = data.lstrip(_SPACE)[:1]
        if not start and len(data) < MAX_ERROR:
            self._held = data
            return ()
        self._held = b""
        if self._language.streams(self._head, start):
            chosen = self._language.stream()
        else:
            chosen = Whole(self._head, self._language, MAX_WHOLE)
        self.feed, self.close, self.take = chosen.feed, chosen.close, chosen.take
        return chosen.feed(data)


class Whole:
    """A whole body, good or bad: nothing is decoded, and nothing passes, until it is complete."""

    def __init__(self, head: ReplyHead, language: Language, limit: int) -> None:
        self._head = head
        self._language = language
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0
        self._passed = b""
        self._done = False

    def feed(self, data: bytes) -> Sequence[Event]:
        if self._done or not data:
            return ()
        self._size += len(data)
        if self._size <= self._limit:
            self._pieces.append(data)
            return ()
        self._done = True
        self._pieces.clear()
        if self._head.status >= 400:
            return (Failed(self._language.error(self._head.status, self._head.headers, b"")),)
        return (Failed(bad("the provider's reply is too large")),)

    def close(self) -> Sequence[Event]:
        if self._done:
            return ()
        self._done = True
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        if self._head.status >= 400:
            return (Failed(self._language.error(self._head.status, self._head.headers, body)),)
        try:
            events = self._language.whole(body.removeprefix(_BOM))
        except TooMuch:
            return (Failed(_TOO_MANY),)
        except Unreadable:
            return (Failed(bad("the provider's reply is not the JSON that was expected")),)
        except GatewayError as error:
            return (Failed(error),)
        if not isinstance(events[-1], Failed):
            self._passed = body
        return events

    def take(self) -> bytes:
        passed, self._passed = self._passed, b""
        return passed


class Framed(Generic[F]):
    """A stream of frames. The frame that failed, an unfinished one, and withheld ones do not pass.

    `rewritten`: the frames' raw bytes are not those that came, and only they may pass.
    """

    __slots__ = ("_failed", "_held", "_out", "_reader", "_rewritten", "_splitter")

    def __init__(
        self, splitter: Splitter[F], reader: Reader[F], *, rewritten: bool = False
    ) -> None:
        self._splitter = splitter
        self._reader = reader
        self._rewritten = rewritten
        self._out: list[bytes] = []
        self._failed = False
        self._held = False

    def feed(self, data: bytes) -> Sequence[Event]:
        reader, splitter = self._reader, self._splitter
        if self._failed:
            return ()
        if reader.done:
            if self._rewritten:
                self._out.extend(frame.raw for frame in splitter.feed(data))
            else:
                self._out.append(data)
            return ()
        try:
            frames = splitter.feed(data)
            if len(frames) == 1 and frames[0].raw is data:
                # Nearly every piece of a stream is one whole frame.
                if reader.frame(frames[0]):
                    self._out.append(data)
                events, reader.out = reader.out, []
                return events
            held, self._held = self._held, splitter.pending > 0
            whole = self._read(frames) and not (held or self._held or self._rewritten)
            if splitter.too_long:
                raise bad("the provider sent an event that is too large")
        except TooMuch:
            self._fail(_TOO_MANY)
        except Unreadable:
            self._fail(bad("the provider's stream has an event that is not a JSON object"))
        except GatewayError as error:
            self._fail(error)
        else:
            if whole:
                # Nothing was cut or withheld: the very bytes that came.
                del self._out[len(self._out) - len(frames) :]
                self._out.append(data)
        if reader.done and splitter.pending and not self._rewritten:
            self._out.extend(frame.raw for frame in splitter.close())
        return self._events()

    def close(self) -> Sequence[Event]:
        if self._failed or self._reader.done:
            return ()
        kept = len(self._out)
        try:
            with contextlib.suppress(Unreadable):
                self._read(self._splitter.close())
            if not self._reader.done:
                self._reader.close()
        except (TooMuch, Unreadable):
            self._fail(_TOO_MANY)
        except GatewayError as error:
            self._fail(error)
        if self._failed:
            del self._out[kept:]
        return self._events()

    def take(self) -> bytes:
        out = self._out
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    def _read(self, frames: Sequence[F]) -> bool:
        """Reads them; true when the bytes of all of them pass."""
        whole = True
        reader, out = self._reader, self._out
        for frame in frames:
            if reader.done or reader.frame(frame):
                out.append(frame.raw)
            else:
                whole = False
        return whole

    def _fail(self, error: GatewayError) -> None:
        self._failed = True
        self._reader.out.extend(self._reader.failing())
        self._reader.out.append(Failed(error))

    def _events(self) -> Sequence[Event]:
        events = self._reader.out
        if not events:
            return ()
        self._reader.out = []
        return events
