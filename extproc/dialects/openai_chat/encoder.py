"""Events to OpenAI Chat replies: chunks as they come, or one `chat.completion` at the end.

The id is our call id in this language's form, the model is the name the client
sent. Extras and notes of this dialect travel home; those of others stay away.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from extproc.codec import jsontext, sse
from extproc.dialects._extras import fill
from extproc.dialects.openai_chat.errors import envelope
from extproc.dialects.openai_chat.parts import NOTES, is_audio, own, thinking_field, tool_key
from extproc.dialects.openai_chat.words import LEGACY, NAME, word_of, write_usage
from extproc.model.chat import Chat, Json
from extproc.model.dialect import ReplyContext, ReplyEncoder
from extproc.model.reply import (
    ChoiceEnded,
    Counted,
    Event,
    Failed,
    Finished,
    MediaDelta,
    Note,
    NoteKind,
    OpaqueChunk,
    PartEnded,
    PartKind,
    PartStarted,
    Ranked,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    Usage,
    Used,
    Vector,
)

_DONE = b"data: [DONE]\n\n"
_STREAM = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
_WHOLE = {"content-type": "application/json"}
_EVERYWHERE = ("system_fingerprint", "service_tier")


def chat_encoder(chat: Chat, context: ReplyContext) -> ReplyEncoder:
    if chat.stream:
        return StreamEncoder(context, include_usage=chat.include_usage)
    return WholeEncoder(context)


def reply_id(call_id: str) -> str:
    return "chatcmpl-" + call_id.removeprefix("gw-")


class StreamEncoder:
    """Each event becomes the chunks that say it, at once."""

    def __init__(self, context: ReplyContext, include_usage: bool) -> None:
        self._context = context
        self._include_usage = include_usage
        self._usage: Usage | None = None
        self._begun: set[int] = set()
        self._parts: dict[tuple[int, int], PartStarted] = {}
        self._tools: dict[tuple[int, int], int] = {}
        self._counts: dict[int, int] = {}
        self._head = b""
        self._tail = b',"finish_reason":null}]' + self._close()
        self._set_head({})

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, _STREAM

    def feed(self, event: Event) -> bytes:
        match event:
            case TextDelta():
                return self._text(event)
            case ThinkingDelta():
                field = _field_of(self._parts.get((event.choice, event.part)))
                return self._words(event.choice, field, event.text)
            case ToolDelta():
                return self._arguments(event)
            case PartStarted():
                return self._part(event)
            case MediaDelta():
                if not event.data or not is_audio(event.media_type):
                    return b""
                return self._delta(event.choice, {"audio": {"data": event.data}})
            case Note():
                return self._note(own(event))
            case Started():
                return self._started(event)
            case PartEnded() | Vector() | Ranked() | Counted() | OpaqueChunk():
                return b""
            case ChoiceEnded():
                return self._choice_ended(event)
            case Used():
                self._usage = event.usage
                return b""
            case Finished():
                return self._usage_chunk() + _DONE
            case Failed():
                return sse.write(envelope(event.error, self._context.call_id))

    def _close(self) -> bytes:
        return b',"usage":null}\n\n' if self._include_usage else b"}\n\n"

    def _set_head(self, extra: Mapping[str, Json]) -> None:
        context = self._context
        fields: dict[str, Json] = {
            "id": reply_id(context.call_id),
            "object": "chat.completion.chunk",
            "created": context.created,
            "model": context.model,
        }
        fill(fields, extra)
        self._head = b"data: " + jsontext.dumps(fields)[:-1] + b',"choices":['

    def _started(self, event: Started) -> bytes:
        extra = event.extra.home(NAME)
        self._set_head(extra)
        chunk = self._begin(0)
        self._set_head({name: extra[name] for name in _EVERYWHERE if name in extra})
        return chunk

    def _begin(self, choice: int) -> bytes:
        """The chunk that opens a choice, the first time."""
        if choice in self._begun:
            return b""
        self._begun.add(choice)
        return self._chunk(choice, b'{"role":"assistant","content":""}')

    def _chunk(self, choice: int, delta: bytes) -> bytes:
        return b'%b{"index":%d,"delta":%b%b' % (self._head, choice, delta, self._tail)

    def _delta(self, choice: int, delta: Json) -> bytes:
        return self._begin(choice) + self._chunk(choice, jsontext.dumps(delta))

    def _text(self, event: TextDelta) -> bytes:
        part = self._parts.get((event.choice, event.part))
        refusal = part is not None and part.kind is PartKind.REFUSAL
        return self._words(event.choice, "refusal" if refusal else "content", event.text)

    def _words(self, choice: int, field: str, text: str) -> bytes:
        if not text:
            return b""
        try:
            quoted = orjson.dumps(text)
        except orjson.JSONEncodeError:
            quoted = jsontext.dumps(text)
        chunk = self._chunk(choice, b'{"%b":%b}' % (field.encode(), quoted))
        return chunk if choice in self._begun else self._begin(choice) + chunk

    def _part(self, event: PartStarted) -> bytes:
        self._parts[event.choice, event.part] = event
        if event.kind is not PartKind.TOOL:
            return b""
        extra = event.extra.home(NAME)
        index = self._counts.get(event.choice, 0)
        self._counts[event.choice] = index + 1
        self._tools[event.choice, event.part] = index
        if LEGACY in extra:
            return self._delta(
                event.choice, {"function_call": {"name": event.name, "arguments": ""}}
            )
        call: dict[str, Json] = {"index": index, "id": event.id, "type": "function"}
        call.update((name, value) for name, value in extra.items() if name != LEGACY)
        call[tool_key(event.extra)] = {"name": event.name, _argument(event): ""}
        return self._delta(event.choice, {"tool_calls": [call]})

    def _arguments(self, event: ToolDelta) -> bytes:
        if not event.arguments:
            return b""
        part = self._parts[event.choice, event.part]
        piece: dict[str, Json] = {_argument(part): event.arguments}
        if LEGACY in part.extra.home(NAME):
            return self._delta(event.choice, {"function_call": piece})
        index = self._tools[event.choice, event.part]
        call: dict[str, Json] = {"index": index, tool_key(part.extra): piece}
        return self._delta(event.choice, {"tool_calls": [call]})

    def _note(self, note: Note) -> bytes:
        if note.dialect != NAME or note.kind not in NOTES:
            return b""
        if note.kind is NoteKind.LOGPROBS:
            logprobs = b',"logprobs":' + jsontext.dumps(note.value)
            chunk = self._chunk(note.choice, b"{}" + logprobs)
            return self._begin(note.choice) + chunk
        cited = note.kind is NoteKind.CITATION
        return self._delta(note.choice, {"annotations": note.value} if cited else note.value)

    def _choice_ended(self, event: ChoiceEnded) -> bytes:
        at_home = event.extra.dialect == NAME
        choice: dict[str, Json] = {
            "index": event.choice,
            "delta": {},
            "finish_reason": word_of(event.reason, event.raw, at_home),
        }
        fill(choice, event.extra.home(NAME))
        chunk = self._head + jsontext.dumps(choice) + b"]" + self._close()
        return self._begin(event.choice) + chunk

    def _usage_chunk(self) -> bytes:
        if not self._include_usage or self._usage is None or self._usage.estimated:
            return b""
        return self._head + b'],"usage":' + jsontext.dumps(write_usage(self._usage)) + b"}\n\n"


def _field_of(part: PartStarted | None) -> str:
    return "reasoning_content" if part is None else thinking_field(part.extra)


def _argument(part: PartStarted) -> str:
    return "input" if tool_key(part.extra) == "custom" else "arguments"


class _Message:
    """One choice of a whole reply, as it grows."""

    def __init__(self) -> None:
        self.words: dict[str, list[str]] = {}
        self.calls: dict[int, tuple[PartStarted, list[str]]] = {}
        self.audio: list[str] = []
        self.extra: dict[str, Json] = {}
        self.logprobs: Json = None
        self.ended: ChoiceEnded | None = None


class WholeEncoder:
    """Gathers the reply; `feed` gives the body with `Finished`, or the error's with `Failed`."""

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._messages: dict[int, _Message] = {}
        self._parts: dict[tuple[int, int], PartStarted] = {}
        self._usage: Usage | None = None
        self._extra: Mapping[str, Json] = {}

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, _WHOLE

    def feed(self, event: Event) -> bytes:
        match event:
            case TextDelta():
                part = self._parts.get((event.choice, event.part))
                refusal = part is not None and part.kind is PartKind.REFUSAL
                self._say(event.choice, "refusal" if refusal else "content", event.text)
            case ThinkingDelta():
                field = _field_of(self._parts.get((event.choice, event.part)))
                self._say(event.choice, field, event.text)
            case ToolDelta():
                self._message(event.choice).calls[event.part][1].append(event.arguments)
            case PartStarted():
                self._parts[event.choice, event.part] = event
                if event.kind is PartKind.TOOL:
                    self._message(event.choice).calls[event.part] = (event, [])
            case MediaDelta() if is_audio(event.media_type):
                self._message(event.choice).audio.append(event.data)
            case Note() if (note := own(event)).dialect == NAME:
                self._note(self._message(note.choice), note)
            case Started():
                self._extra = event.extra.home(NAME)
            case ChoiceEnded():
                self._message(event.choice).ended = event
            case Used():
                self._usage = event.usage
            case Finished():
                return self._body()
            case Failed():
                return envelope(event.error, self._context.call_id)
            case _:
                pass
        return b""

    def _message(self, choice: int) -> _Message:
        return self._messages.setdefault(choice, _Message())

    def _say(self, choice: int, field: str, text: str) -> None:
        self._message(choice).words.setdefault(field, []).append(text)

    def _note(self, message: _Message, note: Note) -> None:
        match note.kind, note.value:
            case NoteKind.LOGPROBS, dict():
                message.logprobs = _merged(message.logprobs, note.value)
            case NoteKind.CITATION, list():
                message.extra = _grown(message.extra, {"annotations": note.value})
            case NoteKind.EXTRA, dict():
                message.extra = _grown(message.extra, note.value)
            case _:
                pass

    def _body(self) -> bytes:
        choices: list[Json] = [_choice(i, m) for i, m in sorted(self._messages.items())]
        out: dict[str, Json] = {
            "id": reply_id(self._context.call_id),
            "object": "chat.completion",
            "created": self._context.created,
            "model": self._context.model,
            "choices": choices,
        }
        if self._usage is not None and not self._usage.estimated:
            out["usage"] = write_usage(self._usage)
        fill(out, self._extra)
        return jsontext.dumps(out)


