"""Events to the replies of the simple query language."""

from __future__ import annotations

from collections.abc import Mapping

from extproc.codec import jsontext, sse
from extproc.dialects._vectors import unpack
from extproc.dialects.simple_query.request import CONVERSATION, NAME, SAID
from extproc.model.chat import Chat, Json
from extproc.model.dialect import ReplyContext
from extproc.model.errors import GatewayError
from extproc.model.reply import Event, Failed, Finished, TextDelta, Usage, Used, Vector

_JSON = {"content-type": "application/json"}
_EVENTS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
_DONE = b"data: [DONE]\n\n"


def _error(error: GatewayError, context: ReplyContext, **more: Json) -> bytes:
    return jsontext.dumps({"error": error.message, **more, "correlation_id": context.call_id})


class WholeEncoder:
    """Gathers the text of the first choice; gives the object with `Finished`.

    The answer to a turn of a conversation names the conversation.
    """

    def __init__(self, chat: Chat, context: ReplyContext) -> None:
        self._extra = chat.extra.home(NAME)
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
                return _error(event.error, self._context)
            case _:
                pass
        return b""

    def _body(self) -> bytes:
        context, usage = self._context, self._usage
        cost = None if context.price is None else round(context.price.of(usage), 10)
        out: dict[str, Json] = {
            "response": "".join(self._text),
            "provider": context.provider,
            "tokens_used": usage.prompt + usage.output,
            "processing_time": round(_elapsed(context), 3),
            "cost": cost,
            "cached": False,
            "correlation_id": context.call_id,
        }
        if SAID in self._extra:
            out[CONVERSATION] = self._extra[SAID]
        return jsontext.dumps(out)


def _elapsed(context: ReplyContext) -> float:
    """Seconds since the request came; 0 where nobody holds a clock."""
    return 0.0 if context.clock is None else max(0.0, context.clock.monotonic() - context.started)


class StreamEncoder:
    """One text behind what comes, so that the last says that it is: `{"chunk", "finished"}`.

    A stream that breaks gives what it has, and no event of it says that it is finished.
    """

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._held = ""

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, _EVENTS

    def feed(self, event: Event) -> bytes:
        match event:
            case TextDelta() if event.choice == 0 and event.text:
                before, self._held = self._held, event.text
                return _chunk(before) if before else b""
            case Finished():
                return _chunk(self._held, b"true") + _DONE
            case Failed():
                rest = _chunk(self._held) if self._held else b""
                return rest + sse.write(_error(event.error, self._context, finished=False))
            case _:
                return b""


def _chunk(text: str, finished: bytes = b"false") -> bytes:
    """With the blanks that the language's own page has."""
    return sse.write(b'{"chunk": %b, "finished": %b}' % (jsontext.dumps(text), finished))


class EmbedEncoder:
    """The one vector, flat, with how many numbers it has."""

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._numbers: list[Json] = []

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, _JSON

    def feed(self, event: Event) -> bytes:
        match event:
            case Vector() if event.index == 0:
                self._numbers = list(unpack(event))
            case Finished():
                return jsontext.dumps(
                    {
                        "embeddings": self._numbers,
                        "model": self._context.model,
                        "provider": self._context.provider,
                        "dimensions": len(self._numbers),
                    }
                )
            case Failed():
                return _error(event.error, self._context)
            case _:
                pass
        return b""
