"""A conversation of another dialect as Cohere messages.

Takes canonical messages, gives the value of `messages` and of `documents`. Each
call's result follows its turn at once, as a `tool` message of text; pictures in
results move to the user's message behind them. Documents of text stand beside
the conversation, where the answer can rest on them; any other file is refused.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from extproc.dialects import _tools
from extproc.dialects._loss import Losses, field_of
from extproc.dialects._turns import Speaker, Turn, only_text, turns
from extproc.dialects.cohere_chat.home import call, image
from extproc.dialects.cohere_chat.words import NAME
from extproc.model.chat import (
    NOTHING,
    Chat,
    Document,
    Image,
    Json,
    OpaquePart,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from extproc.model.fields import Field

Object: TypeAlias = dict[str, Json]

_DETAILS = ("auto", "low", "high")


def write_foreign(
    chat: Chat, losses: Losses, names: _tools.Names, *, vision: bool | None
) -> tuple[list[Json], list[Json]]:
    """All messages, and the documents. `vision` False: the model takes no pictures."""
    return _Conversation(losses, names, vision).write(chat)


class _Conversation:
    def __init__(self, losses: Losses, names: _tools.Names, vision: bool | None) -> None:
        self._losses = losses
        self._names = names
        self._vision = vision
        self._documents: list[Json] = []

    def write(self, chat: Chat) -> tuple[list[Json], list[Json]]:
        for message in chat.messages:
            if message.name is not None:
                self._losses.drop(Field.NAME)
            if message.extra is not NOTHING:
                self._losses.foreign(message.extra, NAME)
        # Cohere takes the system's word at the start only.
        found = turns(chat, self._losses)
        out: list[Json] = []
        if found.system:
            self._note(found.system)
            text = "\n\n".join(part.text for part in found.system)
            out.append({"role": "system", "content": text})
        last = max((i for i, t in enumerate(found.turns) if _is_models(t)), default=-1)
        for i, turn in enumerate(found.turns):
            text = only_text(turn.parts)
            if text is not None:
                out.append({"role": turn.speaker.value, "content": text})
                continue
            self._note(turn.parts)
            parts = self._known(turn.parts, current=i > last)
            out.extend(self._assistant(parts) if _is_models(turn) else self._user(parts))
        return out, self._documents

    # --- what gets lost

    def _note(self, parts: Iterable[Part]) -> None:
        """Marks and members of parts that are kept; parts that are lost are named as a whole."""
        for part in parts:
            if isinstance(part, OpaquePart | Thinking):
                continue
            if part.extra is not NOTHING:
                self._losses.foreign(part.extra, NAME)
            if getattr(part, "cache", None) is not None:
                self._losses.drop(Field.CACHE)
            if isinstance(part, ToolResult):
                self._note(part.parts)

    def _known(self, parts: Sequence[Part], *, current: bool) -> list[Part]:
        """Without what only the client's own dialect knows: refused where it is asked now."""
        kept: list[Part] = []
        for part in parts:
            if not isinstance(part, OpaquePart):
                kept.append(part)
                continue
            if current:
                kind = part.extra.fields.get("type")
                named = f" of type {kind[:64]}" if isinstance(kind, str) else ""
                why = f"a part{named} is known to its own provider only"
                raise self._losses.refusal(Field.CONTENT, why)
            self._losses.drop(Field.CONTENT)
        return kept

    # --- the assistant

    def _assistant(self, parts: list[Part]) -> Iterable[Json]:
        texts: list[str] = []
        calls: list[Json] = []
        for part in parts:
            match part:
                case Text() | Refusal():
                    texts.append(part.text)
                case ToolCall():
                    plain = ToolCall(part.id, part.name, part.arguments or "{}", extra=NOTHING)
                    calls.append(call(plain, self._names.sent(part.name)))
                case Thinking():
                    self._losses.drop(Field.THINKING)
                case _:
                    self._losses.lossy(field_of(part), "a model's message holds text here")
        out: Object = {"role": "assistant"}
        if texts:
            out["content"] = _text_content(texts)
        if calls:
            out["tool_calls"] = calls
        if len(out) > 1:
            yield out

    # --- the user

    def _user(self, parts: list[Part]) -> Iterable[Json]:
        moved: list[Part] = []
        content: list[Part] = []
        for part in parts:
            match part:
                case ToolResult():
                    yield self._result(part, moved)
                case Document():
                    self._documents.append(self._document(part))
                case _:
                    content.append(part)
        content = [*moved, *content]
        if content:
            yield {"role": "user", "content": self._content(content)}

    def _result(self, result: ToolResult, moved: list[Part]) -> Json:
        text = _tools.result_text(result)
        if result.is_error:
            self._losses.drop(Field.IS_ERROR)
            text = f"ERROR: {text}"
        self._known([p for p in result.parts if isinstance(p, OpaquePart)], current=False)
        media = [p for p in result.parts if not isinstance(p, Text | OpaquePart)]
        if media:
            self._losses.drop(Field.RESULT_MEDIA)
            moved.append(Text(f"From the result of tool call {result.call_id}:"))
            for part in media:
                if isinstance(part, Document):
                    self._documents.append(self._document(part))
                else:
                    moved.append(part)
            text = text or "See the next message of the user."
        content = text or "(no output)"
        return {"role": "tool", "tool_call_id": result.call_id, "content": content}

    def _content(self, parts: list[Part]) -> Json:
        if all(isinstance(part, Text) for part in parts):
            return _text_content([part.text for part in parts if isinstance(part, Text)])
        return [self._part(part) for part in parts]

    def _part(self, part: Part) -> Json:
        match part:
            case Text() | Refusal():
                return {"type": "text", "text": part.text}
            case Image():
                return self._image(part)
            case _:
                raise self._losses.refusal(field_of(part), "it has no place in a user's message")

    def _image(self, part: Image) -> Json:
        if self._vision is False:
            raise self._losses.refusal(Field.IMAGE, "the model takes no pictures")
        if part.source.file_id is not None:
            raise self._losses.refusal(Field.FILE_ID, "a file's id never leaves its provider")
        if part.detail not in (None, *_DETAILS):
            self._losses.drop(Field.DETAIL)
            part = Image(part.source)
        return image(part)

    def _document(self, part: Document) -> Json:
        """Words with a title. Cohere reads no files."""
        source, losses = part.source, self._losses
        if source.file_id is not None:
            raise losses.refusal(Field.FILE_ID, "a file's id never leaves its provider")
        if source.data is None:
            raise losses.refusal(Field.DOCUMENT, "it must be sent as data, not by URL")
        kind = (source.media_type or "application/pdf").partition(";")[0].lower()
        if not kind.startswith("text/"):
            raise losses.refusal(Field.DOCUMENT, f"{kind} is not text")
        try:
            words = base64.b64decode(source.data, validate=True).decode()
        except (binascii.Error, ValueError):
            raise losses.refusal(Field.DOCUMENT, "its data is not text in base64") from None
        data: Object = {"text": words}
        if source.name:
            data = {"title": source.name, **data}
        return {"data": data}


def _is_models(turn: Turn) -> bool:
    return turn.speaker is Speaker.ASSISTANT


def _text_content(texts: list[str]) -> Json:
    return texts[0] if len(texts) == 1 else [{"type": "text", "text": text} for text in texts]
