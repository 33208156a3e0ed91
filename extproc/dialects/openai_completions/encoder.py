"""Events to legacy completions replies: chunks as they come, or one `text_completion` at the end.

Also `carries`: what of any reply this language can hold, which is text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from extproc.codec import jsontext, sse
from extproc.dialects._extras import fill
from extproc.dialects._likelihood import tokens_of
from extproc.dialects._parts import Parts
from extproc.dialects.openai_chat.errors import envelope
from extproc.dialects.openai_completions.words import (
    NAME,
    logprobs_of,
    reason_of,
    word_of,
    write_usage,
)
from extproc.model.chat import NOTHING, Chat, Json
from extproc.model.dialect import ReplyContext, ReplyEncoder
from extproc.model.reply import (
    ChoiceEnded,
    Event,
    Failed,
    Finished,
    Note,
    NoteKind,
    Started,
    TextDelta,
    Usage,
    Used,
)

_DONE = b"data: [DONE]\n\n"
_STREAM = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
_WHOLE = {"content-type": "application/json"}


def completion_encoder(chat: Chat, context: ReplyContext) -> ReplyEncoder:
    """The encoder for a reply to `chat`, whole or streamed as it asked."""
    if chat.stream:
        return StreamEncoder(context, include_usage=chat.include_usage)
    return WholeEncoder(context)


def _head(context: ReplyContext, extra: Mapping[str, Json]) -> dict[str, Json]:
    fields: dict[str, Json] = {
        "id": "cmpl-" + context.call_id.removeprefix("gw-"),
        "object": "text_completion",
        "created": context.created,
        "model": context.model,
    }
    fill(fields, extra)
    return fields


class _Logprobs:
    """Log probabilities of each choice; those of other languages are turned into the older form."""

    def __init__(self) -> None:
        self._offsets: dict[int, int] = {}

    def of(self, note: Note) -> Json:
        """None for what is not ours to tell."""
        if note.kind is not NoteKind.LOGPROBS:
            return None
        if note.dialect == NAME:
            return note.value
        tokens = tokens_of(note)
        if not tokens:
            return None
        said, offset = logprobs_of(tokens, self._offsets.get(note.choice, 0))
        self._offsets[note.choice] = offset
        return said


class StreamEncoder:
    """Each event becomes the chunk that says it, at once."""

    def __init__(self, context: ReplyContext, include_usage: bool) -> None:
        self._context = context
        self._include_usage = include_usage
        self._usage: Usage | None = None
        self._logprobs = _Logprobs()
        self._end = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._set_head({})

    def _set_head(self, extra: Mapping[str, Json]) -> None:
        start = jsontext.dumps(_head(self._context, extra))[:-1]
        self._head = b"data: " + start + b',"choices":['

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, _STREAM

    def feed(self, event: Event) -> bytes:
        match event:
            case TextDelta() if event.text:
                return self._chunk(_quoted(event.text), event.choice, b"null", b"null")
            case Note():
                said = self._logprobs.of(event)
                if said is None:
                    return b""
                return self._chunk(b'""', event.choice, jsontext.dumps(said), b"null")
            case Started():
                self._set_head(event.extra.home(NAME))
            case ChoiceEnded():
                at_home = event.extra.dialect == NAME
                finish = jsontext.dumps(word_of(event.reason, event.raw, at_home))
                more = jsontext.dumps(dict(event.extra.home(NAME)))[1:-1]
                return self._chunk(b'""', event.choice, b"null", finish, more)
            case Used():
                self._usage = event.usage
            case Finished():
                return self._usage_chunk() + _DONE
            case Failed():
                return sse.write(envelope(event.error, self._context.call_id))
            case _:
                pass
        return b""

    def _chunk(
        self, text: bytes, choice: int, logprobs: bytes, finish: bytes, more: bytes = b""
    ) -> bytes:
        rest = b"," + more if more else b""
        return b'%b{"text":%b,"index":%d,"logprobs":%b,"finish_reason":%b%b}]%b' % (
            self._head,
            text,
            choice,
            logprobs,
            finish,
            rest,
            self._end,
        )

    def _usage_chunk(self) -> bytes:
        if not self._include_usage or self._usage is None or self._usage.estimated:
            return b""
        return self._head + b'],"usage":' + jsontext.dumps(write_usage(self._usage)) + b"}\n\n"


class WholeEncoder:
    """Gathers the reply; `feed` gives the body with `Finished`, or the error's with `Failed`."""

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._texts: dict[int, list[str]] = {}
        self._ended: dict[int, ChoiceEnded] = {}
        self._told: dict[int, dict[str, Json]] = {}
        self._logprobs = _Logprobs()
        self._usage: Usage | None = None
        self._extra: Mapping[str, Json] = {}

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, _WHOLE

    def feed(self, event: Event) -> bytes:
        match event:
            case TextDelta():
                self._texts.setdefault(event.choice, []).append(event.text)
            case Note():
                self._join(event.choice, self._logprobs.of(event))
            case Started():
                self._extra = event.extra.home(NAME)
            case ChoiceEnded():
                self._ended[event.choice] = event
            case Used():
                self._usage = event.usage
            case Finished():
                return self._body()
            case Failed():
                return envelope(event.error, self._context.call_id)
            case _:
                pass
        return b""

    def _join(self, choice: int, said: Json) -> None:
        """Lists grow; anything else counts once."""
        if not isinstance(said, dict):
            return
        told = self._told.setdefault(choice, {})
        for name, value in said.items():
            before = told.get(name)
            if isinstance(before, list) and isinstance(value, list):
                told[name] = [*before, *value]
            else:
                told[name] = value

    def _body(self) -> bytes:
        choices: list[Json] = [self._choice(index) for index in sorted(self._ended)]
        out = _head(self._context, {})
        out["choices"] = choices
        if self._usage is not None and not self._usage.estimated:
            out["usage"] = write_usage(self._usage)
        fill(out, self._extra)
        return jsontext.dumps(out)

    def _choice(self, index: int) -> Json:
        ended = self._ended[index]
        out: dict[str, Json] = {
            "text": "".join(self._texts.get(index, ())),
            "index": index,
            "logprobs": self._told.get(index),
            "finish_reason": word_of(ended.reason, ended.raw, ended.extra.dialect == NAME),
        }
        fill(out, ended.extra.home(NAME))
        return out


