"""Canonical messages to OpenAI Responses input items.

Takes the messages of a `Chat`, gives the value of `input`. At home every part
goes back into the item that it remembers; parts of other dialects become items
of their own. Reasoning travels only to whom signed it. What cannot be said goes
through `Losses`. It writes only; `items` reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

from extproc.dialects._extras import fill
from extproc.dialects._loss import Losses, field_of
from extproc.dialects._media import data_url
from extproc.dialects._tools import Names, legal_id
from extproc.dialects.openai_chat.foreign_messages import is_bare, kind_of
from extproc.dialects.openai_responses.items import (
    CACHE_LIFE,
    is_plain,
    reasoning_text,
    text_type,
)
from extproc.dialects.openai_responses.words import (
    BARE,
    CALLS,
    CONTENT,
    ITEM,
    LISTED,
    NAME,
)
from extproc.model.chat import (
    NOTHING,
    Audio,
    CacheMark,
    Chat,
    Document,
    Extra,
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

_ID = re.compile(r"[\x21-\x7e]{1,64}")
_ERROR = "ERROR: "
_USER, _RESULTS = Role.USER, Role.TOOL


class Writer:
    """Writes the items of one request. `at_home`: the client speaks this dialect too."""

    def __init__(self, chat: Chat, losses: Losses, names: Names) -> None:
        self._at_home = chat.dialect == NAME
        self._losses = losses
        self._names = names
        self._items: list[Json] = []
        self._open: list[Json] | None = None
        self._current = False

    def items(self, messages: tuple[Message, ...]) -> list[Json]:
        """All items. What comes after the assistant's last word is what is asked now."""
        last = max((i for i, m in enumerate(messages) if m.role is Role.ASSISTANT), default=-1)
        for i, message in enumerate(messages):
            self._current = i > last
            self._message(message)
        return self._items

    def _message(self, message: Message) -> None:
        self._open = None
        if message.name is not None:
            self._losses.drop(Field.NAME)
        if message.extra is not NOTHING:
            self._losses.foreign(message.extra, NAME)
        role = _USER if message.role is _RESULTS else message.role
        parts = message.parts
        if len(parts) == 1 and not self._at_home and is_bare(text := parts[0]):
            self._items.append({"type": "message", "role": role.value, "content": text.text})
            return
        for part, after in zip(parts, (*parts[1:], None), strict=False):
            match part:
                case ToolCall():
                    self._add(self._call(part))
                case ToolResult():
                    self._add(self._result(part))
                case Thinking():
                    self._thinking(part)
                case OpaquePart() if (
                    part.extra.dialect == NAME and CONTENT not in part.extra.fields
                ):
                    if role is Role.ASSISTANT:
                        self._add(dict(part.extra.fields))
                    else:
                        self._content(message, role, part, after)
                case _:
                    self._content(message, role, part, after)
        if self._at_home and not parts:
            out: Object = {"role": role.value}
            fill(out, message.extra.home(NAME))
            if BARE not in message.extra.home(NAME):
                out.setdefault("content", "")
            self._add(out)

    def _add(self, item: Object) -> None:
        self._items.append(item)
        self._open = None

    # --- messages

    def _content(self, message: Message, role: Role, part: Part, after: Part | None) -> None:
        """Into the message item that is open, or a new one."""
        home = home_of(part)
        written = self._part(part, role)
        if written is None:
            return
        if self._open is not None and ITEM not in home:
            self._open.append(written)
            return
        single = len(message.parts) == 1 or role is Role.ASSISTANT
        shape = home if role is Role.ASSISTANT else message.extra.home(NAME)
        item: Object = {"role": role.value}
        if not self._at_home:
            item = {"type": "message", **item}
        plain = isinstance(part, Text) and is_plain(part) and LISTED not in shape
        if plain and single and _ends_item(after):
            item["content"] = written["text"]
            self._open = None
        else:
            self._open = [written]
            item["content"] = self._open
        below = message.extra.home(NAME)
        if role is Role.ASSISTANT:
            below = home[ITEM] if ITEM in home else below.get(ITEM)
        fill(item, below if isinstance(below, Mapping) else {})
        self._items.append(item)

    def _part(self, part: Part, role: Role) -> Object | None:
        match part:
            case Text():
                out: Object = {"type": home_of(part).get("type", text_type(role))}
                out["text"] = part.text
                self._cache(out, part.cache)
            case Refusal():
                out = {"type": "refusal", "refusal": part.text}
            case Image() | Audio() | Document() if role is Role.ASSISTANT and not self._at_home:
                self._losses.drop(field_of(part))
                return None
            case Image():
                out = self._image(part)
            case Audio():
                out = self._audio(part)
            case Document():
                out = self._file(part)
            case OpaquePart():
                return self._opaque(part)
            case Thinking() | ToolCall() | ToolResult():
                raise self._losses.refusal(Field.RESULT, "it cannot hold calls or reasoning here")
        if part.extra is not NOTHING:
            self._losses.foreign(part.extra, NAME)
            fill(out, home_of(part))
        return out

    def _opaque(self, part: OpaquePart) -> Object | None:
        if part.extra.dialect == NAME:
            out: Object = {}
            fill(out, part.extra.fields)
            return out
        if self._current:
            why = f"a part of {kind_of(part.extra)} is known to its own provider only"
            raise self._losses.refusal(Field.CONTENT, why)
        self._losses.drop(Field.CONTENT)
        return None

    def _image(self, part: Image) -> Object:
        out: Object = {"type": "input_image"}
        if part.source.file_id is not None:
            out["file_id"] = self._file_id(part.source.file_id)
        else:
            out["image_url"] = _url(part.source)
        if part.detail is not None:
            out["detail"] = part.detail
        self._cache(out, part.cache)
        return out

    def _audio(self, part: Audio) -> Object:
        if not self._at_home:
            raise self._losses.refusal(Field.AUDIO, "its messages cannot hold audio")
        audio: Object = {"data": part.source.data}
        if part.format is not None:
            audio["format"] = part.format
        return {"type": "input_audio", "input_audio": audio}

    def _file(self, part: Document) -> Object:
        source = part.source
        out: Object = {"type": "input_file"}
        if source.file_id is not None:
            out["file_id"] = self._file_id(source.file_id)
        elif source.url is not None:
            out["file_url"] = source.url
        elif source.media_type is not None:
            out["file_data"] = data_url(source)
        else:
            out["file_data"] = source.data
        if source.name is not None:
            out["filename"] = source.name
        elif not self._at_home and source.data is not None:
            out["filename"] = "document"
        self._cache(out, part.cache)
        return out

    def _file_id(self, file_id: str) -> str:
        if not self._at_home:
            raise self._losses.refusal(Field.FILE_ID, "a file's id never leaves its provider")
        return file_id

    def _cache(self, out: Object, mark: CacheMark | None) -> None:
        if mark is None:
            return
        if not self._at_home:
            self._losses.drop(Field.CACHE)
            return
        breakpoint_: Object = {"mode": "explicit"}
        lives = [life for life, seconds in CACHE_LIFE.items() if seconds == mark.ttl]
        if lives:
            breakpoint_["ttl"] = lives[0]
        out["prompt_cache_breakpoint"] = breakpoint_

    # --- items of their own

    def _call(self, call: ToolCall) -> Object:
        if call.cache is not None:
            self._losses.drop(Field.CACHE)
        if call.extra is not NOTHING:
            self._losses.foreign(call.extra, NAME)
        if not self._at_home:
            return {
                "type": "function_call",
                "call_id": self._id(call.id),
                "name": self._names.sent(call.name),
                "arguments": call.arguments or "{}",
            }
        item = item_of(call.extra)
        kind = item.get("type", "function_call")
        member = CALLS.get(kind, "arguments") if isinstance(kind, str) else "arguments"
        out: Object = {
            "type": kind,
            "call_id": call.id,
            "name": call.name,
            member: call.arguments,
        }
        fill(out, item)
        return out

    def _id(self, call_id: str) -> str:
        return call_id if self._at_home else legal_id(call_id, _ID)

    def _result(self, result: ToolResult) -> Object:
        if result.cache is not None:
            self._losses.drop(Field.CACHE)
        if result.extra is not NOTHING:
            self._losses.foreign(result.extra, NAME)
        out: Object = {"type": "function_call_output", "call_id": self._id(result.call_id)}
        parts = list(result.parts)
        if len(parts) == 1 and not (self._at_home or result.is_error) and is_bare(parts[0]):
            out["output"] = parts[0].text
            return out
        home = result.extra.home(NAME)
        if result.is_error:
            self._losses.drop(Field.IS_ERROR)
            first = parts[0] if parts else None
            if isinstance(first, Text):
                parts[0] = Text(_ERROR + first.text, first.cache, first.extra)
            else:
                parts.insert(0, Text(_ERROR))
        if result.name is not None and self._at_home:
            out["name"] = result.name
        if "type" in home:
            out["type"] = home["type"]
        written = [self._part(part, Role.TOOL) for part in parts]
        if len(parts) == 1 and written[0] and is_plain(parts[0]) and LISTED not in home:
            out["output"] = written[0]["text"]
        elif parts:
            out["output"] = [part for part in written if part is not None]
        fill(out, home)
        out.setdefault("output", "")
        return out

    def _thinking(self, part: Thinking) -> None:
        """Home, to whom signed it; without a signature only what came in this very shape."""
        item = item_of(part.extra)
        if part.origin != NAME or not (item or part.signature):
            self._losses.drop(Field.THINKING)
            return
        out: Object = {"type": "reasoning"}
        if reasoning_text(item) != part.text:
            out["summary"] = [{"type": "summary_text", "text": part.text}]
        if part.signature is not None:
            out["encrypted_content"] = part.signature
        fill(out, item)
        if ITEM not in part.extra.home(NAME):
            out.setdefault("summary", [])
        self._add(out)


def _ends_item(after: Part | None) -> bool:
    """Whether the part that follows goes into another item."""
    match after:
        case None | ToolCall() | ToolResult() | Thinking():
            return True
        case OpaquePart() if CONTENT not in after.extra.fields:
            return True
        case _:
            return ITEM in home_of(after)


def home_of(part: Part) -> Mapping[str, Json]:
    return part.extra.home(NAME)


def item_of(extra: Extra) -> Mapping[str, Json]:
    item = extra.home(NAME).get(ITEM)
    return item if isinstance(item, dict) else {}


def _url(source: Source) -> str:
    return source.url if source.url is not None else data_url(source)
