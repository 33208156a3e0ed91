"""The items of a Responses reply as they are written: each tells its events, and is itself at the end.

An item is given to the wire with `begin`, grows with the methods of its kind,
and is closed by `close` with the status it ended in. `shape` has its id and, at
home, whatever else it came with. `Wire` numbers events and makes bytes; for a
whole reply it makes none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeAlias

import orjson

from extproc.codec import jsontext
from extproc.dialects._extras import fill
from extproc.dialects.openai_responses.words import (
    BREAK,
    CALLS,
    COMPLETED,
)
from extproc.model.chat import Json

Object: TypeAlias = dict[str, Json]

RUNNING = "in_progress"


class Wire:
    """The events of one stream. `streamed` false: nothing is made."""

    __slots__ = ("_out", "number", "streamed")

    def __init__(self, *, streamed: bool) -> None:
        self.streamed = streamed
        self.number = 0
        self._out: list[bytes] = []

    def send(self, kind: str, members: Object) -> None:
        if not self.streamed:
            return
        data = jsontext.dumps({"type": kind, "sequence_number": self.number, **members})
        self._out.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), data))
        self.number += 1

    def delta(self, prefix: bytes, text: str) -> None:
        """A delta whose event is `prefix` but for its number and words."""
        if not self.streamed:
            return
        try:
            quoted = orjson.dumps(text)
        except orjson.JSONEncodeError:
            quoted = jsontext.dumps(text)
        self._out.append(b'%b%d,"delta":%b}\n\n' % (prefix, self.number, quoted))
        self.number += 1

    def take(self) -> bytes:
        out = self._out
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data


def _prefix(kind: str, members: Object) -> bytes:
    head = jsontext.dumps({"type": kind, **members})[:-1]
    return b'event: %b\ndata: %b,"sequence_number":' % (kind.encode(), head)


class Item(ABC):
    """What all items have in common."""

    __slots__ = ("index", "shape", "status", "wire")

    def __init__(self, wire: Wire, index: int, shape: Object) -> None:
        self.wire = wire
        self.index = index
        self.shape = shape
        self.status = RUNNING

    def begin(self) -> None:
        self.wire.send(
            "response.output_item.added",
            {"output_index": self.index, "item": self.json(began=True)},
        )

    def close(self, status: str = COMPLETED) -> None:
        if self.status == RUNNING:
            self.status = status
            self.wire.send(
                "response.output_item.done",
                {"output_index": self.index, "item": self.json()},
            )

    @abstractmethod
    def json(self, *, began: bool = False) -> Object:
        """As it is now; `began`: as it was before anything was said."""

    def other(self, event: Object) -> None:
        """An event as this dialect's provider sent it, if its type can stand in a line."""
        kind = event.get("type")
        if isinstance(kind, str) and kind.isprintable():
            self.wire.send(kind, {**event, "output_index": self.index})

    @property
    def id(self) -> Json:
        return self.shape["id"]


class Spoken:
    """A content part of a message: text or refusal."""

    __slots__ = ("_place", "_prefix", "_refusal", "annotations", "item", "logprobs", "pieces")

    def __init__(self, item: Message, content_index: int, *, refusal: bool) -> None:
        self.item = item
        self._refusal = refusal
        self.pieces: list[str] = []
        self.annotations: list[Json] = []
        self.logprobs: list[Json] = []
        self._place: Object = {
            "item_id": item.id,
            "output_index": item.index,
            "content_index": content_index,
        }
        self._prefix = b""
        if item.wire.streamed:
            item.wire.send(
                "response.content_part.added", {**self._place, "part": self.json(began=True)}
            )
            if refusal:
                self._prefix = _prefix("response.refusal.delta", self._place)
            else:
                self._prefix = _prefix(
                    "response.output_text.delta", {**self._place, "logprobs": []}
                )

    def say(self, text: str) -> None:
        if text:
            self.pieces.append(text)
            self.item.wire.delta(self._prefix, text)

    def cite(self, annotation: Json) -> None:
        self.item.wire.send(
            "response.output_text.annotation.added",
            {
                **self._place,
                "annotation_index": len(self.annotations),
                "annotation": annotation,
            },
        )
        self.annotations.append(annotation)

    def weigh(self, tokens: list[Json]) -> None:
        """The probabilities of words that have been said."""
        self.logprobs += tokens
        self.item.wire.send(
            "response.output_text.delta", {**self._place, "delta": "", "logprobs": tokens}
        )

    def end(self) -> None:
        wire = self.item.wire
        if not wire.streamed:
            return
        text = "".join(self.pieces)
        if self._refusal:
            wire.send("response.refusal.done", {**self._place, "refusal": text})
        else:
            done: Object = {**self._place, "text": text, "logprobs": self.logprobs}
            wire.send("response.output_text.done", done)
        wire.send("response.content_part.done", {**self._place, "part": self.json()})

    def json(self, *, began: bool = False) -> Object:
        text = "" if began else "".join(self.pieces)
        if self._refusal:
            return {"type": "refusal", "refusal": text}
        return {
            "type": "output_text",
            "annotations": [] if began else self.annotations,
            "logprobs": [] if began else self.logprobs,
            "text": text,
        }


