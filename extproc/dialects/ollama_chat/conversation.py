"""The conversation of a request in Ollama's words: messages, or the one prompt of `/api/generate`.

Takes canonical messages, and asks `Losses` wherever something would get lost.
Pictures must be data; what is no text and no picture is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from extproc.dialects._extras import fill
from extproc.dialects._loss import Losses
from extproc.dialects._tools import arguments_object, names_by_id
from extproc.dialects._turns import only_text
from extproc.dialects.ollama_chat.messages import ROLE
from extproc.dialects.ollama_chat.words import INDEX, LOAD, MINTED, NAME
from extproc.model.call import Target
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
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from extproc.model.errors import Unsupported
from extproc.model.fields import Field

Object: TypeAlias = dict[str, Json]


class Conversation:
    """Writes what is said; settings are `render`'s."""

    def __init__(self, chat: Chat, target: Target, losses: Losses) -> None:
        self._chat = chat
        self._sees = target.capabilities.vision
        self._at_home = chat.dialect == NAME
        self._words = _WORDS if self._at_home else _WORDS_OF_OTHERS
        self._names = names_by_id(chat)
        self._losses = losses

    def put_messages(self, out: Object) -> None:
        last = max(
            (i for i, m in enumerate(self._chat.messages) if m.role is Role.USER), default=-1
        )
        messages: list[Json] = []
        for i, message in enumerate(self._chat.messages):
            text = only_text(message.parts)
            if text is not None and message.extra is NOTHING and message.name is None:
                messages.append({"role": self._words[message.role], "content": text})
            elif not any(_loads(part) for part in message.parts):
                messages.extend(self._message(message, current=i >= last))
        if messages or not self._at_home:
            out["messages"] = messages

    def _message(self, message: Message, current: bool) -> list[Json]:
        """One message, or one for each tool result, and the rest (with their pictures) after them."""
        if message.name is not None:
            self._losses.drop(Field.NAME)
        self._losses.foreign(message.extra, NAME)
        written: list[Json] = []
        rest: list[Part] = []
        for part in message.parts:
            if isinstance(part, ToolResult):
                pictures: list[Part] = [p for p in part.parts if not isinstance(p, Text)]
                written.append(self._result(message, part, pictures))
                if not self._at_home:
                    rest.extend(pictures)
            else:
                rest.append(part)
        if rest or not written:
            role = Role.USER if written else message.role
            written.append(self._one(role, rest, message.extra, current))
        return written

    def _one(self, role: Role, parts: list[Part], extra: Extra, current: bool) -> Json:
        home = extra.home(NAME)
        out: Object = {"role": home.get(ROLE, self._words[role])}
        calls: list[Json] = []
        thoughts: list[str] = []
        plain: list[Part] = []
        for part in parts:
            match part:
                case ToolCall():
                    calls.append(self._call(part))
                case Thinking():
                    if part.origin == NAME:
                        self._losses.foreign(part.extra, NAME)
                        thoughts.append(part.text)
                    else:
                        self._losses.drop(Field.THINKING)
                case OpaquePart() if not current:
                    self._losses.drop(Field.CONTENT)
                case _:
                    plain.append(part)
        self._content(out, plain)
        if thoughts:
            out["thinking"] = "".join(thoughts)
        if calls:
            out["tool_calls"] = calls
        fill(out, home)
        if not self._at_home:
            out.setdefault("content", "")
        return out

    def _content(self, out: Object, parts: list[Part]) -> None:
        texts: list[str] = []
        pictures: list[Json] = []
        for part in parts:
            match part:
                case Text():
                    self._told(part.cache, part.extra)
                    texts.append(part.text)
                case Refusal():
                    self._told(None, part.extra)
                    texts.append(part.text)
                case Image():
                    self._told(part.cache, part.extra)
                    pictures.append(self._image(part))
                case _:
                    raise self._refused(part)
        if texts:
            out["content"] = "\n".join(texts)
        if pictures:
            out["images"] = pictures

    def _told(self, cache: CacheMark | None, extra: Extra) -> None:
        """Names what a part loses."""
        if cache is not None:
            self._losses.drop(Field.CACHE)
        if extra is not NOTHING:
            self._losses.foreign(extra, NAME)

    def _image(self, part: Image) -> str:
        if part.detail not in (None, "auto"):
            self._losses.drop(Field.DETAIL)
        if self._sees is False and not self._at_home:
            raise self._losses.refusal(Field.IMAGE, "the model does not see")
        if part.source.file_id is not None:
            why = "a file is known only to the provider that has it"
            raise self._losses.refusal(Field.FILE_ID, why)
        if part.source.data is None:
            why = "pictures must be sent as data; their addresses are not fetched"
            raise self._losses.refusal(Field.IMAGE, why)
        return part.source.data

    def _refused(self, part: Part) -> Unsupported:
        match part:
            case Audio():
                return self._losses.refusal(Field.AUDIO, "it does not hear")
            case Document():
                return self._losses.refusal(Field.DOCUMENT, "it does not read documents")
            case _:
                why = "a part of it is known to one provider only"
                return self._losses.refusal(Field.CONTENT, why)

    def _call(self, call: ToolCall) -> Json:
        self._told(call.cache, call.extra)
        extra = call.extra.home(NAME)
        function: Object = {"name": call.name}
        if INDEX in extra:
            function["index"] = extra[INDEX]
        if call.arguments or not self._at_home:
            function["arguments"] = arguments_object(call)
        out: Object = {"function": function}
        if call.id and MINTED not in extra:
            out = {"id": call.id, "function": function}
        fill(out, extra)
        return out

    def _result(self, message: Message, result: ToolResult, pictures: list[Part]) -> Json:
        home = message.extra.home(NAME)
        self._told(result.cache, result.extra)
        out: Object = {"role": home.get(ROLE, "tool")}
        name = result.name
        if not self._at_home:
            name = name or self._names.get(result.call_id)
        if name is not None:
            out["tool_name"] = name
        if result.call_id and MINTED not in home:
            out["tool_call_id"] = result.call_id
        parts = [part for part in result.parts if isinstance(part, Text)]
        if result.is_error:
            self._losses.drop(Field.IS_ERROR)
            first = parts[0].text if parts else ""
            parts[:1] = [Text("ERROR: " + first)]
        if pictures and not self._at_home:
            self._losses.drop(Field.RESULT_MEDIA)
        self._content(out, [*parts, *(pictures if self._at_home else [])])
        fill(out, home)
        if not self._at_home:
            out.setdefault("content", "")
        return out

    def put_prompt(self, out: Object) -> None:
        """One prompt again; what a stage added is said in its own words, system texts apart."""
        system: list[str] = []
        asked: list[Part] = []
        for message in self._chat.messages:
            if message.role in (Role.SYSTEM, Role.DEVELOPER):
                system.extend(part.text for part in message.parts if isinstance(part, Text))
                continue
            if message.role is not Role.USER:
                raise Unsupported("/api/generate takes one prompt, and no conversation")
            for part in message.parts:
                if isinstance(part, OpaquePart):
                    fill(out, part.extra.home(NAME))
                else:
                    asked.append(part)
        if system:
            out["system"] = "\n\n".join(system)
        said: Object = {}
        self._content(said, asked)
        if "content" in said:
            out["prompt"] = said["content"]
        if "images" in said:
            out["images"] = said["images"]


_WORDS: Mapping[Role, str] = {role: role.value for role in Role}
_WORDS_OF_OTHERS: Mapping[Role, str] = {**_WORDS, Role.DEVELOPER: "system"}


def _loads(part: Part) -> bool:
    return isinstance(part, OpaquePart) and LOAD in part.extra.home(NAME)
