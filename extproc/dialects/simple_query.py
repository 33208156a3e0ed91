"""The simple query language: one prompt in, one answer out, whole or in chunks.

`POST /query` answers with one JSON object, `POST /stream` with events
`{"chunk", "finished"}` and `[DONE]`. It is a strict little language: a member
that it does not know is an error that names it. It speaks to clients only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from extproc.codec import jsontext, sse
from extproc.dialects import _reading as read
from extproc.dialects._options import read_options
from extproc.model.call import Target
from extproc.model.chat import Chat, Json, Message, Options, Role, Sampling, Text
from extproc.model.dialect import (
    Dialect,
    Endpoint,
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
from extproc.model.errors import GatewayError, InvalidRequest, Unsupported
from extproc.model.reply import Event, Failed, Finished, TextDelta, Usage, Used

NAME = "simple_query"
_JSON = {"content-type": "application/json"}
_EVENTS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
_DONE = b"data: [DONE]\n\n"
_AUTO = "auto"

_MEMBERS = (
    "prompt",
    "context",
    "provider",
    "model",
    "temperature",
    "max_tokens",
    "user_id",
    "force_refresh",
)


class SimpleQuery:
    """See `model.dialect.Dialect`. Holds no state."""

    name: ClassVar[str] = NAME
    endpoints: ClassVar[tuple[Endpoint, ...]] = (
        Endpoint("POST", "/query", "query"),
        Endpoint("POST", "/stream", "stream"),
    )
    speaks_to_providers: ClassVar[bool] = False
    request_id_header: ClassVar[str] = ""
    request_headers: ClassVar[frozenset[str]] = frozenset({"traceparent", "tracestate"})
    reply_headers: ClassVar[frozenset[str]] = frozenset({"content-type", "retry-after"})

    def parse_request(self, head: RequestHead, body: bytes) -> Request:
        """Raises `InvalidRequest` for a missing prompt, a wrong type and an unknown member."""
        x = read.read_object(body)
        for name in x:
            if name not in _MEMBERS:
                known = ", ".join(_MEMBERS)
                message = f"{name[:64]!r} is not known here; known members: {known}"
                raise InvalidRequest(message, param=name[:64], code="unknown_member")
        if "prompt" not in x:
            raise read.missing("prompt")
        prompt = read.expect_string(x["prompt"], "prompt")
        if not prompt.strip():
            raise InvalidRequest("prompt must not be empty", param="prompt")
        context = read.optional_string(x.get("context"), "context")
        provider = read.optional_string(x.get("provider"), "provider")
        user = read.optional_string(x.get("user_id"), "user_id")
        return Chat(
            dialect=NAME,
            model=read.optional_string(x.get("model"), "model") or "",
            messages=_messages(prompt, context),
            stream=head.operation == "stream",
            provider=None if provider in (None, "", _AUTO) else provider,
            sampling=Sampling(temperature=_temperature(x), max_tokens=_max_tokens(x)),
            user=user,
            options=_options(head.headers, x, user),
            raw=body,
        )

    def render_request(self, request: Request, target: Target) -> Rendered:
        del request
        raise Unsupported(f"{target.provider} cannot be asked in {NAME}")

    def decoder(self, head: ReplyHead, rendered: Rendered) -> ReplyDecoder:
        del head, rendered
        raise Unsupported(f"no provider answers in {NAME}")

    def encoder(self, request: Request, context: ReplyContext) -> ReplyEncoder:
        if isinstance(request, Chat) and request.stream:
            return _StreamEncoder()
        return _WholeEncoder(context)

    def render_error(self, error: GatewayError, call_id: str) -> WireReply:
        headers = {**_JSON, "x-sluice-error-origin": error.origin.value}
        if error.retry_after is not None:
            headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
        if error.status == 401:
            headers["www-authenticate"] = "Bearer"
        if error.allow:
            headers["allow"] = ", ".join(error.allow)
        body = jsontext.dumps({"error": error.message, "correlation_id": call_id})
        return WireReply(error.status, headers, body)

    def read_limits(self, head: ReplyHead) -> tuple[RateLimit, ...]:
        del head
        return ()

    def write_limits(self, limits: tuple[RateLimit, ...]) -> Mapping[str, str]:
        del limits
        return {}

    def render_models(
        self, models: Sequence[ModelCard], request: Request, call_id: str
    ) -> WireReply:
        del models, request, call_id
        raise Unsupported(f"{NAME} has no model list")


def _messages(prompt: str, context: str | None) -> tuple[Message, ...]:
    """The context is the system's word, before the prompt."""
    asked = Message(Role.USER, (Text(prompt),))
    if not context or not context.strip():
        return (asked,)
    return (Message(Role.SYSTEM, (Text(context),)), asked)


def _temperature(x: Mapping[str, Json]) -> float | None:
    value = read.optional_number(x.get("temperature"), "temperature")
    if value is not None and not 0.0 <= value <= 1.0:
        raise InvalidRequest("temperature must be from 0.0 to 1.0", param="temperature")
    return value


def _max_tokens(x: Mapping[str, Json]) -> int | None:
    value = read.optional_int(x.get("max_tokens"), "max_tokens")
    if value is not None and value < 1:
        raise InvalidRequest("max_tokens must be 1 or more", param="max_tokens")
    return value


def _options(headers: Mapping[str, str], x: Mapping[str, Json], user: str | None) -> Options:
    options = read_options(headers)
    if options.user is None and user:
        options = replace(options, user=user)
    if read.optional_bool(x.get("force_refresh"), "force_refresh") and options.cache is None:
        options = replace(options, cache="refresh")
    return options


class _WholeEncoder:
    """Gathers the text of the first choice; gives the object with `Finished`."""

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._text: list[str] = []
        self._usage = Usage()

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, _JSON

    def feed(self, event: Event) -> bytes:
        match event:
            case TextDelta() if event.choice == 0:
                self._text.append(event.text)
            case Used():
                self._usage = event.usage
            case Finished():
                return self._body()
            case Failed():
                error = {"error": event.error.message, "correlation_id": self._context.call_id}
                return jsontext.dumps(dict(error))
            case _:
                pass
        return b""

    def _body(self) -> bytes:
        context, usage = self._context, self._usage
        tokens = usage.prompt + usage.output
        return jsontext.dumps(
            {
                "response": "".join(self._text),
                "provider": context.provider,
                "tokens_used": tokens,
                "processing_time": round(_elapsed(context), 3),
                "cost": round(tokens * context.price_per_token, 10),
                "cached": False,
                "correlation_id": context.call_id,
            }
        )


def _elapsed(context: ReplyContext) -> float:
    """Seconds since the request came; 0 where nobody holds a clock."""
    return 0.0 if context.clock is None else max(0.0, context.clock.monotonic() - context.started)


class _StreamEncoder:
    """Text as it comes. The end is an empty chunk of its own, so no text is held back for it."""

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, _EVENTS

    def feed(self, event: Event) -> bytes:
        match event:
            case TextDelta() if event.choice == 0 and event.text:
                return sse.write(jsontext.dumps({"chunk": event.text, "finished": False}))
            case Finished():
                return sse.write(b'{"chunk":"","finished":true}') + _DONE
            case Failed():
                return sse.write(jsontext.dumps({"error": event.error.message, "finished": True}))
            case _:
                return b""


DIALECT: Dialect = SimpleQuery()
