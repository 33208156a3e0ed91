"""What would become of a request: `POST /v1/route/explain`, and `sluice explain` without a gateway.

Takes a question in JSON: a request's body, of the chat language, or the request wrapped with its
path, headers and body. Gives the answer in JSON. Nobody is asked and no stage runs. Of what the
request says, the answer has the size alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import cast

from extproc.flow.course import patience_of
from extproc.flow.identify import without_key
from extproc.flow.machine import Machine
from extproc.flow.messages import Reply
from extproc.flow.record import Record
from extproc.flow.snapshot import Claimed, Snapshot
from extproc.model.call import Call, Caller, CallId, Role
from extproc.model.chat import NO_OPTIONS, Json, ListModels
from extproc.model.dialect import Headers, RequestHead
from extproc.model.embed import Routed
from extproc.model.errors import (
    GatewayError,
    InvalidRequest,
    MethodNotAllowed,
    PermissionDenied,
    Unauthenticated,
)
from extproc.model.stage import Stage
from extproc.model.value import value
from extproc.routing.explain import carried, explain
from extproc.routing.health import Health
from extproc.routing.hearing import Asked

PATH = "/v1/route/explain"
_HEADERS = {"content-type": "application/json", "cache-control": "no-store"}
OBJECT = "route.explanation"
CHAT_PATH = "/v1/chat/completions"
"""where a bare body would go"""
_MEMBERS = ("path", "method", "headers", "body", "call_id", "as")
_SPACE = re.compile(r"[ \t\r\n]*")
_CALL_ID = re.compile(r"[\x21-\x7e]{1,128}")
_DECODER = json.JSONDecoder()


@value
class Question:
    """A request that is not sent. `asker` wants to know what would become of it if `caller` sent it
    as the call of that id."""

    asker: Caller
    caller: Caller
    call_id: CallId
    head: RequestHead
    request: Routed


def posed(refused: GatewayError, method: str, path: str, headers: Headers) -> RequestHead:
    """The head of a question, which no dialect claims. Raises `refused` for what is none."""
    if path != PATH:
        raise refused
    if method != "POST":
        raise MethodNotAllowed(f"{PATH} answers POST, not {method[:20]}.", allow=("POST",))
    return RequestHead(method, path, "", headers)


def replied(machine: Machine, record: Record, own: RequestHead, body: bytes) -> Reply:
    """The reply to the question in `body`. Raises what `question` raises."""
    assert record.caller is not None
    snapshot = machine.snapshot
    asked = question(snapshot, record.caller, own, body, record.call_id)
    told = answer(snapshot, machine.health, asked, machine.clock.time())
    return Reply(200, _HEADERS, json.dumps(told).encode())


def question(
    snapshot: Snapshot, asker: Caller, own: RequestHead, body: bytes, call_id: CallId
) -> Question:
    """`own` and `call_id` are the question's own: where it does not say, the request has the same
    headers, and the same id. Raises InvalidRequest or PermissionDenied, and what parsing raises."""
    text = _text(body)
    members = _members(text)
    if "body" not in members and "path" not in members:
        return _question(snapshot, asker, asker, call_id, _head(own, CHAT_PATH, "POST", {}), body)
    for name in members:
        if name not in _MEMBERS:
            raise InvalidRequest(
                f"{name[:64]!r} is not known; a question has {', '.join(_MEMBERS)}.",
                param=name[:64],
            )
    said = {name: one for name, (one, _) in members.items()}
    path = _string(said, "path", CHAT_PATH)
    given = _headers(said)
    head = _head(own, path, _string(said, "method", "POST"), given)
    _, raw = members.get("body", (None, ""))
    sent = said.get("body")
    whole = (sent if isinstance(sent, str) else raw).encode("utf-8", "surrogatepass")
    wanted = _string(said, "call_id", call_id)
    if not _CALL_ID.fullmatch(wanted):
        raise InvalidRequest("call_id must be what `x-sluice-call-id` said.", param="call_id")
    caller = _caller(snapshot, asker, said)
    return _question(snapshot, asker, caller, CallId(wanted), head, whole)


def answer(snapshot: Snapshot, health: Health, asked: Question, now: float) -> Mapping[str, Json]:
    """The explanation. `now` is unix seconds. Raises nothing for a request that would be refused:
    that is its `error`."""
    request = asked.request
    call = Asked(Call(asked.call_id, asked.caller, request), asked.head.headers, now)
    words = snapshot.dialects[request.dialect].field_names
    told = carried(explain(snapshot.atlas, health, call), request, words)
    if isinstance(told.error, PermissionDenied) and asked.asker.role is not Role.ADMIN:
        # Who may not use a model is not told what it is made of.
        told = replace(told, model="", strategy="", by="", candidates=())
    plan = told.plan
    said = told.as_json()
    if plan is not None:
        said["deadline"] = patience_of(plan, request)
        if not request.stream:
            said["window"] = None
    return {
        "object": OBJECT,
        "call_id": asked.call_id,
        "caller": asked.caller.name,
        "dialect": request.dialect,
        "path": asked.head.path,
        **said,
        "notes": _notes(snapshot, request),
    }


def wrapped(text: str, said: Mapping[str, Json]) -> bytes:
    """A question about what `text` holds, bare or wrapped, with these members put in its place.

    Raises InvalidRequest for what is no JSON object.
    """
    members = _members(text)
    bare = "body" not in members and "path" not in members
    written = {"body": text.strip()} if bare else {name: raw for name, (_, raw) in members.items()}
    written |= {name: json.dumps(one) for name, one in said.items()}
    pairs = (f"{json.dumps(name)}: {raw}" for name, raw in written.items())
    return f"{{{', '.join(pairs)}}}".encode("utf-8", "surrogatepass")


# --- what the question says


def _question(
    snapshot: Snapshot,
    asker: Caller,
    caller: Caller,
    call_id: CallId,
    head: RequestHead,
    body: bytes,
) -> Question:
    claimed = snapshot.claim(head.method, head.path, head.headers)
    if not isinstance(claimed, Claimed):
        raise InvalidRequest(f"path: {claimed.message}", param="path")
    head = replace(head, operation=claimed.endpoint.operation)
    request = claimed.dialect.parse_request(head, body)
    if isinstance(request, ListModels):
        raise InvalidRequest(
            f"path: {head.path[:200]} is answered by the gateway itself: nothing is routed.",
            param="path",
        )
    return Question(asker, caller, call_id, head, request)


def _caller(snapshot: Snapshot, asker: Caller, said: Mapping[str, Json]) -> Caller:
    if said.get("as") is None:
        return asker
    name = _string(said, "as", "")
    if name == asker.name:
        return asker
    if asker.role is not Role.ADMIN:
        raise PermissionDenied("Only an admin may ask `as` somebody else.")
    try:
        return snapshot.identifier.named(name)
    except Unauthenticated:
        raise InvalidRequest(f"as: there is no key `{name[:64]}`.", param="as") from None


def _head(own: RequestHead, path: str, method: str, given: Mapping[str, str]) -> RequestHead:
    """The head of the request. With headers of its own it has none of the question's."""
    pure, _, query = path.partition("?")
    if not pure.startswith("/"):
        raise InvalidRequest("path must begin with `/`, such as /v1/messages.", param="path")
    headers = given or own.headers
    if given:
        authority = own.headers.get(":authority", "localhost")
        headers = {":authority": authority, "content-type": "application/json", **given}
    headers = {**headers, ":path": path, ":method": method}
    return RequestHead(method, pure, without_key(query), headers)


