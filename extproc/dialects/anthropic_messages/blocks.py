"""Canonical messages to Anthropic's `system` and `messages`, at home and from other languages.

At home every message is written where it stood, and `extra` fills the gaps. From
elsewhere the conversation is brought into turns (`_turns`): tool results come next
and first, neighbours of one role are one message, cache marks stay. What does not
fit goes to `Losses`. It writes only.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from extproc.dialects._extras import fill
from extproc.dialects._loss import Losses, field_of
from extproc.dialects._tools import Names, arguments_object, legal_id
from extproc.dialects._turns import Speaker, Turn, only_text, turns
from extproc.dialects.anthropic_messages.messages import is_plain, source_type
from extproc.dialects.anthropic_messages.words import (
    CONTENT,
    LEGAL_ID,
    NAME,
    SOURCE,
    WITHIN,
    WRAPPED,
    write_cache,
)
from extproc.model.call import Target
from extproc.model.chat import (
    NOTHING,
    Audio,
    CacheMark,
    Chat,
    Document,
    Image,
    Json,
    Message,
    OpaquePart,
    Part,
    Refusal,
    Role,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from extproc.model.fields import Field

Object: TypeAlias = dict[str, Json]

_WRITTEN: Mapping[Speaker, frozenset[type[Part]]] = {
    Speaker.USER: frozenset({Text, Image, Audio, Document, ToolResult, OpaquePart}),
    Speaker.ASSISTANT: frozenset({Text, Thinking, ToolCall, OpaquePart}),
    Speaker.SYSTEM: frozenset({Text}),
}
"""what Claude takes from whom"""
_DOUBTFUL = frozenset({Thinking, OpaquePart})
"""of these, only what is Claude's own"""
_WORDS: Mapping[Speaker, str] = {speaker: speaker.value for speaker in Speaker}
_ASSISTANT = Speaker.ASSISTANT
_MEDIA = {"image": Field.IMAGE, "document": Field.DOCUMENT}
_OPENING = "(start)"
"""the user's turn where a conversation has none to begin with, which Claude needs"""