def _choice(index: int, message: _Message) -> Json:
    said: dict[str, Json] = {"role": "assistant", "content": None, "refusal": None}
    for field, pieces in message.words.items():
        said[field] = "".join(pieces)
    calls: list[Json] = []
    for part, pieces in message.calls.values():
        body: dict[str, Json] = {"name": part.name, _argument(part): "".join(pieces)}
        extra = part.extra.home(NAME)
        if LEGACY in extra:
            said["function_call"] = body
        else:
            call: dict[str, Json] = {"id": part.id, "type": "function", **extra}
            call[tool_key(part.extra)] = body
            calls.append(call)
    if calls:
        said["tool_calls"] = calls
    if message.audio:
        said["audio"] = {"data": "".join(message.audio)}
    fill(said, message.extra)
    audio = said.get("audio")
    if isinstance(audio, dict):
        said["audio"] = {**_AUDIO, **audio}
    ended = message.ended
    out: dict[str, Json] = {
        "index": index,
        "message": said,
        "logprobs": message.logprobs,
        "finish_reason": None,
    }
    if ended is not None:
        out["finish_reason"] = word_of(ended.reason, ended.raw, ended.extra.dialect == NAME)
        fill(out, ended.extra.home(NAME))
    return out


_AUDIO: Mapping[str, Json] = {"id": "", "data": "", "expires_at": 0, "transcript": ""}
"""members that every whole audio answer has"""


def _grown(old: Mapping[str, Json], new: Mapping[str, Json]) -> dict[str, Json]:
    out = dict(old)
    for name, value in new.items():
        out[name] = _merged(out.get(name), value)
    return out


def _merged(old: Json, new: Json) -> Json:
    """Pieces of one value: texts and lists are joined, objects member by member, else the last counts."""
    match old, new:
        case dict(), dict():
            return _grown(old, new)
        case list(), list():
            return [*old, *new]
        case str(), str():
            return old + new
        case _, None:
            return old
        case _:
            return new
