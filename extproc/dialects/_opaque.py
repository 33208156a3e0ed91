"""What we carry and do not translate: the same for every dialect, whose words are data.

A request of a path that has no canonical form (pictures, speech, files, batches)
goes to a provider of its own dialect as it came, with our credential. Of its body
only the model's name is read; of the reply only the usage. No byte of either is
changed, but for the model's name in JSON where the provider calls it otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from json import JSONDecodeError, JSONDecoder
from typing import cast
from urllib.parse import unquote

import orjson

from extproc.codec import jsontext, sse
from extproc.codec.sse import SseSplitter
from extproc.dialects import _decoding as decoding
from extproc.dialects import _multipart as multipart
from extproc.dialects import _reading as read
from extproc.dialects._options import BODY_MEMBER, read_options
from extproc.model.call import Target
from extproc.model.chat import Json
from extproc.model.dialect import (
    Endpoint,
    Headers,
    Rendered,
    ReplyDecoder,
    ReplyHead,
    RequestHead,
)
from extproc.model.embed import Opaque
from extproc.model.errors import GatewayError, InvalidRequest, Unsupported
from extproc.model.reply import (
    NO_UNITS,
    Event,
    Failed,
    Finished,
    OpaqueChunk,
    Started,
    Units,
    Usage,
    Used,
)

OPERATION = "opaque"
REFUSED = "refused"
"""the operation of paths that are known and cannot be carried"""
MAX_JSON = 1024 * 1024
"""bytes of a JSON reply that are kept until its end, to be read as a whole"""
TAIL = 16 * 1024
"""bytes at the end of a longer one in which its usage is looked for"""
MAX_EVENT = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Paths:
    """Paths that begin with `path`. `upload`: their POST may carry more than the body limit.

    `path` is exact, or ends in `*`. `methods` are divided by spaces.
    """

    path: str
    methods: str
    upload: bool = False


FieldOf = Callable[[str], Json]
"""a field of a request's body by its name: any JSON value, or the text of a form's part"""


def _no_units(path: str, field: FieldOf) -> Units:
    del path, field
    return NO_UNITS


@dataclass(frozen=True, slots=True)
class Language:
    """What a dialect must say. `prefixes`: what clients put before a path, the longest first.

    `usage` reads the object found under one of `usage_names`; `units` says what a request for a
    path (below the prefix) costs beside tokens.
    """

    dialect: str
    prefixes: tuple[str, ...]
    error: Callable[[int, Headers, bytes], GatewayError]
    usage: Callable[[Mapping[str, Json]], Usage]
    usage_names: tuple[str, ...] = ("usage",)
    units: Callable[[str, FieldOf], Units] = _no_units


def endpoints(paths: Iterable[Paths], prefixes: Iterable[str]) -> tuple[Endpoint, ...]:
    """The endpoints of these paths, below each of the prefixes."""
    prefixes = tuple(prefixes)
    return tuple(
        Endpoint(method, prefix + one.path, OPERATION, upload=one.upload and method == "POST")
        for one in paths
        for prefix in prefixes
        for method in one.methods.split()
    )


# --- requests -------------------------------------------------------------------------------


def parse(head: RequestHead, body: bytes, language: Language, model: str = "") -> Opaque:
    """`body` is empty for an upload that nobody may look at; `model` is given where the path names it.

    Raises `InvalidRequest` for a path that another reader could understand otherwise,
    and for JSON or multipart that cannot be read.
    """
    content_type = head.headers.get("content-type", "")
    path = _relative(head, language.prefixes)
    member: Json = None
    stream = False
    units = NO_UNITS
    if body and multipart.is_multipart(content_type):
        model = model or multipart.field(body, content_type, "model")
        units = language.units(path, lambda name: multipart.field(body, content_type, name))
    elif body and _is_json(content_type):
        value = _json(body)
        if isinstance(value, dict):
            named = read.optional_string(value.get("model"), "model")
            model = model or named or ""
            member, stream = value.get(BODY_MEMBER), value.get("stream") is True
            units = language.units(path, value.get)
            if member is not None:
                body = jsontext.splice(body, remove=(BODY_MEMBER,))
    return Opaque(
        dialect=language.dialect,
        method=head.method,
        path=path,
        content_type=content_type,
        model=model,
        stream=stream,
        options=read_options(head.headers, member),
        units=units,
        raw=body,
    )


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _json(body: bytes) -> Json:
    try:
        return jsontext.loads(body)
    except jsontext.BadJson as error:
        raise InvalidRequest(error.message, param=error.key, code="invalid_json") from None


_PLAIN = re.compile(r"(?:/[\w.~!$&'()+,:=@-]+)+/?", re.ASCII)


def _relative(head: RequestHead, prefixes: tuple[str, ...]) -> str:
    """The path below the provider's base path, with the query. Only plain segments travel."""
    path = head.path
    for prefix in prefixes:
        if path.startswith(prefix + "/"):
            path = path.removeprefix(prefix)
            break
    plain = unquote(path)
    changed = plain.count("/") != path.count("/")
    if changed or "/." in plain or _PLAIN.fullmatch(plain) is None:
        message = "The path has characters or segments that this gateway does not pass on."
        raise InvalidRequest(message, code="invalid_path")
    return f"{path}?{head.query}" if head.query else path


