"""Cohere replies, whole or streamed, to events.

A stream says what kind of event it is in the data (`type`), so the names before
it are not read, and kinds that are not known are skipped. Its end is
`message-end`; `[DONE]` may follow. A generation that failed is `Failed`, and so
is a stream without its end.

Source: the event types of Cohere's SDK (v2 chat).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from extproc.codec.sse import Frame, SseSplitter
from extproc.dialects import _decoding as decoding
from extproc.dialects._decoding import ENDED_EARLY, Framed, bad, read_object
from extproc.dialects.cohere_chat.errors import ended_badly, provider_error, reply_error
from extproc.dialects.cohere_chat.parts import PLANNED, new_parts
from extproc.dialects.cohere_chat.words import is_failure, read_usage, residue
from extproc.model.chat import Json
from extproc.model.dialect import Rendered, ReplyDecoder, ReplyHead
from extproc.model.reply import Event, NoteKind, PartKind, Started, TextDelta, Usage, Used

_DONE = b"[DONE]"


def chat_decoder(head: ReplyHead, rendered: Rendered) -> ReplyDecoder:
    def whole(body: bytes) -> Sequence[Event]:
        reader = EventReader(rendered.renamed)
        reader.whole(read_object(body))
        return reader.out

    return decoding.decoder(
        head,
        decoding.Language(
            error=provider_error,
            whole=whole,
            stream=lambda: Framed(SseSplitter(), EventReader(rendered.renamed)),
            streams=decoding.sse_streams,
        ),
    )


class EventReader:
    """See `_decoding.Reader`. Cohere gives one choice."""

    __slots__ = ("_choice", "_parts", "_renamed", "_started", "_usage", "done", "out")

    def __init__(self, renamed: Mapping[str, str]) -> None:
        self._parts = new_parts()
        self._choice = self._parts.choice(0)
        self._renamed = renamed
        self._started = False
        self._usage: Usage | None = None
        self.out: list[Event] = []
        self.done = False

    def frame(self, frame: Frame) -> bool:
        data = frame.data
        if not data or data == _DONE:
            return True
        try:
            event: Json = orjson.loads(data)
        except orjson.JSONDecodeError:
            event = read_object(data)
        if isinstance(event, dict):
            self._event(event)
        else:
            read_object(data)
        return True

    def _event(self, event: dict[str, Json]) -> None:
        kind = event.get("type")
        delta = event.get("delta")
        if not isinstance(delta, dict):
            delta = {}
        message = delta.get("message")
        if not isinstance(message, dict):
            message = {}
        if kind == "content-delta" and self._started:
            self._content(message.get("content"))
            if "logprobs" in event:
                self._logprobs([event["logprobs"]])
            return
        self._parts.out = self.out
        if not isinstance(kind, str):
            raise reply_error(event)
        if not self._started:
            self._start(event)
        self._choice_event(kind, event, delta, message)

    def _start(self, event: Mapping[str, Json]) -> None:
        self._started = True
        reply_id = event.get("id")
        self._parts.started(Started(reply_id if isinstance(reply_id, str) else "", ""))

    def _choice_event(
        self,
        kind: str,
        event: Mapping[str, Json],
        delta: Mapping[str, Json],
        message: Mapping[str, Json],
    ) -> None:
        match kind:
            case "content-start":
                self._parts.end_part(self._choice)
                self._content(message.get("content"))
            case "content-delta":
                self._content(message.get("content"))
            case "tool-plan-delta":
                self._plan(message.get("tool_plan"))
            case "tool-call-start" | "tool-call-delta":
                self._call(message.get("tool_calls"), event.get("index"))
            case "citation-start":
                self._cited(message.get("citations"))
            case "message-end":
                self._end(delta)
            case _:
                pass

    def whole(self, value: dict[str, Json]) -> None:
        """A whole reply: the same things in another order."""
        message = value.get("message")
        if not isinstance(message, dict) or "error" in value:
            raise reply_error(value)
        self._parts.out = self.out
        self._start(value)
        self._plan(message.get("tool_plan"))
        content = message.get("content")
        plain: list[Json] = [{"text": content}]
        for item in content if isinstance(content, list) else plain:
            self._parts.end_part(self._choice)
            self._content(item)
        self._logprobs(value.get("logprobs"))
        self._cited(message.get("citations"))
        calls = message.get("tool_calls")
        for i, call in enumerate(calls if isinstance(calls, list) else ()):
            self._call(call, i)
        self._end(value)

    # --- what is said

    def _content(self, value: Json) -> None:
        if not isinstance(value, dict):
            return
        text = value.get("text")
        if text and isinstance(text, str):
            choice = self._choice
            if choice.kind is PartKind.TEXT:
                self.out.append(TextDelta(text, choice.part))
                return
            self._parts.out = self.out
            self._parts.text(choice, text)
        thought = value.get("thinking")
        if thought and isinstance(thought, str):
            self._parts.out = self.out
            self._parts.thinking(self._choice, thought)

    def _plan(self, value: Json) -> None:
        if value and isinstance(value, str):
            self._parts.thinking(self._choice, value, PLANNED)

    def _call(self, value: Json, index: Json) -> None:
        if isinstance(value, list):
            # What the documentation of older days shows.
            value = value[0] if value else None
        function = value.get("function") if isinstance(value, dict) else None
        if not isinstance(value, dict) or not isinstance(function, dict):
            return
        name, arguments, call_id = function.get("name"), function.get("arguments"), value.get("id")
        tool = name if isinstance(name, str) else ""
        self._parts.tool(
            self._choice,
            index if isinstance(index, int) else None,
            call_id if isinstance(call_id, str) else "",
            self._renamed.get(tool, tool),
            arguments if isinstance(arguments, str) else "",
            {},
        )

    def _cited(self, value: Json) -> None:
        for citation in value if isinstance(value, list) else (value,):
            if isinstance(citation, dict):
                self._parts.note(self._choice, NoteKind.CITATION, citation)

    def _logprobs(self, value: Json) -> None:
        self._parts.out = self.out
        for item in value if isinstance(value, list) else ():
            if item:
                self._parts.note(self._choice, NoteKind.LOGPROBS, item)

    # --- the end

    def _end(self, delta: Mapping[str, Json]) -> None:
        """`delta` is what a `message-end` has, or the whole reply."""
        usage = delta.get("usage")
        if isinstance(usage, dict):
            self._usage = read_usage(usage)
        word = delta.get("finish_reason")
        if isinstance(word, str):
            if is_failure(word):
                raise ended_badly(word, delta)
            self._choice.raw = word
        self.done = True
        self._choice.extra.update(residue(delta, _END).fields)
        self._parts.end(self._usage)

    def close(self) -> None:
        raise bad(ENDED_EARLY)

    def failing(self) -> Sequence[Event]:
        return () if self._usage is None else (Used(self._usage),)


_END = frozenset({"id", "finish_reason", "usage", "message", "logprobs"})
"""of a whole reply and of `message-end`: what is canonical; the rest is Cohere's own"""