class Message(Item):
    """A message: closed when nothing of it is open and another item has begun."""

    __slots__ = ("contents", "open")

    def __init__(self, wire: Wire, index: int, shape: Object) -> None:
        super().__init__(wire, index, shape)
        self.contents: list[Spoken] = []
        self.open = 0

    def part(self, *, refusal: bool) -> Spoken:
        spoken = Spoken(self, len(self.contents), refusal=refusal)
        self.contents.append(spoken)
        self.open += 1
        return spoken

    def json(self, *, began: bool = False) -> Object:
        contents: list[Json] = [] if began else [part.json() for part in self.contents]
        out: Object = {
            "id": self.id,
            "type": "message",
            "status": self.status,
            "role": "assistant",
            "content": contents,
        }
        fill(out, self.shape)
        return out


class Call(Item):
    """A call of one of the client's tools, of either kind."""

    __slots__ = ("_kind", "_member", "_prefix", "call_id", "name", "pieces")

    def __init__(
        self, wire: Wire, index: int, shape: Object, kind: str, call_id: str, name: str
    ) -> None:
        super().__init__(wire, index, shape)
        self._kind = kind
        self._member = CALLS.get(kind, "arguments")
        self.call_id = call_id
        self.name = name
        self.pieces: list[str] = []
        self._prefix = b""
        if wire.streamed:
            place: Object = {"item_id": self.id, "output_index": index}
            self._prefix = _prefix(f"response.{self._event}.delta", place)

    @property
    def _event(self) -> str:
        custom = self._member == "input"
        return "custom_tool_call_input" if custom else "function_call_arguments"

    def say(self, arguments: str) -> None:
        if arguments:
            self.pieces.append(arguments)
            self.wire.delta(self._prefix, arguments)

    def close(self, status: str = COMPLETED) -> None:
        if self.status == RUNNING:
            place: Object = {"item_id": self.id, "output_index": self.index}
            done: Object = {**place, self._member: "".join(self.pieces)}
            self.wire.send(f"response.{self._event}.done", done)
        super().close(status)

    def json(self, *, began: bool = False) -> Object:
        out: Object = {
            "id": self.id,
            "type": self._kind,
            "status": self.status,
            "call_id": self.call_id,
            "name": self.name,
            self._member: "" if began else "".join(self.pieces),
        }
        fill(out, self.shape)
        return out


class Reasoning(Item):
    """Reasoning: texts in `summary` or `content`, and what is sealed."""

    __slots__ = ("_lists", "_pieces", "_place", "_prefix", "_skip", "sealed")

    def __init__(self, wire: Wire, index: int, shape: Object) -> None:
        super().__init__(wire, index, shape)
        self._lists: dict[str, list[Json]] = {"summary": [], "content": []}
        self._place = ("summary", 0)
        self._pieces: list[str] | None = None
        self._prefix = b""
        self._skip = False
        self.sealed: str | None = None

    def move(self, member: str, index: int) -> None:
        """From here the words are in another part: the break that parts them is not said."""
        self._skip = self._pieces is not None
        self._end_part()
        self._place = (member, index)

    def say(self, text: str) -> None:
        if self._skip:
            self._skip = False
            text = text.removeprefix(BREAK)
        if not text:
            return
        if self._pieces is None:
            self._begin_part()
            self._pieces = []
        self._pieces.append(text)
        self.wire.delta(self._prefix, text)

    def close(self, status: str = COMPLETED) -> None:
        self._end_part()
        super().close(status)

    def json(self, *, began: bool = False) -> Object:
        out: Object = {"id": self.id, "type": "reasoning", "summary": []}
        if "status" in self.shape:
            out["status"] = self.status
        if not began:
            out["summary"] = self._with_open("summary")
            content = self._with_open("content")
            if content:
                out["content"] = content
            if self.sealed is not None:
                out["encrypted_content"] = self.sealed
        fill(out, self.shape)
        return out

    def _with_open(self, member: str) -> list[Json]:
        parts = list(self._lists[member])
        if self._pieces is not None and self._place[0] == member:
            parts.append(self._part("".join(self._pieces)))
        return parts

    def _part(self, text: str) -> Object:
        kind = "summary_text" if self._place[0] == "summary" else "reasoning_text"
        return {"type": kind, "text": text}

    def _where(self) -> Object:
        member, index = self._place
        name = "summary_index" if member == "summary" else "content_index"
        return {"item_id": self.id, "output_index": self.index, name: index}

    def _begin_part(self) -> None:
        if not self.wire.streamed:
            return
        where = self._where()
        if self._place[0] == "summary":
            self.wire.send(
                "response.reasoning_summary_part.added", {**where, "part": self._part("")}
            )
            self._prefix = _prefix("response.reasoning_summary_text.delta", where)
        else:
            self._prefix = _prefix("response.reasoning_text.delta", where)

    def _end_part(self) -> None:
        if self._pieces is None:
            return
        text = "".join(self._pieces)
        self._pieces = None
        part, where = self._part(text), self._where()
        self._lists[self._place[0]].append(part)
        if self._place[0] == "summary":
            self.wire.send("response.reasoning_summary_text.done", {**where, "text": text})
            self.wire.send("response.reasoning_summary_part.done", {**where, "part": part})
        else:
            self.wire.send("response.reasoning_text.done", {**where, "text": text})


class Opaque(Item):
    """An item of this dialect's own that travels home: as it began, and as it ended."""

    __slots__ = ("ended",)

    def __init__(self, wire: Wire, index: int, shape: Object) -> None:
        super().__init__(wire, index, shape)
        self.ended: Object | None = None

    def json(self, *, began: bool = False) -> Object:
        return self.shape if began or self.ended is None else self.ended
