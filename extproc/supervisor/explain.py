"""The command `explain`: what would become of a request, told for people or as JSON.

Takes a file with a request's body, and what the command line said. The answer is worked out here
from a configuration, or asked of a gateway that runs. Starts nothing, and calls no provider.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import cast
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from extproc import discover
from extproc.child import SystemClock
from extproc.config.load import ConfigErrors
from extproc.flow.explaining import OBJECT, PATH, answer, question, wrapped
from extproc.flow.snapshot import Snapshot, compile_snapshot
from extproc.model.call import LOCAL, CallId
from extproc.model.chat import Json
from extproc.model.dialect import RequestHead
from extproc.model.errors import GatewayError
from extproc.model.ports import Bounds, Ports, Turn
from extproc.routing.health import Health
from extproc.supervisor.source import Source, Wanted, usable, with_mock

_TIMEOUT = 30.0
_SECRET_BYTES = 32
_OFFLINE = (
    "No gateway was asked: no target is known to be in trouble, slow or busy. `--url` asks one."
)
_Told = Mapping[str, Json]


class Cannot(Exception):
    """The message says what a person should change."""


@dataclass(frozen=True, slots=True)
class Asking:
    """What the command line said; None where it said nothing. `file` is `-` for standard input."""

    file: str
    config: Path | None = None
    path: str | None = None
    caller: str | None = None
    call_id: str | None = None
    headers: Sequence[str] = ()
    url: str | None = None
    key_file: Path | None = None
    as_json: bool = False


def explain(asking: Asking, env: Mapping[str, str]) -> int:
    try:
        body = _question(asking)
        told = _asked(asking, body) if asking.url else _worked_out(asking, body, env)
    except ConfigErrors as errors:
        print(errors, file=sys.stderr)
        return 2
    except GatewayError as error:
        print(f"{asking.file}: {error.message}", file=sys.stderr)
        return 1
    except Cannot as error:
        print(error, file=sys.stderr)
        return 1
    text = json.dumps(told, indent=2) if asking.as_json else "\n".join(page(told))
    # What a client wrote may hold half a character, which no terminal takes.
    print(text.encode("utf-8", "replace").decode())
    return 0


# --- the question


def _question(asking: Asking) -> bytes:
    """The file's request, wrapped with what the command line said."""
    said: dict[str, Json] = {"path": asking.path, "as": asking.caller, "call_id": asking.call_id}
    if asking.headers:
        said["headers"] = dict(map(_header, asking.headers))
    given = {name: one for name, one in said.items() if one is not None}
    return wrapped(_read(asking.file), given)


def _header(text: str) -> tuple[str, str]:
    name, colon, one = text.partition(":")
    if not colon or not name.strip():
        raise Cannot(f"--header: expected `name: value`, found {text!r}")
    return name.strip(), one.strip()


