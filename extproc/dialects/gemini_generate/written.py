"""Canonical messages to Gemini's contents, home or from another language.

Home, each message is one content again. From elsewhere, turns are taken, results
stand in the order of their calls, and signatures of others are left out; models
that insist on signatures get the documented dummy where there is none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias
from urllib.parse import urlsplit

from extproc.codec import jsontext
from extproc.dialects._extras import fill
from extproc.dialects._loss import Losses
from extproc.dialects._media import type_of
from extproc.dialects._tools import Names, arguments_object, calls_of, result_text
from extproc.dialects._turns import FOLDED, Speaker, only_text, turns
from extproc.dialects.gemini_generate.contents import answer_of, home_of
from extproc.dialects.gemini_generate.words import (
    CALL_PARTS,
    DATA,
    FORM,
    NAME,
    NO_ID,
    ONE,
    for_urls,
    is_gen_3,
)
from extproc.model.call import Target
from extproc.model.chat import (
    NOTHING,
    Audio,
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

_MODEL = Speaker.ASSISTANT
DUMMY = "skip_thought_signature_validator"
"""what Google documents for calls that another model made"""

_LEGAL = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_BAD = re.compile(r"[^A-Za-z0-9_-]|^[^A-Za-z_]")


class Contents:
    """Writes the contents of one request. `names` are its tools' names as they leave."""

    def __init__(self, chat: Chat, target: Target, losses: Losses) -> None:
        self._chat = chat
        self._losses = losses
        self._gen_3 = is_gen_3(target.model)
        self._order = {call.id: (at, call.name) for at, call in enumerate(calls_of(chat))}
        self._at_home = chat.dialect == NAME
        self._current = False
        self.names = Names(_LEGAL, _BAD, 64)

    def write(self, out: Object) -> None:
        """Puts `systemInstruction` and `contents` into `out`."""
        if self._at_home:
            self._home(out)
        else:
            self._foreign(out)

    # --- home

    def _home(self, out: Object) -> None:
        contents: list[Json] = []
        system: Object | None = None
        for message in self._chat.messages:
            if message.role not in (Role.SYSTEM, Role.DEVELOPER):
                contents.append(self._content(message))
            elif system is None:
                out["systemInstruction"] = system = self._content(message)
            else:
                more = self._parts(message.parts)
                known = system.get("parts")
                system["parts"] = [*(known if isinstance(known, list) else []), *more]
        out["contents"] = contents

    def _content(self, message: Message) -> Object:
        extra = home_of(message.extra)
        out: Object = {}
        model = message.role is Role.ASSISTANT
        if message.role is Role.TOOL:
            out["role"] = "function"
        elif "role" not in extra and FORM not in extra:
            out["role"] = "model" if model else "user"
        parts = self._parts(message.parts)
        if model and any(_is_foreign(part) for part in message.parts):
            self._sign(parts)
        shape = extra.get(ONE)
        if parts or shape is None:
            out["parts"] = parts[0] if shape == "parts" and len(parts) == 1 else parts
        fill(out, extra)
        if message.role in (Role.SYSTEM, Role.DEVELOPER) and "role" not in extra:
            out.pop("role", None)
        return out

    # --- from another language

    def _foreign(self, out: Object) -> None:
        taken = turns(self._chat, self._losses)
        for message in self._chat.messages:
            if message.name is not None:
                self._losses.drop(Field.NAME)
            if message.extra is not NOTHING:
                self._losses.foreign(message.extra, NAME)
        system: list[Part] = list(taken.system)
        contents: list[Json] = []
        if system and not taken.turns:
            # A request needs something that a user said.
            self._losses.drop(FOLDED)
            contents.append({"role": "user", "parts": self._parts(system)})
        elif system:
            out["systemInstruction"] = {"parts": self._parts(system)}
        for turn in taken.turns:
            self._current = turn is taken.turns[-1]
            model = turn.speaker is _MODEL
            ordered = model or len(turn.parts) == 1
            parts = self._parts(turn.parts if ordered else self._in_order(turn.parts))
            if model:
                self._sign(parts)
            if parts:
                contents.append({"role": "model" if model else "user", "parts": parts})
        out["contents"] = contents

    def _in_order(self, parts: Sequence[Part]) -> list[Part]:
        """Results as their calls were; they stand before all else already."""

        def place(part: Part) -> int:
            if not isinstance(part, ToolResult):
                return len(self._order)
            return self._order.get(part.call_id, (0, ""))[0]

        return sorted(parts, key=place)

    def _sign(self, parts: list[Json]) -> None:
        """The first call of each step must be signed, for models that insist."""
        if not self._gen_3:
            return
        for part in parts:
            if isinstance(part, dict) and "functionCall" in part:
                part.setdefault("thoughtSignature", DUMMY)
                return

    # --- parts

    def _parts(self, parts: Sequence[Part]) -> list[Json]:
        text = only_text(parts)
        if text is not None:
            return [{"text": text}]
        out: list[Json] = []
        signature: str | None = None
        for part in parts:
            if isinstance(part, Thinking):
                if signature is not None:
                    out.append({"text": "", "thoughtSignature": signature})
                signature = self._thinking(part, out)
                continue
            written = self._part(part)
            if written is None:
                continue
            if signature is not None:
                if isinstance(part, Text | ToolCall):
                    written["thoughtSignature"] = signature
                else:
                    out.append({"text": "", "thoughtSignature": signature})
                signature = None
            out.append(written)
            if isinstance(part, ToolResult) and not self._at_home:
                out.extend(self._beside(part))
        if signature is not None:
            out.append({"text": "", "thoughtSignature": signature})
        return out

    def _thinking(self, part: Thinking, out: list[Json]) -> str | None:
        """Writes what stands by itself; gives the signature that belongs to the part that follows."""
        if part.origin != NAME:
            self._losses.drop(Field.THINKING)
            return None
        self._losses.foreign(part.extra, NAME)
        extra = home_of(part.extra)
        form = extra.get(FORM)
        if not part.text and form is None:
            return part.signature
        if part.text and not self._at_home and part.signature is None:
            self._losses.drop(Field.THINKING)
            return None
        shape: Object = {"text": part.text}
        if form != "own":
            shape["thought"] = True
        if part.signature is not None:
            shape["thoughtSignature"] = part.signature
        fill(shape, extra)
        out.append(shape)
        return None

    def _part(self, part: Part) -> Object | None:
        match part:
            case Text() | Refusal():
                out: Object = {"text": part.text}
            case ToolCall():
                out = {"functionCall": self._call(part)}
            case ToolResult():
                out = {"functionResponse": self._result(part)}
            case Image():
                if part.detail not in (None, "auto"):
                    self._losses.drop(Field.DETAIL)
                out = self._medium(part.source, "image/jpeg", home_of(part.extra).get(DATA))
            case Audio():
                kind = type_of(part.format or "wav") or "audio/wav"
                out = self._medium(part.source, kind, home_of(part.extra).get(DATA))
            case Document():
                out = self._medium(part.source, "application/pdf", home_of(part.extra).get(DATA))
            case OpaquePart():
                return self._opaque(part)
            case Thinking():
                return None
        self._told(part)
        fill(out, home_of(part.extra))
        return out

    def _told(self, part: Part) -> None:
        """Names what a part loses."""
        if isinstance(part, Text | Image | Document | ToolCall | ToolResult) and part.cache:
            self._losses.drop(Field.CACHE)
        self._losses.foreign(part.extra, NAME)

    def _opaque(self, part: OpaquePart) -> Object | None:
        if part.extra.dialect == NAME:
            return dict(part.extra.fields)
        if self._current:
            raise self._losses.refusal(Field.CONTENT, "a part of it only another provider knows")
        self._losses.drop(Field.CONTENT)
        return None

    def _call(self, call: ToolCall) -> Object:
        extra = home_of(call.extra)
        out: Object = {"name": self._name(call.name)}
        if call.arguments or not self._at_home:
            out["args"] = arguments_object(call)
        if call.id and NO_ID not in extra:
            out["id"] = call.id
        return out

    def _name(self, name: str) -> str:
        return name if self._at_home else self.names.sent(name)

    def _result(self, result: ToolResult) -> Object:
        extra = home_of(result.extra)
        out: Object = {}
        name = result.name
        if not self._at_home:
            name = self.names.sent(self._order.get(result.call_id, (0, name or "tool"))[1])
        if name is not None:
            out["name"] = name
        if result.call_id and NO_ID not in extra:
            out["id"] = result.call_id
        for part in result.parts:
            if isinstance(part, Text):
                self._told(part)
        text = result_text(result)
        response = extra.get(CALL_PARTS)
        if not isinstance(response, dict) or answer_of(response) != (text, result.is_error):
            response = _response(text, is_error=result.is_error)
        if response or CALL_PARTS in extra or not self._at_home:
            out["response"] = response
        others = [part for part in result.parts if not isinstance(part, Text)]
        if others and (self._at_home or self._gen_3):
            out["parts"] = [written for one in others if (written := self._part(one)) is not None]
        return out

    def _beside(self, result: ToolResult) -> list[Json]:
        """What models before the third generation cannot have within a result."""
        others = [part for part in result.parts if not isinstance(part, Text)]
        if not others or self._gen_3:
            return []
        self._losses.drop(Field.RESULT_MEDIA)
        return [written for one in others if (written := self._part(one)) is not None]

    def _medium(self, source: Source, default: str, data_form: Json) -> Object:
        kind = source.media_type
        if source.data is not None:
            data = for_urls(source.data) if data_form == "url" else source.data
            inline: Object = {"data": data}
            if kind is not None or not self._at_home:
                inline["mimeType"] = kind or default
            return {"inlineData": inline}
        if source.file_id is not None and not self._at_home:
            why = "a file is known only to the provider that has it"
            raise self._losses.refusal(Field.FILE_ID, why)
        file: Object = {"fileUri": source.url or source.file_id}
        if kind is not None or not self._at_home:
            file["mimeType"] = kind or _type_of_url(source.url) or default
        return {"fileData": file}


def _type_of_url(url: str | None) -> str | None:
    """By the end of its name, since a type must be said and nothing is fetched."""
    try:
        ending = urlsplit(url or "").path.rpartition(".")[2].lower()
    except ValueError:
        return None
    return type_of("jpeg" if ending == "jpg" else ending)


def _is_foreign(part: Part) -> bool:
    return isinstance(part, Thinking) and part.origin != NAME


def _response(text: str, *, is_error: bool) -> Json:
    """The object that a result must be: objects as they are, all else under a word of the API."""
    if is_error:
        return {"error": text}
    if text.lstrip()[:1] != "{":
        return {"output": text}
    try:
        value = jsontext.loads(text.encode("utf-8", "surrogatepass"))
    except jsontext.BadJson:
        return {"output": text}
    return value if isinstance(value, dict) else {"output": text}
