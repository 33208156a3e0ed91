"""A conversation of another dialect as OpenAI Chat messages.

Takes canonical messages, gives the value of `messages`. Each call's result
follows its turn at once, as a `tool` message of text; pictures and files in
results move to the user's message behind them. What cannot go goes through
`Losses`; signatures and reasoning never leave their provider.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from extproc.dialects import _tools
from extproc.dialects._loss import Losses
from extproc.dialects._media import data_url, format_of
from extproc.dialects._turns import Speaker, Turn, turns
from extproc.dialects.openai_chat.home import given, image
from extproc.dialects.openai_chat.messages import is_plain
from extproc.dialects.openai_chat.quirks import Quirks
from extproc.model.chat import (
    Audio,
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

Object: TypeAlias = dict[str, Json]

_AUDIO_FORMATS = ("wav", "mp3")
_PDF = "application/pdf"


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

    def write(self, chat: Chat) -> list[Json]:
        found = turns(chat, self._losses, system_within=True)
        out: list[Json] = []
        if found.system:
            self._note(found.system)
            text = "\n\n".join(part.text for part in found.system)
            out.append({"role": "system", "content": text})
        last = max((i for i, t in enumerate(found.turns) if _is_models(t)), default=-1)
        for i, turn in enumerate(found.turns):
            first = turn.parts[0]
            if len(turn.parts) == 1 and is_plain(first):
                out.append({"role": turn.speaker, "content": first.text})
                continue
            self._note(turn.parts)
            parts = self._known(turn.parts, current=i > last)
            match turn.speaker:
                case Speaker.ASSISTANT:
                    out.extend(self._assistant(parts))
                case Speaker.SYSTEM:
                    text = "\n\n".join(part.text for part in parts if isinstance(part, Text))
                    out.append({"role": "system", "content": text})
                case Speaker.USER:
                    out.extend(self._user(parts))
        return out

    # --- what gets lost

    def _note(self, parts: Iterable[Part]) -> None:
        for part in parts:
            match part:
                case Text() | Document():
                    if part.cache is not None:
                        self._losses.drop("cache")
                    if part.extra.fields.get("citations"):
                        self._losses.drop("citations")
                case Image() | ToolCall() | ToolResult():
                    if part.cache is not None:
                        self._losses.drop("cache")
                case _:
                    pass

    def _known(self, parts: Sequence[Part], *, current: bool) -> list[Part]:
        """Without what only the client's own dialect knows: refused where it is asked now."""
        kept: list[Part] = []
        for part in parts:
            if not isinstance(part, OpaquePart):
                kept.append(part)
                continue
            kind = part.extra.fields.get("type")
            name = kind if isinstance(kind, str) else "messages.content"
            if current:
                raise self._losses.refusal(
                    name, "a part of this kind is known to one provider only"
                )
            self._losses.drop(name)
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
                    calls.append(self._call(part))
                case Thinking():
                    self._losses.drop("thinking")
                case _:
                    what = type(part).__name__.lower()
                    self._losses.lossy(f"assistant.{what}", "a model's message holds text here")
        if not texts and not calls:
            return
        out: Object = {"role": "assistant", "content": _text_content(texts)}
        if calls:
            out["tool_calls"] = calls
        yield out

    def _call(self, call: ToolCall) -> Json:
        function: Object = {
            "name": self._names.sent(call.name),
            "arguments": call.arguments or "{}",
        }
        return {"id": self._id(call.id), "type": "function", "function": function}

    def _id(self, call_id: str) -> str:
        return _tools.legal_id(call_id, self._quirks.ids, self._quirks.id_length)

    # --- the user

    def _user(self, parts: list[Part]) -> Iterable[Json]:
        moved: list[Part] = []
        rest: list[Part] = []
        for part in parts:
            if isinstance(part, ToolResult):
                yield self._result(part, moved)
            else:
                rest.append(part)
        content = [*moved, *rest]
        if content:
            yield {"role": "user", "content": self._content(content)}

    def _result(self, result: ToolResult, moved: list[Part]) -> Json:
        text = _tools.result_text(result)
        if result.is_error:
            self._losses.drop("is_error")
            text = f"ERROR: {text}"
        media = [part for part in result.parts if isinstance(part, Image | Audio | Document)]
        for part in result.parts:
            if isinstance(part, OpaquePart):
                self._known((part,), current=False)
        call_id = self._id(result.call_id)
        if media:
            self._losses.drop("tool_result.media")
            self._note(media)
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
                if self._vision is False:
                    raise losses.refusal("image", "the model takes no pictures")
                if part.source.file_id is not None:
                    raise losses.refusal("image", "a file's id never leaves its provider")
                return image(part)
            case Audio():
                return self._audio(part)
            case Document():
                return self._document(part)
            case _:
                what = type(part).__name__.lower()
                raise losses.refusal(what, "it has no place in a user's message")

    def _audio(self, part: Audio) -> Json:
        source = part.source
        short = part.format or format_of(source.media_type)
        if source.data is None:
            raise self._losses.refusal("audio", "it must be sent as data")
        if short not in _AUDIO_FORMATS:
            raise self._losses.refusal("audio", f"its format must be {' or '.join(_AUDIO_FORMATS)}")
        return {"type": "input_audio", "input_audio": {"data": source.data, "format": short}}

    def _document(self, part: Document) -> Json:
        source = part.source
        if source.file_id is not None:
            raise self._losses.refusal("document", "a file's id never leaves its provider")
        if source.data is None:
            raise self._losses.refusal("document", "it must be sent as data, not by URL")
        media_type = (source.media_type or _PDF).partition(";")[0].lower()
        if media_type.startswith("text/"):
            return _text(self._plain(source.data, source.name))
        if media_type != _PDF:
            raise self._losses.refusal("document", f"{media_type} is not a PDF or text")
        name = source.name or "document.pdf"
        return {"type": "file", "file": given(("filename", name), ("file_data", data_url(source)))}

    def _plain(self, data: str, name: str | None) -> str:
        """The words of a text document, which every model can read."""
        try:
            words = base64.b64decode(data, validate=True).decode()
        except (binascii.Error, ValueError):
            raise self._losses.refusal("document", "its data is not text in base64") from None
        return f"{name}\n\n{words}" if name else words


def _is_models(turn: Turn) -> bool:
    return turn.speaker is Speaker.ASSISTANT


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _text_content(texts: list[str]) -> Json:
    if not texts:
        return None
    return texts[0] if len(texts) == 1 else [_text(text) for text in texts]
