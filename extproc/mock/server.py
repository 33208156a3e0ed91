"""The mock provider as an object: start it, ask it what it received, stop it.

`MockProvider` serves every speaker's wire language on one port or unix socket.
`/_mock/requests` (GET, DELETE) and `/_mock/stats` show what came. It binds
where it is told, loopback unless told otherwise, and keeps nothing on disk.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from extproc.mock import doors
from extproc.mock import faults as fault_language
from extproc.mock.answer import Answer, Asked, Speaker
from extproc.mock.connection import Connection
from extproc.mock.faults import BadDirective, Faults
from extproc.mock.play import failure, is_instant, rendered, shaped
from extproc.mock.record import CLIENT_GONE, STOPPED, Recorded, Recorder, parse_headers
from extproc.mock.refusals import refusal
from extproc.mock.replay import Transcripts
from extproc.mock.speakers import speakers

_CACHED_PLANS = 256
_CACHED_BODY = 64 << 10
_INSTANT_LIMIT = 256 << 10


@dataclass(frozen=True, slots=True)
class Plan:
    """How to reply: `instant` is the whole reply when nothing has to wait."""

    answer: Answer
    faults: Faults
    error_event: bytes
    instant: bytes | None


class MockProvider:
    """A provider that is played. One event loop owns it; reading from another thread is safe."""

    def __init__(
        self,
        *,
        replay: Transcripts | None = None,
        pace: float = 0.0,
        record: bool = True,
        keep: int = 1000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`pace`: seconds between events where no fault says otherwise; `keep`: requests kept."""
        self._speakers: Sequence[Speaker] = speakers()
        self._replay = replay
        self._usual = Faults(pace=pace)
        self._recording = record
        self._recorder = Recorder(keep)
        self._clock = clock
        self._connections: set[Connection] = set()
        self._plans: dict[tuple[str, str, bytes], Plan] = {}
        self._used: dict[str, int] = {}
        self._number = 0
        self._stopping = False
        self._server: asyncio.Server | None = None
        self._url = ""
        self._path = ""
        self._idle = asyncio.Event()
        self._idle.set()

    # Life.

    async def start(self, host: str = "127.0.0.1", port: int = 0, *, path: str = "") -> str:
        """Listen on TCP (port 0: any free one) or on the unix socket `path`; the root URL."""
        loop = asyncio.get_running_loop()
        self._stopping, self._path = False, path
        if path:
            self._server = await loop.create_unix_server(self._connection, path)
            self._url = "http://localhost"
        else:
            self._server = await loop.create_server(self._connection, host, port, backlog=1024)
            bound = self._server.sockets[0].getsockname()[1]
            self._url = f"http://[{host}]:{bound}" if ":" in host else f"http://{host}:{bound}"
        return self._url

    async def stop(self) -> None:
        """Stop listening and end every connection at once."""
        self._stopping = True
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in tuple(self._connections):
            connection.abort()
        await self._idle.wait()
        if self._path:
            _forget_socket(self._path)

    @classmethod
    @contextmanager
    def running(
        cls,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        path: str = "",
        replay: Transcripts | None = None,
        pace: float = 0.0,
        record: bool = True,
        keep: int = 1000,
    ) -> Generator[MockProvider]:
        """A provider in a thread of its own, for code without an event loop."""
        mock = cls(replay=replay, pace=pace, record=record, keep=keep)
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="mock provider", daemon=True)
        thread.start()
        try:
            asyncio.run_coroutine_threadsafe(mock.start(host, port, path=path), loop).result(10)
            yield mock
        finally:
            asyncio.run_coroutine_threadsafe(mock.stop(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            loop.close()

    # What a test or a person looks at.

    @property
    def url(self) -> str:
        """The root, without a trailing slash."""
        return self._url

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as its base URL."""
        return self._url + "/v1"

    def fault_url(self, directive: str) -> str:
        """A base URL under which every request meets these faults."""
        return f"{self._url}/fault/{directive}/v1"

    @property
    def requests(self) -> tuple[Recorded, ...]:
        """What was received and kept, oldest first."""
        return self._recorder.all()

    def clear(self) -> None:
        """Forget requests, counts and how often a `times` fault struck; best while nothing runs."""
        self._recorder.clear()
        self._used.clear()

    def stats(self) -> dict[str, object]:
        """Counts, as `GET /_mock/stats` shows them."""
        return {**self._recorder.stats(), "open_connections": len(self._connections)}

    def wait_for(
        self, wanted: Callable[[Sequence[Recorded]], bool], timeout: float = 5.0
    ) -> tuple[Recorded, ...]:
        """The requests as soon as `wanted(requests)` holds; for another thread than the loop's.

        Raises TimeoutError, which says what was there instead.
        """
        deadline = time.monotonic() + timeout
        while not wanted(seen := self.requests):
            if time.monotonic() > deadline:
                lines = [f"{r.method} {r.path} {r.status} {r.ended} {r.events}" for r in seen]
                raise TimeoutError(f"not seen within {timeout} s; received: {lines}")
            time.sleep(0.002)
        return seen

    # For connections.

    def _connection(self) -> Connection:
        self._recorder.connections += 1
        return Connection(self, self._recorder.connections)

    def opened(self, connection: Connection) -> None:
        """A client connected."""
        self._connections.add(connection)
        self._idle.clear()

    def closed(self, connection: Connection) -> None:
        """A client's connection is over, and nothing plays on it."""
        self._connections.discard(connection)
        if not self._connections:
            self._idle.set()

    def next_number(self) -> int:
        """The next reply's number."""
        self._number += 1
        return self._number

    def ending(self, ending: str) -> str:
        """How a reply ended: nobody is to blame for what our own stop broke off."""
        return STOPPED if self._stopping and ending == CLIENT_GONE else ending

    def record(
        self, connection: int, number: int, method: str, path: str, head: bytes, body: bytes
    ) -> Recorded | None:
        """The record of one request, unless recording is off."""
        self._recorder.requests += 1
        if not self._recording:
            return None
        recorded = Recorded(number, self._clock(), connection, method, path, head, body)
        self._recorder.add(recorded)
        return recorded

    def plan(self, method: str, path: str, head: bytes, lower: bytes, body: bytes) -> Plan:
        """How to reply to a request; equal requests share a plan."""
        if path.startswith("/_mock/"):
            answer = self._inspect(method, path)
            return Plan(answer, Faults(), b"", rendered(answer))
        key = (method, path, body)
        missing = doors.missing(path, lower) if self._replay is None else None
        plain = b"\r\nx-mock" not in lower and missing is None
        headers = [] if plain else parse_headers(head)
        if plain and (known := self._plans.get(key)) is not None:
            return known
        plan, repeatable = self._new_plan(method, path, head, headers, body, missing)
        if plain and repeatable and len(body) <= _CACHED_BODY and self._replay is None:
            if len(self._plans) >= _CACHED_PLANS:
                self._plans.clear()
            self._plans[key] = plan
        return plan

    def _new_plan(
        self,
        method: str,
        path: str,
        head: bytes,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        missing: doors.Missing | None,
    ) -> tuple[Plan, bool]:
        path, in_path = fault_language.take_from_path(path)
        in_model, in_prompt = fault_language.take_from_body(body)
        pairs = [pair for text in (*in_path, in_model) for pair in fault_language.pairs_of(text)]
        pairs += fault_language.take_from_headers(headers)
        pairs += fault_language.pairs_of(in_prompt)
        route = path.partition("?")[0]
        claimed = next((one for one in self._speakers if one.claims(route)), None)
        speaker = claimed or self._speakers[-1]
        try:
            faults = fault_language.apply(self._usual, pairs)
        except BadDirective as wrong:
            answer = speaker.error(400, f"mock: {wrong}")
            return Plan(answer, Faults(), b"", rendered(answer)), True
        repeatable = faults.times is None and faults.every is None and not faults.key
        if not repeatable and not (_concerns(faults, head) and self._strikes(faults, repr(pairs))):
            faults = self._usual
        if missing is None:
            answer = self._answer(Asked(method, path, body, faults), speaker)
        else:
            answer = speaker.error(missing.status, missing.message)
        answer = shaped(answer, faults)
        size = sum(map(len, answer.events)) if answer.events is not None else len(answer.body)
        instant = is_instant(faults) and size <= _INSTANT_LIMIT
        event = speaker.error_event()
        return Plan(answer, faults, event, rendered(answer) if instant else None), repeatable

    def _strikes(self, faults: Faults, name: str) -> bool:
        """Whether it is this one of all requests with this directive."""
        self._used[name] = number = self._used.get(name, 0) + 1
        within = faults.times is None or number <= faults.times
        return within and number % (faults.every or 1) == 0

    def _answer(self, asked: Asked, speaker: Speaker) -> Answer:
        status = asked.faults.status
        if asked.faults.refuse:
            return refusal(asked.faults.refuse, asked, speaker)
        if status is not None and status >= 400:
            text = f"The mock provider was asked to answer with status {status}."
            return failure(status, asked.faults.body, speaker.error(status, text))
        if self._replay is not None:
            found = self._replay.find(asked)
            answer = speaker.error(404, f"mock: {found}") if isinstance(found, str) else found
        else:
            answer = speaker.answer(asked)
        if status == 204:
            return Answer(204, answer.content_type)
        if status is None:
            return answer
        if asked.faults.body:
            answer = failure(status, asked.faults.body, replace(answer, events=None))
        return replace(answer, status=status)

    def _inspect(self, method: str, path: str) -> Answer:
        match method, path.partition("?")[0]:
            case "GET", "/_mock/requests":
                shown: object = {"requests": [one.as_json() for one in self.requests]}
            case "DELETE", "/_mock/requests":
                self.clear()
                shown = {"requests": []}
            case "GET", "/_mock/stats":
                shown = self.stats()
            case _:
                shown = {"error": "here are GET and DELETE /_mock/requests and GET /_mock/stats"}
                return Answer(404, "application/json", orjson.dumps(shown))
        return Answer(200, "application/json", orjson.dumps(shown))


def _concerns(faults: Faults, head: bytes) -> bool:
    """Whether it is about the key of a request with this head; a directive's own header is none."""
    if not faults.key:
        return True
    pairs = parse_headers(head)
    return any(text.endswith(faults.key) for name, text in pairs if not name.startswith("x-mock"))


def _forget_socket(path: str) -> None:
    Path(path).unlink(missing_ok=True)