class Conversation:
    """Writes the messages of one request. `system` and `messages` are ready when it is made.

    `unsigned_tools`: Claude did not write the last turn of the assistant, which called
    tools that have been answered: no thinking of Claude's stands before them.
    """

    def __init__(self, chat: Chat, target: Target, losses: Losses, names: Names) -> None:
        self._at_home = chat.dialect == NAME
        self._target = target
        self._losses = losses
        self._names = names
        self._current = False
        self.unsigned_tools = False
        self.system: Json = None
        self.messages: list[Json] = []
        if self._at_home:
            self._home(chat)
        else:
            self._foreign(chat)

    # --- messages

    def _home(self, chat: Chat) -> None:
        system: list[Message] = []
        for message in chat.messages:
            extra = message.extra.home(NAME)
            apart = message.role in (Role.SYSTEM, Role.DEVELOPER) and WITHIN not in extra
            if apart:
                system.append(message)
                continue
            role = Role.USER if message.role is Role.TOOL else message.role
            out: Object = {"role": role.value}
            content = self._content(message.parts, extra)
            if content is not None:
                out["content"] = content
            elif message.parts:
                continue  # it held another provider's thinking and nothing else
            fill(out, extra)
            self.messages.append(out)
        if WRAPPED in chat.extra.fields and chat.messages[-1].role is not Role.ASSISTANT:
            said = [m for m in chat.messages if m.role is Role.ASSISTANT]
            self.unsigned_tools = bool(said) and _is_unsigned(said[-1].parts)
        if len(system) == 1:
            content = self._content(system[0].parts, system[0].extra.home(NAME))
            self.system = content
        elif system:
            self.system = self._blocks([part for message in system for part in message.parts])

    def _foreign(self, chat: Chat) -> None:
        for message in chat.messages:
            if message.name:
                self._losses.drop(Field.NAME)
            if message.extra is not NOTHING:
                self._losses.foreign(message.extra, NAME)
        within = self._target.capabilities.system_in_messages is True
        found = turns(chat, self._losses, system_within=within)
        self.system = self._joined(found.system)
        end = len(found.turns) - 1
        last = end
        while last >= 0 and found.turns[last].speaker is not _ASSISTANT:
            last -= 1
        before: Speaker | None = None
        for position, turn in enumerate(found.turns):
            # By far the most turns are one plain text, about which there is nothing to ask.
            content: Json = None if position == end else only_text(turn.parts)
            if content is None:
                self._current = position > last
                parts = self._kept(turn)
                if position == last == end:
                    _trim(parts)
                elif position == last:
                    self.unsigned_tools = _is_unsigned(parts)
                content = only_text(parts) or self._blocks(parts)
            if content and turn.speaker is before:
                self._join(content)
            elif content:
                before = turn.speaker
                self.messages.append({"role": _WORDS[before], "content": content})
        first = self.messages[0] if self.messages else None
        if not isinstance(first, dict) or first["role"] != "user":
            self._losses.drop(Field.FIRST)
            self.messages.insert(0, {"role": "user", "content": _OPENING})

    def _join(self, content: Json) -> None:
        """To the last message: all that stood between was dropped, and no role follows itself."""
        last = self.messages[-1]
        if isinstance(last, dict):
            blocks = [*_as_blocks(last["content"]), *_as_blocks(content)]
            last["content"] = sorted(blocks, key=_results_first)

    def _joined(self, system: Sequence[Text]) -> Json:
        """A string where no cache mark would get lost by it."""
        if not system:
            return None
        if any(part.cache for part in system):
            return self._blocks(system)
        for part in system:
            self._losses.foreign(part.extra, NAME)
        return "\n\n".join(part.text for part in system)

    def _kept(self, turn: Turn) -> list[Part]:
        """The parts that can be written in this turn."""
        kept: list[Part] = []
        written = _WRITTEN[turn.speaker]
        for part in turn.parts:
            if type(part) in written and type(part) not in _DOUBTFUL:
                kept.append(part)
                continue
            match part:
                case Thinking() if not _is_ours(part):
                    self._losses.drop(Field.THINKING)
                case OpaquePart() if part.extra.dialect != NAME:
                    if self._current:
                        kind = str(part.extra.fields.get("type", "without a type"))
                        why = f"a part that only one other provider knows ({kind[:64]})"
                        raise self._losses.refusal(Field.CONTENT, why)
                    self._losses.drop(Field.CONTENT)
                case Refusal():
                    if part.text.strip():
                        kept.append(Text(part.text))
                case Thinking() | OpaquePart() if type(part) in written:
                    kept.append(part)
                case _:
                    self._losses.drop(field_of(part))
        return kept

    def _content(self, parts: Sequence[Part], shape: Mapping[str, Json]) -> Json:
        """A string where the client wrote one; None where nothing is left."""
        if not parts:
            return None
        first = parts[0]
        listed = CONTENT in shape
        if len(parts) == 1 and isinstance(first, Text) and is_plain(first) and not listed:
            return first.text
        blocks = self._blocks(parts)
        return blocks or None

    # --- blocks

    def _blocks(self, parts: Iterable[Part]) -> list[Json]:
        blocks: list[Json] = []
        for part in parts:
            if isinstance(part, Thinking) and not _is_ours(part):
                self._losses.drop(Field.THINKING)
                continue
            if isinstance(part, OpaquePart):
                blocks.append(dict(part.extra.home(NAME)))
                continue
            out = self._block(part)
            if part.extra is not NOTHING:
                self._losses.foreign(part.extra, NAME)
                fill(out, part.extra.home(NAME))
            blocks.append(out)
        return blocks

    def _block(
        self, part: Text | Image | Audio | Document | Thinking | ToolCall | ToolResult | Refusal
    ) -> Object:
        match part:
            case Text():
                return _marked({"type": "text", "text": part.text}, part.cache)
            case ToolCall():
                call: Object = {
                    "type": "tool_use",
                    "id": self._id(part.id),
                    "name": self._names.sent(part.name),
                    "input": arguments_object(part),
                }
                return _marked(call, part.cache)
            case ToolResult():
                return self._result(part)
            case Image():
                return self._image(part)
            case Document():
                return self._document(part)
            case Thinking():
                if part.redacted is not None:
                    return {"type": "redacted_thinking", "data": part.redacted}
                return {
                    "type": "thinking",
                    "thinking": part.text,
                    "signature": part.signature,
                }
            case Refusal():
                return {"type": "text", "text": part.text}
            case Audio():
                raise self._losses.refusal(Field.AUDIO, "it does not hear")

    def _id(self, call_id: str) -> str:
        return call_id if self._at_home else legal_id(call_id, LEGAL_ID)

    def _result(self, part: ToolResult) -> Object:
        out: Object = {"type": "tool_result", "tool_use_id": self._id(part.call_id)}
        if self._at_home:
            content = self._content(part.parts, part.extra.home(NAME))
        else:
            parts = self._readable(part.parts)
            content = only_text(parts) or self._content(parts, {})
        if content is not None:
            out["content"] = content
        if part.is_error:
            out["is_error"] = True
        return _marked(out, part.cache)

    def _readable(self, parts: Iterable[Part]) -> list[Part]:
        """What a result may hold. Blank texts are refused by the provider."""
        kept: list[Part] = []
        for part in parts:
            if isinstance(part, OpaquePart) and part.extra.dialect != NAME:
                self._losses.drop(Field.CONTENT)
            elif not isinstance(part, Text) or part.text.strip():
                kept.append(part)
        return kept

    # --- media

    def _image(self, part: Image) -> Object:
        if not self._at_home:
            if self._target.capabilities.vision is False:
                raise self._losses.refusal(Field.IMAGE, "the model does not see")
            if part.detail not in (None, "auto"):
                self._losses.drop(Field.DETAIL)
        source = self._source(part.source, "image")
        return _marked({"type": "image", "source": source}, part.cache)

    def _document(self, part: Document) -> Object:
        source = part.source
        kind = part.extra.home(NAME).get(SOURCE)
        if source.data is not None and not self._at_home:
            media_type = (source.media_type or "").partition(";")[0].strip().lower()
            if media_type.startswith("text/") or media_type == "application/json":
                source = Source(data=source.data, media_type="text/plain", name=source.name)
            elif media_type not in ("", "application/pdf"):
                raise self._losses.refusal(Field.DOCUMENT, "it reads PDF and plain text only")
        if kind is None and source.data is not None:
            kind = source_type(source.media_type)
        if kind == "text":
            wire: Json = {
                "type": "text",
                "media_type": source.media_type,
                "data": self._plain(source.data or ""),
            }
        else:
            wire = self._source(source, "document")
        out: Object = {"type": "document", "source": wire}
        if source.name is not None:
            out["title"] = source.name
        return _marked(out, part.cache)

    def _plain(self, data: str) -> str:
        try:
            return base64.b64decode(data, validate=True).decode("utf-8", "surrogatepass")
        except (ValueError, binascii.Error):
            raise self._losses.refusal(Field.DOCUMENT, "its text is not UTF-8 in base64") from None

    def _source(self, source: Source, kind: str) -> Json:
        if source.data is not None:
            usual = "image/png" if kind == "image" else "application/pdf"
            return {
                "type": "base64",
                "media_type": source.media_type or usual,
                "data": source.data,
            }
        if source.url is not None:
            if not self._at_home and not source.url.startswith(("https:", "http:")):
                raise self._losses.refusal(_MEDIA[kind], "only one other provider can read its URL")
            if self._target.variant == "bedrock":
                why = "by URL it is none that Bedrock takes; send the data itself"
                raise self._losses.refusal(_MEDIA[kind], why)
            return {"type": "url", "url": source.url}
        if not self._at_home:
            raise self._losses.refusal(Field.FILE_ID, "a file never leaves its provider")
        return {"type": "file", "file_id": source.file_id}


def _as_blocks(content: Json) -> list[Json]:
    return content if isinstance(content, list) else [{"type": "text", "text": content}]


def _results_first(block: Json) -> bool:
    return isinstance(block, dict) and block.get("type") != "tool_result"


def _marked(out: Object, cache: CacheMark | None) -> Object:
    if cache is not None:
        out["cache_control"] = write_cache(cache)
    return out


def _is_ours(part: Thinking) -> bool:
    """Only what Claude signed may come back to it."""
    return part.origin == NAME and bool(part.signature or part.redacted)


def _is_unsigned(parts: Sequence[Part]) -> bool:
    called = any(isinstance(part, ToolCall) for part in parts)
    first = parts[0] if parts else None
    return called and not (isinstance(first, Thinking) and _is_ours(first))


def _trim(parts: list[Part]) -> None:
    """A last word put into Claude's mouth must not end in white space."""
    if parts and isinstance(last := parts[-1], Text):
        parts[-1] = Text(last.text.rstrip(), last.cache, last.extra)
