"""A conversation of another dialect as OpenAI Chat messages.

Takes canonical messages, gives the value of `messages`. Each call's result
follows its turn at once, as a `tool` message of text; pictures and files in
results move to the user's message behind them. What cannot go goes through
`Losses`; signatures and reasoning never leave their provider.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import TypeAlias, TypeGuard

from extproc.dialects import _tools
from extproc.dialects._loss import Losses, field_of
from extproc.dialects._media import data_url, format_of
from extproc.dialects._turns import Speaker, Turn, turns
from extproc.dialects.openai_chat.home import given, image
from extproc.dialects.openai_chat.quirks import Quirks
from extproc.dialects.openai_chat.words import NAME
from extproc.model.chat import (
    NOTHING,
    Audio,
    Chat,
    Document,
    Extra,
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

_AUDIO_FORMATS = ("wav", "mp3")
_PDF = "application/pdf"
_USER, _ASSISTANT = Speaker.USER, Speaker.ASSISTANT
_ONLY_ITS_OWN = "a file's id never leaves its provider"


def write_messages(
    chat: Chat, losses: Losses, quirks: Quirks, names: _tools.Names, *, vision: bool | None
) -> list[Json]:
    """All messages. `vision` False: the model takes no pictures, and one is refused."""
    return _Conversation(losses, quirks, names, vision).write(chat)


class _Conversation:
    def __init__(
        self, losses: Losses, quirks: Quirks, names: _tools.Names, vision: bool | None
    ) -> None:
        self._losses = losses
        self._quirks = quirks
        self._names = names
        self._vision = vision
        self._turns: tuple[Turn, ...] = ()

    def write(self, chat: Chat) -> list[Json]:
        for message in chat.messages:
            if message.extra is not NOTHING:
                self._losses.foreign(message.extra, NAME)
            if message.name is not None:
                # Turns of one role become one, and several names would be in it.
                self._losses.drop(Field.NAME)
        found = turns(chat, self._losses, system_within=True)
        self._turns = found.turns
        out: list[Json] = []
        if found.system:
            self._note(found.system)
            out.append({"role": "system", "content": _joined(found.system)})
        for i, turn in enumerate(found.turns):
            parts, speaker = turn.parts, turn.speaker
            first = parts[0]
            if len(parts) == 1 and is_bare(first):
                out.append({"role": speaker, "content": first.text})
                continue
            self._note(parts)
            if speaker is _ASSISTANT:
                self._assistant(parts, out)
            elif speaker is _USER:
                self._user(parts, i, out)
            else:
                self._opaque(parts, i)
                out.append({"role": "system", "content": _joined(parts)})
        return out

    # --- what gets lost

    def _note(self, parts: Iterable[Part]) -> None:
        """Of parts that go; one that is lost whole is named as such."""
        for part in parts:
            if getattr(part, "cache", None) is not None:
                self._losses.drop(Field.CACHE)
            if part.extra is not NOTHING and not isinstance(part, Thinking | OpaquePart):
                self._losses.foreign(part.extra, NAME)

    def _opaque(self, parts: Iterable[Part], i: int) -> None:
        """What only the client's own dialect knows: refused where it is asked now, in the `i`th turn."""
        for part in parts:
            if not isinstance(part, OpaquePart):
                continue
            if not any(turn.speaker is _ASSISTANT for turn in self._turns[i:]):
                why = f"a part of {kind_of(part.extra)} is known to its own provider only"
                raise self._losses.refusal(Field.CONTENT, why)
            self._losses.drop(Field.CONTENT)

    # --- the assistant

    def _assistant(self, parts: list[Part], out: list[Json]) -> None:
        texts: list[str] = []
        calls: list[Json] = []
        for part in parts:
            match part:
                case ToolCall():
                    calls.append(self._call(part))
                case Text() | Refusal():
                    texts.append(part.text)
                case Thinking():
                    self._losses.drop(Field.THINKING)
                case OpaquePart():
                    self._losses.drop(Field.CONTENT)
                case _:
                    self._losses.lossy(field_of(part), "a model's message holds text here")
        if calls:
            content = _text_content(texts)
            out.append({"role": "assistant", "content": content, "tool_calls": calls})
        elif texts:
            out.append({"role": "assistant", "content": _text_content(texts)})

    def _call(self, call: ToolCall) -> Json:
        name, arguments = self._names.sent(call.name), call.arguments or "{}"
        function: Json = {"name": name, "arguments": arguments}
        return {"id": self._id(call.id), "type": "function", "function": function}

    def _id(self, call_id: str) -> str:
        return _tools.legal_id(call_id, self._quirks.ids, self._quirks.id_length)

    # --- the user

    def _user(self, parts: list[Part], i: int, out: list[Json]) -> None:
        moved: list[Part] = []
        rest: list[Part] = []
        for part in parts:
            if isinstance(part, ToolResult):
                out.append(self._result(part, moved))
            elif isinstance(part, OpaquePart):
                self._opaque((part,), i)
            else:
                rest.append(part)
        content = [*moved, *rest]
        if content:
            out.append({"role": "user", "content": self._content(content)})

    def _result(self, result: ToolResult, moved: list[Part]) -> Json:
        parts = result.parts
        call_id = self._id(result.call_id)
        if len(parts) == 1 and not result.is_error and is_bare(first := parts[0]):
            return {"role": "tool", "tool_call_id": call_id, "content": first.text}
        self._note(parts)
        text = _tools.result_text(result)
        if result.is_error:
            self._losses.drop(Field.IS_ERROR)
            text = f"ERROR: {text}"
        if any(isinstance(part, OpaquePart) for part in parts):
            self._losses.drop(Field.CONTENT)
        media = [part for part in parts if isinstance(part, Image | Audio | Document)]
        if media:
            self._losses.drop(Field.RESULT_MEDIA)
            moved.append(Text(f"From the result of tool call {call_id}:"))
            moved.extend(media)
            text = text or "See the next message of the user."
        return {"role": "tool", "tool_call_id": call_id, "content": text}

    def _content(self, parts: list[Part]) -> Json:
        if all(isinstance(part, Text) for part in parts):
            return _text_content([part.text for part in parts if isinstance(part, Text)])
        return [self._part(part) for part in parts]

    def _part(self, part: Part) -> Json:
        losses = self._losses
        match part:
            case Text() | Refusal():
                return _text(part.text)
            case Image():
                if self._vision is False or Field.IMAGE not in self._quirks.media:
                    raise losses.refusal(Field.IMAGE, "the model takes no pictures")
                if part.source.file_id is not None:
                    raise losses.refusal(Field.FILE_ID, _ONLY_ITS_OWN)
                return image(part)
            case Audio():
                return self._audio(part)
            case Document():
                return self._document(part)
            case _:
                raise losses.refusal(field_of(part), "it has no place in a user's message")

    def _audio(self, part: Audio) -> Json:
        if Field.AUDIO not in self._quirks.media:
            raise self._losses.refusal(Field.AUDIO, "it takes no sound")
        source = part.source
        short = part.format or format_of(source.media_type)
        if source.data is None:
            raise self._losses.refusal(Field.AUDIO, "it must be sent as data")
        if short not in _AUDIO_FORMATS:
            why = f"its format must be {' or '.join(_AUDIO_FORMATS)}"
            raise self._losses.refusal(Field.AUDIO, why)
        return {"type": "input_audio", "input_audio": {"data": source.data, "format": short}}

    def _document(self, part: Document) -> Json:
        source = part.source
        if source.file_id is not None:
            raise self._losses.refusal(Field.FILE_ID, _ONLY_ITS_OWN)
        if source.data is None:
            raise self._losses.refusal(Field.DOCUMENT, "it must be sent as data, not by URL")
        media_type = (source.media_type or _PDF).partition(";")[0].lower()
        if media_type.startswith("text/"):
            return _text(self._plain(source.data, source.name))
        if Field.DOCUMENT not in self._quirks.media:
            raise self._losses.refusal(Field.DOCUMENT, "it takes no files")
        if media_type != _PDF:
            raise self._losses.refusal(Field.DOCUMENT, f"{media_type} is not a PDF or text")
        name = source.name or "document.pdf"
        return {"type": "file", "file": given(("filename", name), ("file_data", data_url(source)))}

    def _plain(self, data: str, name: str | None) -> str:
        """The words of a text document, which every model can read."""
        try:
            words = base64.b64decode(data, validate=True).decode()
        except (binascii.Error, ValueError):
            raise self._losses.refusal(Field.DOCUMENT, "its data is not text in base64") from None
        return f"{name}\n\n{words}" if name else words


def is_bare(part: Part) -> TypeGuard[Text]:
    """Whether it is a text and nothing else."""
    return isinstance(part, Text) and part.cache is None and part.extra is NOTHING


def kind_of(extra: Extra) -> str:
    """In words, the kind of what only another dialect knows."""
    kind = extra.fields.get("type")
    return f"type {kind}" if isinstance(kind, str) else "this kind"


def _joined(parts: Iterable[Part]) -> str:
    return "\n\n".join([part.text for part in parts if isinstance(part, Text)])


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _text_content(texts: list[str]) -> Json:
    if not texts:
        return None
    return texts[0] if len(texts) == 1 else [_text(text) for text in texts]