def _quoted(text: str) -> bytes:
    try:
        return orjson.dumps(text)
    except orjson.JSONEncodeError:
        return jsontext.dumps(text)


def carries(events: Sequence[Event]) -> list[Event]:
    """What a stream in this language can hold of a reply, as a decoder would give it back.

    Kept: text (a refusal becomes text), log probabilities, finish reasons, usage,
    and what is of this dialect. Lost: reasoning, tools, media, other notes.
    """
    parts = Parts(NAME, reason_of)
    logprobs = _Logprobs()
    started: Started | None = None
    usage: Usage | None = None
    for event in events:
        match event:
            case Started():
                kept = event.extra if event.extra.home(NAME) else NOTHING
                started = Started(event.id, event.model, event.created, kept)
            case TextDelta() if event.text:
                started = _begin(parts, started)
                parts.text(parts.choice(event.choice), event.text)
            case Note() if (said := logprobs.of(event)) is not None:
                started = _begin(parts, started)
                parts.note(parts.choice(event.choice), NoteKind.LOGPROBS, said)
            case ChoiceEnded():
                started = _begin(parts, started)
                choice = parts.choice(event.choice)
                choice.raw = word_of(event.reason, event.raw, event.extra.dialect == NAME)
                choice.extra.update(event.extra.home(NAME))
            case Used() if not event.usage.estimated:
                usage = event.usage
            case Finished():
                parts.end(None if usage is None else _carried(usage))
            case Failed():
                parts.out.append(event)
            case _:
                pass
    return parts.out


def _begin(parts: Parts, started: Started | None) -> None:
    """A reply begins with the first chunk that says something."""
    if started is not None:
        parts.started(started)


def _carried(usage: Usage) -> Usage:
    return Usage(
        fresh=usage.fresh,
        cache_read=usage.cache_read,
        cache_write=usage.cache_write,
        output=usage.output,
        reasoning=usage.reasoning,
        audio_in=usage.audio_in,
        audio_out=usage.audio_out,
        total=usage.prompt + usage.output if usage.total is None else usage.total,
        extra=usage.extra if usage.extra.dialect == NAME else NOTHING,
    )
