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
from extproc.dialects._loss import Losses
from extproc.dialects._tools import Names, arguments_object, legal_id
from extproc.dialects._turns import Speaker, Turn, turns
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

Object: TypeAlias = dict[str, Json]

_WRITTEN: Mapping[Speaker, tuple[type[Part], ...]] = {
    Speaker.USER: (Text, Image, Audio, Document, ToolResult, OpaquePart),
    Speaker.ASSISTANT: (Text, Thinking, ToolCall, OpaquePart),
    Speaker.SYSTEM: (Text,),
}
"""what Claude takes from whom"""
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
        if any(message.name for message in chat.messages):
            self._losses.drop("name")
        within = self._target.capabilities.system_in_messages is True
        found = turns(chat, self._losses, system_within=within)
        self.system = self._joined(found.system)
        last = max(
            (i for i, t in enumerate(found.turns) if t.speaker is Speaker.ASSISTANT), default=-1
        )
        for position, turn in enumerate(found.turns):
            self._current = position > last
            parts = self._kept(turn)
            if position == last == len(found.turns) - 1:
                _trim(parts)
            blocks = self._blocks(parts)
            if not blocks:
                continue
            if position == last and position < len(found.turns) - 1:
                self.unsigned_tools = _is_unsigned(parts)
            self._add(turn.speaker, blocks, parts)
        first = self.messages[0] if self.messages else None
        if not isinstance(first, dict) or first["role"] != Speaker.USER:
            self._losses.drop("first_message")
            self.messages.insert(0, {"role": "user", "content": _OPENING})

    def _add(self, speaker: Speaker, blocks: list[Json], parts: Sequence[Part]) -> None:
        """A turn between which and the last one everything was dropped belongs to that one."""
        last = self.messages[-1] if self.messages else None
        if isinstance(last, dict) and last["role"] == speaker:
            before = last["content"]
            told = before if isinstance(before, list) else _text_block(before)
            last["content"] = sorted([*told, *blocks], key=_results_first)
            return
        plain = len(parts) == 1 and isinstance(parts[0], Text) and parts[0].cache is None
        content: Json = parts[0].text if plain and isinstance(parts[0], Text) else blocks
        self.messages.append({"role": speaker.value, "content": content})

    def _joined(self, system: Sequence[Text]) -> Json:
        """A string where no cache mark would get lost by it."""
        if not system:
            return None
        if any(part.cache for part in system):
            return self._blocks(system)
        return "\n\n".join(part.text for part in system)

    def _kept(self, turn: Turn) -> list[Part]:
        """The parts that can be written in this turn."""
        kept: list[Part] = []
        for part in turn.parts:
            match part:
                case Thinking() if not _is_ours(part):
                    self._losses.drop("thinking")
                case OpaquePart() if part.extra.dialect != NAME:
                    if self._current:
                        kind = part.extra.fields.get("type", "content")
                        field = kind if isinstance(kind, str) else "content"
                        raise self._losses.refusal(field, "only one other provider knows it")
                    self._losses.drop("content")
                case Refusal():
                    if part.text.strip():
                        kept.append(Text(part.text))
                case _ if isinstance(part, _WRITTEN[turn.speaker]):
                    kept.append(part)
                case _:
                    self._losses.drop("content")
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
                self._losses.drop("thinking")
                continue
            if isinstance(part, OpaquePart):
                blocks.append(dict(part.extra.home(NAME)))
                continue
            out = self._block(part)
            if part.extra.dialect == NAME:
                fill(out, part.extra.fields)
            else:
                self._losses.foreign(part.extra, NAME)
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
                raise self._losses.refusal("input_audio", "it does not hear")

    def _id(self, call_id: str) -> str:
        return call_id if self._at_home else legal_id(call_id, LEGAL_ID)

    def _result(self, part: ToolResult) -> Object:
        out: Object = {"type": "tool_result", "tool_use_id": self._id(part.call_id)}
        parts = part.parts
        if not self._at_home:
            parts = tuple(self._readable(parts))
        content = self._content(parts, part.extra.home(NAME))
        if content is not None:
            out["content"] = content
        if part.is_error:
            out["is_error"] = True
        return _marked(out, part.cache)

    def _readable(self, parts: Iterable[Part]) -> Iterable[Part]:
        """What a result may hold. Blank texts are refused by the provider."""
        for part in parts:
            if isinstance(part, Text) and not part.text.strip():
                continue
            if isinstance(part, OpaquePart) and part.extra.dialect != NAME:
                self._losses.drop("content")
                continue
            yield part

    # --- media

    def _image(self, part: Image) -> Object:
        if not self._at_home:
            if self._target.capabilities.vision is False:
                raise self._losses.refusal("image", "the model does not see")
            if part.detail not in (None, "auto"):
                self._losses.drop("detail")
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
                raise self._losses.refusal("document", "it reads PDF and plain text only")
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
            raise self._losses.refusal("document", "its text is not UTF-8 in base64") from None

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
                raise self._losses.refusal(f"{kind}.url", "only one other provider can read it")
            if self._target.variant == "bedrock":
                raise self._losses.refusal(
                    f"{kind}.url", "it takes data only, and we fetch nothing"
                )
            return {"type": "url", "url": source.url}
        if not self._at_home:
            raise self._losses.refusal("file_id", "a file never leaves its provider")
        return {"type": "file", "file_id": source.file_id}


def _text_block(text: Json) -> list[Json]:
    return [{"type": "text", "text": text}]


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
