"""A wire language in one file, as somebody outside might write it: one question, one answer.

`POST /small/talk` takes `{model, ask, stream, most}` and answers `{said, end}`, or
lines of `{bit}` and a last one of `{end}`. It is dropped into a copy of the package.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from extproc.codec.ndjson import Line, LineSplitter
from extproc.dialects import _decoding as decoding
from extproc.dialects import _errors as errors
from extproc.dialects import _reading as read
from extproc.dialects._parts import Parts
from extproc.model.call import Target
from extproc.model.chat import Chat, Message, Role, Sampling, Text
from extproc.model.dialect import (
    Dialect,
    Endpoint,
    Headers,
    ModelCard,
    RateLimit,
    Rendered,
    ReplyContext,
    ReplyDecoder,
    ReplyEncoder,
    ReplyHead,
    RequestHead,
    WireReply,
)
from extproc.model.embed import Request
from extproc.model.errors import GatewayError, NotFound, Unsupported
from extproc.model.reply import ChoiceEnded, Event, Failed, Finished, Reason, Started, TextDelta

NAME = "small_talk"
_JSON = {"content-type": "application/json"}
_LINES = {"content-type": "application/x-ndjson"}


def _line(**members: object) -> bytes:
    return json.dumps(members).encode() + b"\n"


def _reason(raw: str | None, called: bool) -> Reason:
    del called
    return Reason.LENGTH if raw == "length" else Reason.STOP


def _error(status: int, headers: Headers, body: bytes) -> GatewayError:
    try:
        said = str(json.loads(body)["wrong"])
    except (ValueError, TypeError, KeyError):
        return errors.unreadable(status, errors.retry_after_of(headers))
    return errors.said(status, said)


class Reader:
    def __init__(self) -> None:
        self._parts = Parts(NAME, _reason)
        self.out: list[Event] = []
        self.done = False

    def frame(self, frame: Line) -> bool:
        if frame.data:
            self.read(decoding.read_object(frame.data))
        return True

    def read(self, value: Mapping[str, Any]) -> None:
        parts = self._parts
        parts.out = self.out
        if not parts.choices:
            parts.started(Started("", ""))
        choice = parts.choice(0)
        for name in ("bit", "said"):
            if isinstance(value.get(name), str):
                parts.text(choice, value[name])
        if isinstance(value.get("end"), str):
            choice.raw = value["end"]
            parts.end(None)
            self.done = True

    def close(self) -> None:
        raise decoding.bad(decoding.ENDED_EARLY)

    def failing(self) -> Sequence[Event]:
        return ()


def _whole(body: bytes) -> Sequence[Event]:
    reader = Reader()
    reader.read(decoding.read_object(body))
    if not reader.done:
        reader.close()
    return reader.out


class Encoder:
    def __init__(self, stream: bool) -> None:
        self._stream = stream
        self._said = ""
        self._end = "stop"

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, _LINES if self._stream else _JSON

    def feed(self, event: Event) -> bytes:
        match event:
            case TextDelta() if self._stream:
                return _line(bit=event.text)
            case TextDelta():
                self._said += event.text
            case ChoiceEnded():
                self._end = "length" if event.reason is Reason.LENGTH else "stop"
            case Finished() if self._stream:
                return _line(end=self._end)
            case Finished():
                return _line(said=self._said, end=self._end)
            case Failed():
                return _line(wrong=event.error.message)
            case _:
                pass
        return b""


class SmallTalk:
    name: ClassVar[str] = NAME
    endpoints: ClassVar[tuple[Endpoint, ...]] = (Endpoint("POST", "/small/talk", "talk"),)
    speaks_to_providers: ClassVar[bool] = True
    field_names: ClassVar[Mapping[str, str]] = {}
    request_id_header: ClassVar[str] = ""
    request_headers: ClassVar[frozenset[str]] = frozenset()
    reply_headers: ClassVar[frozenset[str]] = frozenset({"content-type"})
    key_refusals: ClassVar[frozenset[int]] = frozenset()

    def parse_request(self, head: RequestHead, body: bytes) -> Request:
        x = read.read_object(body)
        return Chat(
            dialect=NAME,
            model=read.expect_string(x.get("model"), "model"),
            messages=(Message(Role.USER, (Text(read.expect_string(x.get("ask"), "ask")),)),),
            stream=read.optional_bool(x.get("stream"), "stream") is True,
            sampling=Sampling(max_tokens=read.optional_int(x.get("most"), "most")),
            raw=body,
        )

    def render_request(self, request: Request, target: Target) -> Rendered:
        if not isinstance(request, Chat):
            raise Unsupported(f"Provider {target.provider} only talks.")
        body = request.raw
        if not body or request.dialect != NAME or request.model != target.model:
            words = [p.text for m in request.messages for p in m.parts if isinstance(p, Text)]
            members = {"model": target.model, "ask": "\n".join(words), "stream": request.stream}
            most = request.sampling.max_tokens
            body = json.dumps(members | ({} if most is None else {"most": most})).encode()
        return Rendered("/small/talk", body, _JSON, stream=request.stream)

    def decoder(self, head: ReplyHead, rendered: Rendered) -> ReplyDecoder:
        return decoding.decoder(
            head,
            decoding.Language(
                error=_error,
                whole=_whole,
                stream=lambda: decoding.Framed(LineSplitter(), Reader()),
                streams=lambda head, _: head.content_type == "application/x-ndjson",
            ),
        )

    def encoder(self, request: Request, context: ReplyContext) -> ReplyEncoder:
        return Encoder(isinstance(request, Chat) and request.stream)

    def render_error(self, error: GatewayError, call_id: str) -> WireReply:
        return WireReply(error.status, _JSON, _line(wrong=error.message, call=call_id))

    def read_limits(self, head: ReplyHead) -> tuple[RateLimit, ...]:
        return ()

    def write_limits(self, limits: tuple[RateLimit, ...]) -> Mapping[str, str]:
        return {}

    def naming(self, name: str) -> None:
        del name

    def render_models(
        self, models: Sequence[ModelCard], request: Request, call_id: str
    ) -> WireReply:
        raise NotFound("There is no list of models in small talk.")


DIALECT: Dialect = SmallTalk()
