"""Events to Gemini replies: chunks as events or as one array, or one body at the end.

`responseId` is our call id, `modelVersion` the model's name as the client sent
it. The last chunk says why all choices ended, and the usage. An error in a
stream comes as Google sends it, bare, which is what its SDKs look for.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from extproc.codec import jsontext
from extproc.dialects._extras import fill
from extproc.dialects.gemini_generate.errors import envelope
from extproc.dialects.gemini_generate.flat import CANDIDATE, Flat, own
from extproc.dialects.gemini_generate.words import ARRAY, NAME, write_usage
from extproc.model.chat import Chat, Json
from extproc.model.dialect import ReplyContext, ReplyEncoder
from extproc.model.reply import (
    ChoiceEnded,
    Counted,
    Event,
    Failed,
    Finished,
    Note,
    Started,
    TextDelta,
    Usage,
    Used,
)

_JSON = {"content-type": "application/json; charset=UTF-8"}
_EVENTS = {"content-type": "text/event-stream", "cache-control": "no-cache"}


def gemini_encoder(chat: Chat, context: ReplyContext) -> ReplyEncoder:
    if chat.stream:
        return StreamEncoder(context, array=ARRAY in chat.extra.home(NAME))
    return WholeEncoder(context)


def reply_id(call_id: str) -> str:
    return call_id.removeprefix("gw-")


class _Ends:
    """What is kept for the end of a reply."""

    def __init__(self) -> None:
        self.choices: dict[int, dict[str, Json]] = {}
        self.feedback: Json = None
        self.usage: Usage | None = None

    def choice(self, event: ChoiceEnded, finish: dict[str, Json], *, empty: bool) -> None:
        """A prompt that was blocked has no choice, where it was Google who said so."""
        feedback = event.extra.home(NAME).get("promptFeedback")
        if empty and feedback is not None:
            self.feedback = feedback
        else:
            self.choices[event.choice] = finish

    def fill(self, out: dict[str, Json]) -> dict[str, Json]:
        if self.feedback is not None:
            out["promptFeedback"] = self.feedback
        if self.usage is not None and not self.usage.estimated:
            out["usageMetadata"] = write_usage(self.usage)
        return out


class StreamEncoder:
    """Each event becomes the chunk that says it, as soon as it can be said."""

    def __init__(self, context: ReplyContext, *, array: bool) -> None:
        self._context = context
        self._array = array
        self._flat = Flat()
        self._ends = _Ends()
        self._spoke: set[int] = set()
        self._begun = False
        self._about: dict[str, Json] = {
            "modelVersion": context.model,
            "responseId": reply_id(context.call_id),
        }
        self._more: Mapping[str, Json] = {}
        self._before = b'{"candidates":[{"content":{"parts":[{"text":'
        self._after = b"," + jsontext.dumps(self._about)[1:]
        if not array:
            self._before = b"data: " + self._before
            self._after += b"\r\n\r\n"

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, _JSON if self._array else _EVENTS

    def feed(self, event: Event) -> bytes:
        match event:
            case TextDelta() if self._begun and not self._flat.holds(event.choice):
                return self._text(event)
            case Started():
                self._more = event.extra.home(NAME)
                return b""
            case Used():
                self._ends.usage = event.usage
                return b""
            case Finished():
                return self._finished()
            case Failed():
                return self._failed(event)
            case Note() if event.kind in CANDIDATE and (note := own(event)).dialect == NAME:
                self._spoke.add(note.choice)
                return self._chunk(note.choice, {CANDIDATE[note.kind]: note.value})
            case _:
                pass
        out = b""
        for choice, part in self._flat.feed(event):
            self._spoke.add(choice)
            out += self._chunk(choice, {"content": {"parts": [part], "role": "model"}})
        if isinstance(event, ChoiceEnded):
            empty = event.choice not in self._spoke
            self._ends.choice(event, self._flat.finish(event), empty=empty)
        return out

    def _text(self, event: TextDelta) -> bytes:
        if not event.text:
            return b""
        self._spoke.add(event.choice)
        try:
            quoted = orjson.dumps(event.text)
        except orjson.JSONEncodeError:
            quoted = jsontext.dumps(event.text)
        separator = b",\r\n" if self._array else b""
        return b'%b%b%b}],"role":"model"},"index":%d}]%b' % (
            separator,
            self._before,
            quoted,
            event.choice,
            self._after,
        )

    def _chunk(self, choice: int, members: dict[str, Json]) -> bytes:
        return self._write({"candidates": [{**members, "index": choice}], **self._about})

    def _write(self, value: dict[str, Json]) -> bytes:
        if not self._begun:
            fill(value, self._more)
        data = jsontext.dumps(value)
        if not self._array:
            self._begun = True
            return b"data: " + data + b"\r\n\r\n"
        separator = b",\r\n" if self._begun else b"["
        self._begun = True
        return separator + data

    def _finished(self) -> bytes:
        candidates: list[Json] = [
            {"content": {"parts": [{"text": ""}], "role": "model"}, **finish, "index": choice}
            for choice, finish in sorted(self._ends.choices.items(), key=_index)
        ]
        last: dict[str, Json] = {"candidates": candidates} if candidates else {}
        out = self._write(self._ends.fill({**last, **self._about}))
        return out + b"]" if self._array else out

    def _failed(self, event: Failed) -> bytes:
        error = envelope(event.error, self._context.call_id)
        if not self._array:
            return error + b"\r\n\r\n"
        return (b",\r\n" if self._begun else b"[") + error + b"]"


def _index(item: tuple[int, object]) -> int:
    return item[0]


class WholeEncoder:
    """Gathers the reply; `feed` gives the body with `Finished`, or the error's with `Failed`."""

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._flat = Flat()
        self._ends = _Ends()
        self._parts: dict[int, list[tuple[dict[str, Json], list[str]]]] = {}
        self._notes: dict[int, dict[str, Json]] = {}
        self._more: Mapping[str, Json] = {}

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, _JSON

    def feed(self, event: Event) -> bytes:
        match event:
            case Started():
                self._more = event.extra.home(NAME)
            case Used():
                self._ends.usage = event.usage
            case Finished():
                return jsontext.dumps(self._body())
            case Failed():
                return envelope(event.error, self._context.call_id)
            case Note() if event.kind in CANDIDATE and (note := own(event)).dialect == NAME:
                notes, name = self._notes.setdefault(note.choice, {}), CANDIDATE[note.kind]
                notes[name] = _merged(notes.get(name), note.value)
            case _:
                for choice, part in self._flat.feed(event):
                    self._add(self._parts.setdefault(choice, []), part)
                if isinstance(event, ChoiceEnded):
                    empty = event.choice not in self._parts and event.choice not in self._notes
                    self._ends.choice(event, self._flat.finish(event), empty=empty)
        return b""

    def _add(self, parts: list[tuple[dict[str, Json], list[str]]], part: dict[str, Json]) -> None:
        """Texts that follow each other are one."""
        text = part.get("text")
        shape = {name: value for name, value in part.items() if name != "text"}
        plain = isinstance(text, str) and shape in ({}, {"thought": True})
        if plain and parts and parts[-1][0] == shape and parts[-1][1]:
            parts[-1][1].append(str(text))
        elif plain:
            parts.append((shape, [str(text)]))
        else:
            parts.append((part, []))

    def _body(self) -> Json:
        candidates: list[Json] = []
        for choice in sorted(self._ends.choices):
            pieces: list[Json] = []
            for shape, texts in self._parts.get(choice, []):
                pieces.append({"text": "".join(texts), **shape} if texts else shape)
            content: Json = {"parts": pieces or [{"text": ""}], "role": "model"}
            finish = {**self._notes.get(choice, {}), **self._ends.choices[choice]}
            candidates.append({"content": content, **finish, "index": choice})
        out: dict[str, Json] = {"candidates": candidates} if candidates else {}
        self._ends.fill(out)
        out["modelVersion"] = self._context.model
        out["responseId"] = reply_id(self._context.call_id)
        fill(out, self._more)
        return out


def _merged(old: Json, new: Json) -> Json:
    """Pieces of one note: their lists are joined."""
    match old, new:
        case dict(), dict():
            return {**old, **{name: _merged(old.get(name), value) for name, value in new.items()}}
        case list(), list():
            return [*old, *new]
        case _:
            return new


class CountEncoder:
    """`{"totalTokens": n}`, or the error's body."""

    def __init__(self, context: ReplyContext) -> None:
        self._context = context

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, _JSON

    def feed(self, event: Event) -> bytes:
        match event:
            case Counted():
                return jsontext.dumps({"totalTokens": event.tokens})
            case Failed():
                return envelope(event.error, self._context.call_id)
            case _:
                return b""