def _headers(said: Mapping[str, Json]) -> dict[str, str]:
    given = said.get("headers")
    if given is None:
        return {}
    if not isinstance(given, dict) or not all(isinstance(one, str) for one in given.values()):
        raise InvalidRequest("headers must be an object of strings.", param="headers")
    pairs = cast("dict[str, str]", given).items()
    return {name.lower(): one for name, one in pairs if not name.startswith(":")}


def _string(said: Mapping[str, Json], name: str, usual: str) -> str:
    found = said.get(name)
    if found is None:
        return usual
    if not isinstance(found, str):
        raise InvalidRequest(f"{name} must be a string.", param=name)
    return found


# --- JSON whose members are kept as they are written


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The question is not UTF-8 at byte {error.start}.") from None


def _members(text: str) -> dict[str, tuple[Json, str]]:
    """Each member of an object: its value, and its text."""
    try:
        return _walked(text)
    except RecursionError:
        raise InvalidRequest("The question is nested too deeply.") from None
    except ValueError as error:
        said = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise InvalidRequest(f"The question is not a JSON object: {said}.") from None


def _walked(text: str) -> dict[str, tuple[Json, str]]:
    """Raises ValueError."""
    found: dict[str, tuple[Json, str]] = {}
    at = _after(text, 0, "{")
    while text[at : at + 1] != "}":
        name, end = _DECODER.raw_decode(text, at)
        if not isinstance(name, str) or name in found:
            raise ValueError(f"a key is expected at character {at}, and each once")
        at = _after(text, end, ":")
        one, end = _DECODER.raw_decode(text, at)
        found[name] = cast("Json", one), text[at:end]
        at = _blank(text, end)
        if text[at : at + 1] != "}":
            at = _after(text, at, ",")
            if text[at : at + 1] == "}":
                raise ValueError(f"a key is expected at character {at}")
    if _blank(text, at + 1) != len(text):
        raise ValueError(f"there is more behind its end, at character {at + 1}")
    return found


def _after(text: str, at: int, sign: str) -> int:
    """Where the next thing begins, behind this sign and blanks."""
    at = _blank(text, at)
    if text[at : at + 1] != sign:
        raise ValueError(f"`{sign}` is expected at character {at}")
    return _blank(text, at + 1)


def _blank(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


# --- what the answer adds


def _notes(snapshot: Snapshot, request: Routed) -> list[Json]:
    stages = snapshot.standing if request.options is NO_OPTIONS else snapshot.stages
    if not stages:
        return []
    names = ", ".join(_names(stages))
    return [
        f"Policies were not run ({names}): what they change in a request, or refuse, is not seen here."
    ]


def _names(stages: Sequence[Callable[[], Stage]]) -> Sequence[str]:
    return [type(make()).__module__.rpartition(".")[2] for make in stages]