def render(request: Opaque, target: Target, path: str, language: Language) -> Rendered:
    """The request for a target of the same dialect; `path` is where it goes there, with the query."""
    if request.dialect != language.dialect:
        name = request.path.partition("?")[0]
        raise Unsupported(
            f"{name} of {request.dialect} is not translated: it needs a provider that speaks"
            f" {request.dialect}, and {target.provider} does not."
        )
    body = request.raw
    if request.model and target.model != request.model and body:
        body = _with_model(request, target)
    headers = {"content-type": request.content_type} if request.content_type else {}
    return Rendered(
        path=path,
        body=body,
        headers=headers,
        stream=request.stream,
        method=request.method,
        operation=OPERATION,
        units=request.units,
    )


def _with_model(request: Opaque, target: Target) -> bytes:
    if multipart.is_multipart(request.content_type):
        raise Unsupported(
            f"Provider {target.provider} calls this model {target.model!r}, and a multipart body"
            " is not changed here: send that name.",
            param="model",
        )
    if not _is_json(request.content_type):
        return request.raw
    value = _json(request.raw)
    if not isinstance(value, dict) or "model" not in value:
        return request.raw
    return jsontext.splice(request.raw, replace={"model": jsontext.dumps(target.model)})


# --- replies --------------------------------------------------------------------------------


def decoder(head: ReplyHead, language: Language, units: Units = NO_UNITS) -> ReplyDecoder:
    """Passes every byte of a good reply; one of status >= 400 becomes `Failed`.

    `units` is what the request said that a good reply costs.
    """
    good = 200 <= head.status < 300
    if good and head.headers.get("content-encoding", "identity").strip().lower() == "identity":
        return _Passing(head, language, units)
    return decoding.decoder(
        head,
        decoding.Language(
            error=language.error,
            whole=_nothing,
            stream=lambda: _Passing(head, language, units),
            streams=decoding.sse_streams,
        ),
    )


def _nothing(body: bytes) -> Sequence[Event]:
    del body
    return (Started("", ""), Finished())


class _Passing:
    """`Started` with the first byte, the usage as it is seen, `Finished` with the last."""

    def __init__(self, head: ReplyHead, language: Language, units: Units) -> None:
        self._language = language
        self._units = units
        self._out: list[bytes] = []
        self._started = False
        self._closed = False
        self._usage: Usage | None = None
        self._kept: bytearray | None = None
        self._size = 0
        self._sse: SseSplitter | None = None
        if head.content_type == "text/event-stream":
            self._sse = SseSplitter(MAX_EVENT)
        elif _is_json(head.content_type):
            self._kept = bytearray()

    def feed(self, data: bytes) -> Sequence[Event]:
        if self._closed or not data:
            return ()
        self._out.append(data)
        events: list[Event] = []
        if not self._started:
            self._started = True
            events.append(Started("", ""))
        if self._sse is not None:
            self._read_events(self._sse, data)
        elif self._kept is not None:
            self._size += len(data)
            self._kept += data
            if self._size > MAX_JSON and len(self._kept) > 2 * TAIL:
                del self._kept[:-TAIL]
        return events

    def close(self) -> Sequence[Event]:
        if self._closed:
            return ()
        self._closed = True
        events: list[Event] = [] if self._started else [Started("", "")]
        if self._sse is not None:
            for frame in self._sse.close():
                self._read(frame.data)
        elif self._kept is not None:
            self._find(bytes(self._kept), whole=self._size <= MAX_JSON)
            self._kept = None
        usage = self._usage
        if self._units is not NO_UNITS:
            usage = usage or Usage()
            usage = replace(usage, units=usage.units + self._units)
        if usage is not None:
            events.append(Used(usage))
        events.append(Finished())
        return events

    def take(self) -> bytes:
        out = self._out
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    def _read_events(self, splitter: SseSplitter, data: bytes) -> None:
        for frame in splitter.feed(data):
            self._read(frame.data)
        if splitter.too_long:
            # It passes all the same; nobody counts what it says.
            self._sse = None

    def _read(self, data: bytes | None) -> None:
        names = self._language.usage_names
        if data is None or not any(b'"%b"' % name.encode() in data for name in names):
            return
        self._find(data, whole=True)

    def _find(self, data: bytes, *, whole: bool) -> None:
        value = _object(data) if whole else None
        for name in self._language.usage_names:
            found = value.get(name) if value is not None else None
            if not whole:
                found = _in_tail(data, name)
            if isinstance(found, dict):
                self._usage = self._language.usage(found)


def _object(data: bytes) -> dict[str, Json] | None:
    try:
        value: Json = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


_DECODER = JSONDecoder()


def _in_tail(data: bytes, name: str) -> Json:
    """The value of the last member `name` in the end of a long body, if it is there whole."""
    text = data.decode("utf-8", "replace")
    at = text.rfind(f'"{name}"')
    start = text.find("{", at) if at >= 0 else -1
    if start < 0 or text[at + len(name) + 2 : start].strip() != ":":
        return None
    try:
        return cast(Json, _DECODER.raw_decode(text, start)[0])
    except (JSONDecodeError, RecursionError):
        return None


class Encoder:
    """The bytes that came. A break is told only where the client reads events."""

    def __init__(self, request: Opaque, error: Callable[[GatewayError], bytes]) -> None:
        """`error` writes the body of the dialect's error."""
        self._request = request
        self._error = error

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, {}

    def feed(self, event: Event) -> bytes:
        match event:
            case OpaqueChunk():
                return event.data
            case Failed() if self._request.stream:
                return sse.write(self._error(event.error))
            case _:
                return b""
