"""Events to OpenAI Responses replies: a stream's events as they come, or one `response` at the end.

Both are written by the same items; a whole reply makes no events. The reply
echoes the request's settings as OpenAI does. Its id is our call id in this
language's form; only a provider of this dialect keeps its own, since the client
may continue from it. Extras and notes of this dialect travel home; those of
others stay away, but for signatures, which are sealed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from extproc.codec import jsontext, sse
from extproc.dialects._extras import fill
from extproc.dialects.openai_chat.errors import envelope
from extproc.dialects.openai_responses.echo import echo
from extproc.dialects.openai_responses.errors import error_event, failed_member
from extproc.dialects.openai_responses.out_items import (
    RUNNING,
    Call,
    Item,
    Message,
    Opaque,
    Reasoning,
    Spoken,
    Wire,
)
from extproc.dialects.openai_responses.placing import (
    SEALED,
    SPOKEN,
    Placing,
    call_kind,
    cited,
    logprobs,
    moves,
    seal_of,
)
from extproc.dialects.openai_responses.words import (
    COMPLETED,
    INCOMPLETE,
    NAME,
    REPLY_EVENT,
    REPLY_ITEM,
    REPLY_PART,
    reply_id,
    write_ending,
    write_usage,
)
from extproc.model.chat import NOTHING, Chat, Json
from extproc.model.dialect import ReplyContext, ReplyEncoder
from extproc.model.embed import Count
from extproc.model.reply import (
    ChoiceEnded,
    Counted,
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

_STREAM = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
_WHOLE = {"content-type": "application/json"}
_FAILED = "failed"

Object: TypeAlias = dict[str, Json]


def responses_encoder(request: Chat | Count, context: ReplyContext) -> ReplyEncoder:
    if isinstance(request, Count):
        return CountEncoder(context)
    return Encoder(echo(request), context, streamed=request.stream)


class Encoder:
    """One reply. Only the first choice is one: this language has no others."""

    def __init__(self, settings: Object, context: ReplyContext, *, streamed: bool) -> None:
        self._context = context
        self._settings = settings
        self._wire = Wire(streamed=streamed)
        self._placing = Placing(context.call_id)
        self._id = reply_id(context.call_id)
        self._items: list[Item] = []
        self._parts: dict[int, Spoken | Call | Reasoning | Opaque] = {}
        self._kinds: dict[int, PartStarted] = {}
        self._seals: dict[int, str] = {}
        self._message: Message | None = None
        self._usage: Usage | None = None
        self._ending: Object = {"status": COMPLETED, "incomplete_details": None}
        self._begun = False

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, _STREAM if self._wire.streamed else _WHOLE

    def feed(self, event: Event) -> bytes:
        match event:
            case TextDelta() if event.choice == 0:
                part = self._parts.get(event.part)
                if isinstance(part, Spoken):
                    part.say(event.text)
            case ThinkingDelta() if event.choice == 0:
                if event.text:
                    self._reasoning(event.part).say(event.text)
            case ToolDelta() if event.choice == 0:
                part = self._parts.get(event.part)
                if isinstance(part, Call):
                    part.say(event.arguments)
            case PartStarted() if event.choice == 0:
                self._part(event)
            case Note() if event.choice == 0:
                self._note(event)
            case PartEnded() if event.choice == 0:
                self._end(event.part)
            case Started():
                self._start(event)
            case ChoiceEnded() if event.choice == 0:
                self._end_choice(event)
            case Used():
                self._usage = event.usage
            case Finished():
                return self._finish()
            case Failed():
                return self._fail(event)
            case _:
                pass
        return self._wire.take()

    # --- the reply

    def _start(self, event: Started) -> None:
        home = event.extra.home(NAME)
        self._settings = {**self._settings, **home}
        if event.extra.dialect == NAME and event.id:
            self._id = event.id
        self._begun = True
        if self._wire.streamed:
            for kind in ("response.created", "response.in_progress"):
                response = self._response({"status": RUNNING, "incomplete_details": None}, None)
                self._wire.send(kind, {"response": response})

    def _response(self, ending: Object, error: Json) -> Object:
        """The reply as it stands; its usage only once it is over."""
        running = ending["status"] == RUNNING
        items = () if running else self._items
        output: list[Json] = [item.json() for item in items]
        out: Object = {
            "id": self._id,
            "object": "response",
            "created_at": self._context.created,
            "status": ending["status"],
            "error": error,
            "incomplete_details": ending["incomplete_details"],
            "model": self._context.model,
            "output": output,
            "usage": None if running else write_usage(self._usage),
        }
        for name, value in ending.items():
            out[name] = value
        fill(out, self._settings)
        return out

    def _end_choice(self, event: ChoiceEnded) -> None:
        self._ending = write_ending(event)
        cut = self._ending["status"] == INCOMPLETE
        for item in self._items:
            item.close(INCOMPLETE if cut and item is self._items[-1] else COMPLETED)

    def _finish(self) -> bytes:
        for item in self._items:
            item.close()
        response = self._response(self._ending, None)
        if not self._wire.streamed:
            return jsontext.dumps(response)
        cut = self._ending["status"] == INCOMPLETE
        kind = "response.incomplete" if cut else "response.completed"
        self._wire.send(kind, {"response": response})
        return self._wire.take()

    def _fail(self, event: Failed) -> bytes:
        call_id = self._context.call_id
        if not self._wire.streamed:
            return envelope(event.error, call_id)
        if not self._begun:
            return sse.write(jsontext.dumps(error_event(event.error, call_id, 0)), b"error")
        for item in self._items:
            if item.status == RUNNING:
                item.status = INCOMPLETE
        ending: Object = {"status": _FAILED, "incomplete_details": None}
        response = self._response(ending, failed_member(event.error))
        self._wire.send("response.failed", {"response": response})
        return self._wire.take()

    # --- parts

    def _add(self, item: Item) -> None:
        """The item that begins; a message before it, of which nothing is open, is over."""
        before = self._message
        self._message = None
        if before is not None and not before.open:
            before.close()
        self._items.append(item)
        item.begin()

    def _part(self, event: PartStarted) -> None:
        self._kinds[event.part] = event
        wire, placing = self._wire, self._placing
        if event.kind in SPOKEN:
            shape = placing.message(event.extra)
            message = self._message
            if shape is not None or message is None:
                message = Message(wire, placing.count - 1, shape or {})
                self._add(message)
                self._message = message
            refusal = event.kind is PartKind.REFUSAL
            self._parts[event.part] = message.part(refusal=refusal)
        elif event.kind is PartKind.TOOL:
            kind = call_kind(event.extra)
            shape = placing.item(kind, event.extra)
            call = Call(wire, placing.count - 1, shape, kind, event.id, event.name)
            self._parts[event.part] = call
            self._add(call)
        elif event.kind is PartKind.OPAQUE:
            shape = placing.opaque(event.extra)
            if shape is not None:
                opaque = Opaque(wire, placing.count - 1, shape)
                self._parts[event.part] = opaque
                self._add(opaque)

    def _reasoning(self, number: int) -> Reasoning:
        """The item of a part of reasoning, which begins with its first word."""
        part = self._parts.get(number)
        if not isinstance(part, Reasoning):
            started = self._kinds.get(number)
            extra = NOTHING if started is None else started.extra
            shape = self._placing.item("reasoning", extra)
            part = Reasoning(self._wire, self._placing.count - 1, shape)
            self._parts[number] = part
            self._add(part)
        return part

    def _note(self, note: Note) -> None:
        started = self._kinds.get(note.part)
        if started is not None and started.kind is PartKind.THINKING and moves(note):
            self._reasoning(note.part)
        part = self._parts.get(note.part)
        match note.kind:
            case NoteKind.SIGNATURE | NoteKind.REDACTED:
                self._seal(note)
            case NoteKind.CITATION if isinstance(part, Spoken):
                for annotation in cited(note):
                    part.cite(annotation)
            case NoteKind.LOGPROBS if isinstance(part, Spoken):
                tokens = logprobs(note)
                if tokens:
                    part.weigh(tokens)
            case NoteKind.EXTRA if note.dialect == NAME and isinstance(note.value, dict):
                self._extra(part, note.value)
            case _:
                pass

    def _seal(self, note: Note) -> None:
        """In its own reasoning; what another part is signed with gets an item behind it."""
        text, started = seal_of(note), self._kinds.get(note.part)
        if not text or started is None or note.kind not in SEALED:
            return
        if started.kind is PartKind.THINKING:
            self._seals[note.part] = text
            return
        item = Reasoning(self._wire, self._placing.count, self._placing.item("reasoning", NOTHING))
        self._add(item)
        item.sealed = text
        item.close()

    def _extra(self, part: Spoken | Call | Reasoning | Opaque | None, value: Object) -> None:
        item = part.item if isinstance(part, Spoken) else part
        if item is None:
            return
        event, ended = value.get(REPLY_EVENT), value.get(REPLY_ITEM)
        if isinstance(event, dict):
            item.other(event)
        elif isinstance(ended, dict) and isinstance(item, Opaque):
            item.ended = ended
        elif isinstance(item, Reasoning):
            member, index = value.get(REPLY_PART), value.get("index")
            if member in ("summary", "content") and isinstance(index, int):
                item.move(str(member), index)

    def _end(self, number: int) -> None:
        sealed = self._seals.pop(number, None)
        if sealed is not None:
            self._reasoning(number).sealed = sealed
        part = self._parts.get(number)
        if isinstance(part, Spoken):
            part.end()
            message = part.item
            message.open -= 1
            if not message.open and message is not self._message:
                message.close()
        elif part is not None:
            part.close()


class CountEncoder:
    """The tokens of a prompt, once they are counted."""

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._tokens = 0

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, _WHOLE

    def feed(self, event: Event) -> bytes:
        match event:
            case Counted():
                self._tokens = event.tokens
            case Finished():
                value: Json = {"object": "response.input_tokens", "input_tokens": self._tokens}
                return jsontext.dumps(value)
            case Failed():
                return envelope(event.error, self._context.call_id)
            case _:
                pass
        return b""
