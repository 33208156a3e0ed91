"""Events to Cohere replies: events as they come, or one object at the end.

The id is our call id. Content has blocks with an index, calls an index of their
own; a block begins with its first word, so there is none without. A plan for
tools is one only if Cohere said so; any other reasoning is content. An error in
a stream is an end that says why.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from extproc.codec import jsontext, sse
from extproc.dialects._extras import fill
from extproc.dialects.cohere_chat.errors import envelope
from extproc.dialects.cohere_chat.parts import NOTES, is_plan, own
from extproc.dialects.cohere_chat.words import JSON_HEADERS, NAME, word_of, write_usage
from extproc.model.chat import Chat, Json
from extproc.model.dialect import ReplyContext, ReplyEncoder
from extproc.model.reply import (
    ChoiceEnded,
    Event,
    Failed,
    Finished,
    Note,
    NoteKind,
    PartEnded,
    PartKind,
    PartStarted,
    Reason,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    Usage,
    Used,
)

_STREAM = {"content-type": "text/event-stream", "cache-control": "no-cache"}
_DONE = b"data: [DONE]\n\n"
_UNSAID = (Reason.FILTER, Reason.REFUSAL)
"""reasons that Cohere has no word for"""


def chat_encoder(chat: Chat, context: ReplyContext) -> ReplyEncoder:
    return StreamEncoder(context) if chat.stream else WholeEncoder(context)


def reply_id(call_id: str) -> str:
    return call_id.removeprefix("gw-")


def _end(ended: ChoiceEnded | None, usage: Usage | None) -> dict[str, Json]:
    """Finish reason, usage, and what only Cohere says at an end. What is only estimated is not said."""
    reason = Reason.STOP if ended is None else ended.reason
    at_home = ended is not None and ended.extra.dialect == NAME
    out: dict[str, Json] = {"finish_reason": word_of(reason, ended.raw if ended else None, at_home)}
    if usage is not None and not usage.estimated:
        out["usage"] = write_usage(usage)
    if ended is not None:
        fill(out, ended.extra.home(NAME))
    return out


class StreamEncoder:
    """Each event becomes those that say it, at once."""

    def __init__(self, context: ReplyContext) -> None:
        self._id = reply_id(context.call_id)
        self._kinds: dict[int, PartStarted] = {}
        self._calls: dict[int, int] = {}
        self._cited = 0
        self._block = -1
        self._index = -1
        self._around = (b"", b"")
        self._ended: ChoiceEnded | None = None
        self._usage: Usage | None = None

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, _STREAM

    def feed(self, event: Event) -> bytes:
        match event:
            case TextDelta() | ThinkingDelta() if event.choice == 0 and event.text:
                if event.part == self._block:
                    before, after = self._around
                    return before + _quoted(event.text) + after
                return self._text(event)
            case ToolDelta() if event.choice == 0 and event.arguments:
                call: Json = {"function": {"arguments": event.arguments}}
                return _event("tool-call-delta", self._calls[event.part], {"tool_calls": call})
            case PartStarted() if event.choice == 0:
                self._kinds[event.part] = event
                return self._call(event) if event.kind is PartKind.TOOL else b""
            case PartEnded() if event.choice == 0 and event.part in self._calls:
                return _event("tool-call-end", self._calls[event.part])
            case PartEnded() if event.choice == 0 and event.part == self._block:
                return self._close()
            case Note() if event.choice == 0:
                note = own(event)
                if note.dialect == NAME and note.kind in NOTES:
                    return self._note(note)
            case Started():
                return self._start()
            case ChoiceEnded() if event.choice == 0:
                self._ended = event
            case Used():
                self._usage = event.usage
            case Finished():
                return self._close() + self._last(_end(self._ended, self._usage)) + _DONE
            case Failed():
                said = {**_end(None, self._usage), "error": event.error.message}
                return self._last({**said, "finish_reason": "ERROR"})
            case _:
                pass
        return b""

    def _start(self) -> bytes:
        message: Json = {
            "role": "assistant",
            "content": [],
            "tool_plan": "",
            "tool_calls": [],
            "citations": [],
        }
        event: Json = {"id": self._id, "type": "message-start", "delta": {"message": message}}
        return sse.write(jsontext.dumps(event), b"message-start")

    def _last(self, delta: dict[str, Json]) -> bytes:
        return sse.write(jsontext.dumps({"type": "message-end", "delta": delta}), b"message-end")

    def _text(self, event: TextDelta | ThinkingDelta) -> bytes:
        """Words of a part that is not the open block: it becomes that, unless it is a plan."""
        if isinstance(event, ThinkingDelta) and is_plan(self._kinds[event.part]):
            return _event("tool-plan-delta", None, {"tool_plan": event.text})
        out = self._close()
        self._block = event.part
        self._index += 1
        kind = "thinking" if isinstance(event, ThinkingDelta) else "text"
        self._around = (
            b'event: content-delta\ndata: {"type":"content-delta","index":%d,'
            b'"delta":{"message":{"content":{"%b":' % (self._index, kind.encode()),
            b"}}}}\n\n",
        )
        before, after = self._around
        out += _event("content-start", self._index, {"content": {"type": kind, kind: ""}})
        return out + before + _quoted(event.text) + after

    def _close(self) -> bytes:
        if self._block < 0:
            return b""
        self._block = -1
        return _event("content-end", self._index)

    def _call(self, event: PartStarted) -> bytes:
        at = self._calls[event.part] = len(self._calls)
        return _event("tool-call-start", at, {"tool_calls": _call(event, "")})

    def _note(self, note: Note) -> bytes:
        if note.kind is NoteKind.LOGPROBS:
            said: Json = {
                "type": "content-delta",
                "index": max(0, self._index),
                "delta": {"message": {"content": {"text": ""}}},
                "logprobs": note.value,
            }
            return sse.write(jsontext.dumps(said), b"content-delta")
        at, self._cited = self._cited, self._cited + 1
        return _event("citation-start", at, {"citations": note.value}) + _event("citation-end", at)


class WholeEncoder:
    """Gathers the reply; `feed` gives the body with `Finished`, or the error's with `Failed`."""

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._texts: dict[int, tuple[PartStarted, list[str]]] = {}
        self._notes: dict[NoteKind, list[Json]] = {}
        self._ended: ChoiceEnded | None = None
        self._usage: Usage | None = None

    def head(self) -> tuple[int, Mapping[str, str]]:
        """Asked once the reply is whole."""
        if self._ended is not None and self._ended.reason in _UNSAID:
            return 200, {**JSON_HEADERS, "warning": f'299 - "answer ended: {self._ended.reason}"'}
        return 200, JSON_HEADERS

    def feed(self, event: Event) -> bytes:
        match event:
            case PartStarted() if event.choice == 0:
                self._texts[event.part] = (event, [])
            case TextDelta() | ThinkingDelta() if event.choice == 0:
                self._texts[event.part][1].append(event.text)
            case ToolDelta() if event.choice == 0:
                self._texts[event.part][1].append(event.arguments)
            case Note() if event.choice == 0:
                note = own(event)
                if note.dialect == NAME and note.kind in NOTES:
                    self._notes.setdefault(note.kind, []).append(note.value)
            case ChoiceEnded() if event.choice == 0:
                self._ended = event
            case Used():
                self._usage = event.usage
            case Finished():
                return self._body()
            case Failed():
                return envelope(event.error, self._context.call_id)
            case _:
                pass
        return b""

    def _body(self) -> bytes:
        content: list[Json] = []
        calls: list[Json] = []
        plan = ""
        for part, pieces in self._texts.values():
            text = "".join(pieces)
            match part.kind:
                case PartKind.TOOL:
                    calls.append(_call(part, text))
                case PartKind.THINKING if is_plan(part):
                    plan += text
                case PartKind.THINKING if text:
                    content.append({"type": "thinking", "thinking": text})
                case PartKind.TEXT | PartKind.REFUSAL if text:
                    content.append({"type": "text", "text": text})
                case _:
                    pass
        message: dict[str, Json] = {"role": "assistant"}
        if content or not calls:
            message["content"] = content
        if plan:
            message["tool_plan"] = plan
        if calls:
            message["tool_calls"] = calls
        if NoteKind.CITATION in self._notes:
            message["citations"] = self._notes[NoteKind.CITATION]
        out: dict[str, Json] = {"id": reply_id(self._context.call_id), "message": message}
        if NoteKind.LOGPROBS in self._notes:
            out["logprobs"] = self._notes[NoteKind.LOGPROBS]
        fill(out, _end(self._ended, self._usage))
        return jsontext.dumps(out)


def _call(part: PartStarted, arguments: str) -> Json:
    function: Json = {"name": part.name, "arguments": arguments}
    return {"id": part.id, "type": "function", "function": function}


def _event(kind: str, index: int | None, message: Mapping[str, Json] | None = None) -> bytes:
    out: dict[str, Json] = {"type": kind}
    if index is not None:
        out["index"] = index
    if message is not None:
        out["delta"] = {"message": dict(message)}
    return sse.write(jsontext.dumps(out), kind.encode())


def _quoted(text: str) -> bytes:
    try:
        return orjson.dumps(text)
    except orjson.JSONEncodeError:
        return jsontext.dumps(text)
