"""Events to Ollama replies: lines as they come, or one object at the end.

Model and time are the same on every line: the name that the client sent, and
when the request came. A tool call waits until its arguments are whole, since
they leave as an object. A call that the model broke off at its limit is left
out; one whose arguments are no object for no such reason is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import orjson

from extproc.codec import jsontext, ndjson
from extproc.dialects.ollama_chat.errors import envelope
from extproc.dialects.ollama_chat.parts import NOTES, arguments_of, broken_call, is_cut, own
from extproc.dialects.ollama_chat.words import NAME, is_generate, word_of, write_usage
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
    Started,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    Usage,
    Used,
)

_STREAM = {"content-type": "application/x-ndjson"}
_WHOLE = {"content-type": "application/json; charset=utf-8"}


def reply_encoder(chat: Chat, context: ReplyContext) -> ReplyEncoder:
    """The encoder for the endpoint that `chat` came to, whole or streamed as it asked."""
    generate = is_generate(chat.extra)
    return StreamEncoder(context, generate) if chat.stream else WholeEncoder(context, generate)


class _Reply:
    """What both forms of a reply have in common: its calls, its end, its last line."""

    def __init__(self, context: ReplyContext, generate: bool) -> None:
        self._context = context
        self._generate = generate
        self._calls: dict[int, tuple[PartStarted, list[str]]] = {}
        self._sent_calls = 0
        self._broken: PartStarted | None = None
        self._extra: Mapping[str, Json] = {}
        self._ended: ChoiceEnded | None = None
        self._usage: Usage | None = None
        self._over = False

    def _head(self) -> dict[str, Json]:
        created = datetime.fromtimestamp(self._context.created, UTC)
        return {
            "model": self._context.model,
            "created_at": created.isoformat().replace("+00:00", "Z"),
            **self._extra,
        }

    def _started_call(self, event: PartStarted) -> None:
        if event.kind is PartKind.TOOL and event.choice == 0:
            self._calls[event.part] = (event, [])

    def _ended_call(self, part: int) -> Json:
        """The call, if the part is one and its arguments are an object."""
        started, pieces = self._calls.pop(part)
        arguments = arguments_of("".join(pieces))
        if arguments is None:
            self._broken = self._broken or started
            return None
        function: dict[str, Json] = {
            "index": self._sent_calls,
            "name": started.name,
            "arguments": arguments,
        }
        self._sent_calls += 1
        return {"id": started.id, "function": function}

    def _failed_call(self) -> bytes:
        """The error that a broken call is, unless the reply was cut at its limit anyway."""
        if self._broken is None or self._ended is None or is_cut(self._ended.reason):
            return b""
        self._over = True
        return envelope(broken_call(self._broken.name))

    def _last(self, said: Mapping[str, Json]) -> dict[str, Json]:
        out = {**self._head(), **said}
        ended = self._ended
        if ended is not None:
            at_home = ended.extra.dialect == NAME
            out["done_reason"] = word_of(ended.reason, ended.raw, at_home)
        out["done"] = True
        if ended is not None:
            out.update(ended.extra.home(NAME))
        clock = self._context.clock
        if clock is not None and "total_duration" not in out:
            spent = clock.monotonic() - self._context.started
            out["total_duration"] = max(0, round(spent * 1e9))
        write_usage(out, self._usage)
        return out

    def _said(self, text: str, more: Mapping[str, Json]) -> dict[str, Json]:
        if self._generate:
            return {"response": text, **more}
        return {"message": {"role": "assistant", "content": text, **more}}


class StreamEncoder(_Reply):
    """Each event becomes the line that says it, at once, but for tool calls."""

    def __init__(self, context: ReplyContext, generate: bool) -> None:
        super().__init__(context, generate)
        self._set_lines()

    def _set_lines(self) -> None:
        """The bytes around the text of a line."""
        start = jsontext.dumps(self._head())[:-1]
        if self._generate:
            self._text = (start + b',"response":', b',"done":false}\n')
            self._thought = (start + b',"response":"","thinking":', b',"done":false}\n')
            return
        start += b',"message":{"role":"assistant","content":'
        self._text = (start, b'},"done":false}\n')
        self._thought = (start + b'"","thinking":', b'},"done":false}\n')

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, _STREAM

    def feed(self, event: Event) -> bytes:
        if self._over:
            return b""
        match event:
            case TextDelta() if event.choice == 0 and event.text:
                before, after = self._text
                return before + _quoted(event.text) + after
            case ThinkingDelta() if event.choice == 0 and event.text:
                before, after = self._thought
                return before + _quoted(event.text) + after
            case ToolDelta() if event.choice == 0:
                self._calls[event.part][1].append(event.arguments)
            case PartStarted():
                self._started_call(event)
            case PartEnded() if event.choice == 0 and event.part in self._calls:
                call = self._ended_call(event.part)
                return b"" if call is None else self._line(self._said("", {"tool_calls": [call]}))
            case Note() if event.choice == 0:
                note = own(event)
                if note.dialect == NAME and note.kind in NOTES:
                    return self._note(note)
            case Started():
                self._extra = event.extra.home(NAME)
                self._set_lines()
            case ChoiceEnded() if event.choice == 0:
                self._ended = event
            case Used():
                self._usage = event.usage
            case Finished():
                return ndjson.write(
                    self._failed_call() or jsontext.dumps(self._last(self._said("", {})))
                )
            case Failed():
                return ndjson.write(envelope(event.error))
            case _:
                pass
        return b""

    def _line(self, said: Mapping[str, Json]) -> bytes:
        return ndjson.write(jsontext.dumps({**self._head(), **said, "done": False}))

    def _note(self, note: Note) -> bytes:
        if note.kind is NoteKind.LOGPROBS:
            return self._line({**self._said("", {}), "logprobs": note.value})
        return self._line(self._said("", note.value)) if isinstance(note.value, dict) else b""


class WholeEncoder(_Reply):
    """Gathers the reply; `feed` gives the body with `Finished`, or the error's with `Failed`."""

    def __init__(self, context: ReplyContext, generate: bool) -> None:
        super().__init__(context, generate)
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._tool_calls: list[Json] = []
        self._logprobs: list[Json] = []
        self._more: dict[str, Json] = {}

    def head(self) -> tuple[int, Mapping[str, str]]:
        """Asked once the reply is whole: a broken tool call is the provider's failure."""
        return (502 if self._over else 200), _WHOLE

    def feed(self, event: Event) -> bytes:
        match event:
            case TextDelta() if event.choice == 0:
                self._texts.append(event.text)
            case ThinkingDelta() if event.choice == 0:
                self._thoughts.append(event.text)
            case ToolDelta() if event.choice == 0:
                self._calls[event.part][1].append(event.arguments)
            case PartStarted():
                self._started_call(event)
            case PartEnded() if event.choice == 0 and event.part in self._calls:
                call = self._ended_call(event.part)
                if call is not None:
                    self._tool_calls.append(call)
            case Note() if (note := own(event)).dialect == NAME and event.choice == 0:
                self._note(note)
            case Started():
                self._extra = event.extra.home(NAME)
            case ChoiceEnded() if event.choice == 0:
                self._ended = event
            case Used():
                self._usage = event.usage
            case Finished():
                return self._failed_call() or self._body()
            case Failed():
                return envelope(event.error)
            case _:
                pass
        return b""

    def _note(self, note: Note) -> None:
        match note.kind, note.value:
            case NoteKind.LOGPROBS, list():
                self._logprobs.extend(note.value)
            case NoteKind.EXTRA, dict():
                self._more.update(note.value)
            case _:
                pass

    def _body(self) -> bytes:
        more: dict[str, Json] = {}
        if self._thoughts:
            more["thinking"] = "".join(self._thoughts)
        if self._tool_calls:
            more["tool_calls"] = self._tool_calls
        more.update(self._more)
        out = self._last(self._said("".join(self._texts), more))
        if self._logprobs:
            out["logprobs"] = self._logprobs
        return jsontext.dumps(out)


def _quoted(text: str) -> bytes:
    try:
        return orjson.dumps(text)
    except orjson.JSONEncodeError:
        return jsontext.dumps(text)