def _read(file: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return raw.decode()
    except OSError as error:
        raise Cannot(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise Cannot(f"{file}: it is not UTF-8 at byte {error.start}") from None


# --- the answer, worked out here


class _Forgetful:
    """No conversations: no stage runs here, and so nothing is written either."""

    def open(self) -> None:
        pass

    def turns(self, caller: str, conversation: str, within: Bounds) -> Sequence[Turn]:
        del caller, conversation, within
        return ()

    def add(self, caller: str, conversation: str, turn: Turn, within: Bounds) -> None:
        pass


def _worked_out(asking: Asking, body: bytes, env: Mapping[str, str]) -> _Told:
    snapshot = _snapshot(asking.config, env)
    clock = SystemClock()
    health = Health(snapshot.settings.routing, clock)
    own = RequestHead("POST", PATH, "", {"content-type": "application/json"})
    drawn = CallId(f"gw-{uuid.uuid4()}")
    told = answer(snapshot, health, question(snapshot, LOCAL, own, body, drawn), clock.time())
    return {**told, "notes": [*_list(told["notes"]), _OFFLINE]}


def _snapshot(config: Path | None, env: Mapping[str, str]) -> Snapshot:
    registry = discover.registry()
    settings = Source(Wanted(config), env, registry).read()
    if not usable(settings):
        settings = with_mock(settings, 0)
    return compile_snapshot(settings, registry, os.urandom(_SECRET_BYTES), Ports(_Forgetful()))


# --- the answer of a gateway


def _asked(asking: Asking, body: bytes) -> _Told:
    """The key goes to that URL alone: to no proxy, and not where it is redirected to."""
    url = f"{(asking.url or '').rstrip('/')}{PATH}"
    if not url.startswith(("http://", "https://")):
        raise Cannot(f"--url: expected http://HOST:PORT, found {asking.url!r}")
    request = Request(url, body, {"content-type": "application/json"}, method="POST")  # noqa: S310
    if asking.key_file is not None:
        key = _read(str(asking.key_file)).strip()
        request.add_unredirected_header("authorization", f"Bearer {key}")
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=_TIMEOUT) as reply:
            told = _object(reply.read())
    except HTTPError as error:
        raise Cannot(f"{url}: {error.code}: {_message(error.read())}") from None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise Cannot(f"{url}: cannot be asked: {reason}") from None
    if told.get("object") != OBJECT:
        raise Cannot(f"{url}: what it answers is no explanation")
    return told


def _message(body: bytes) -> str:
    """What the gateway said, or the beginning of what somebody else did."""
    try:
        error = _object(body).get("error")
    except ValueError:
        error = None
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return cast("str", error["message"])
    return body[:200].decode("utf-8", "replace")


def _object(body: bytes) -> _Told:
    """Raises ValueError."""
    found = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError("its answer is no JSON object")
    return cast("_Told", found)


# --- the answer, for people


def page(told: _Told) -> Iterator[str]:
    """The lines of an answer."""
    yield from _about(told)
    candidates = [_dict(one) for one in _list(told["candidates"])]
    if candidates:
        yield ""
        yield from _columns(
            ("asked", "target", "region", "key", "label", "group", "score", "cost", "why not"),
            map(_row, candidates),
        )
    attempts = [_dict(one) for one in _list(told["attempts"])]
    if attempts:
        yield ""
        yield from _plan(told, attempts)
    why = [_dict(one) for one in _list(told["why"])]
    if why:
        yield ""
        yield from _columns(
            ("code", "means"), ((str(one["code"]), str(one["means"])) for one in why)
        )
    if told["error"]:
        error = _dict(told["error"])
        yield ""
        yield f"It would be refused: {error['status']}, {error['message']}"
        if error["retry_after"] is not None:
            yield f"It may be tried again in {error['retry_after']:.1f} s."
    for note in _list(told["notes"]):
        yield ""
        yield str(note)


def _about(told: _Told) -> Iterator[str]:
    asked = told["asked"] or "no model"
    led = f" leads to {told['model']}" if told["model"] not in ("", told["asked"]) else ""
    how = f", strategy {told['strategy']}" if told["strategy"] else ""
    by = f", drawn by {told['by']}" if told["by"] else ""
    yield f"{asked}{led}{how}{by}"
    yield f"call {told['call_id']} of {told['caller']}, {told['dialect']} at {told['path']}"
    output = "" if told["output"] is None else f", and up to {told['output']} of output"
    yield f"about {told['tokens']} tokens{output}"


def _row(one: _Told) -> tuple[str, ...]:
    numbers = ", ".join(map(str, _list(one["attempts"])))
    detail = f" ({one['detail']})" if one["detail"] else ""
    why = f"{one['rule']}: {one['means']}{detail}" if one["rule"] else ""
    target = f"{one['provider']}/{one['model']}"
    names = str(one["region"]), str(one["key_name"]), str(one["label"]), str(one["group"])
    return (numbers or "-", target, *names, _number(one["score"]), _number(one["cost"]), why)


def _plan(told: _Told, attempts: Sequence[_Told]) -> Iterator[str]:
    for one in attempts:
        pause = f", after a pause of {one['pause']} s" if one["pause"] else ""
        dropped = ", ".join(map(str, _list(one["dropped"])))
        loses = f", without {dropped}" if dropped else ""
        region = f" in region {one['region']}" if one["region"] else ""
        key = f" with key {one['key_name']}" if one["key_name"] else ""
        yield f"attempt {one['number']}: {one['provider']}/{one['model']}{region}{key}{pause}{loses}"
    if len(attempts) > 1:
        yield f"the next one after: {', '.join(map(str, _list(told['triggers'])))}"
    if told["window"]:
        window = _dict(told["window"])
        yield f"a stream is held for up to {window['seconds']} s or {window['bytes']} bytes"
    if told["deadline"] is not None:
        yield f"deadline for the reply's first byte: {told['deadline']} s"
    if told["label"]:
        yield f"label: {told['label']}"
    if told["shadow"]:
        shadow = _dict(told["shadow"])
        region = f" in region {shadow['region']}" if shadow["region"] else ""
        yield f"a copy goes to {shadow['provider']}/{shadow['model']}{region}"


def _columns(head: Sequence[str], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    """A table, without the columns that are empty."""
    found = [tuple(head), *rows]
    kept = [at for at in range(len(head)) if any(row[at] for row in found[1:])]
    widths = {at: max(len(row[at]) for row in found) for at in kept}
    for row in found:
        yield "  ".join(row[at].ljust(widths[at]) for at in kept).rstrip()


def _number(found: Json) -> str:
    return "" if found is None else f"{found:.4g}"


def _list(found: Json) -> Sequence[Json]:
    return found if isinstance(found, list) else []


def _dict(found: Json) -> _Told:
    return found if isinstance(found, dict) else {}
