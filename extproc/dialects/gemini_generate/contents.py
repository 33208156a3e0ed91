"""Gemini's contents: their JSON to canonical messages and parts.

Takes the values of `systemInstruction` and `contents` in camel case; gives
`Message`s whose `extra` fills gaps. A signature that stands on a call or a text
becomes reasoning without text before it, so that it can travel through any
model of a conversation. Calls without ids get one, and results find their call
by name and order. Raises `InvalidRequest` with the path of what is wrong.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from typing import TypeAlias

from extproc.codec import jsontext
from extproc.dialects import _reading as read
from extproc.dialects._extras import CARRIED
from extproc.dialects._media import format_of
from extproc.dialects._tools import arguments_text, minted_id
from extproc.dialects.gemini_generate.words import (
    CALL_PARTS,
    DATA,
    FORM,
    NAME,
    NO_ID,
    ONE,
    marked,
    residue,
    standard,
    unpack,
)
from extproc.model.chat import (
    NOTHING,
    Audio,
    Document,
    Extra,
    Image,
    Json,
    Message,
    OpaquePart,
    Part,
    Role,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

Object: TypeAlias = dict[str, Json]

_ROLES = {"user": Role.USER, "model": Role.ASSISTANT, "function": Role.TOOL}


def parse_contents(x: Object) -> tuple[Message, ...]:
    """The system's message, if there is one, and the turns. `contents` must be there."""
    messages: list[Message] = []
    reader = _Reader()
    system = x.get("systemInstruction")
    if system is not None:
        messages.append(reader.message(system, "systemInstruction", 0, Role.SYSTEM))
    if x.get("contents") is None:
        raise read.missing("contents")
    for i, item in enumerate(listed(x["contents"])):
        messages.append(reader.turn(item, i))
    return tuple(messages)


def listed(value: Json) -> list[Json]:
    """A list; the API also takes one object where a list belongs."""
    return value if isinstance(value, list) else [value]


class _Reader:
    """Reads one conversation, and remembers which calls wait for their results."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: defaultdict[str, deque[str]] = defaultdict(deque)

    def turn(self, item: Json, at: int) -> Message:
        if isinstance(item, dict) and len(item) == 2:
            word, parts = item.get("role"), item.get("parts")
            if isinstance(parts, list) and isinstance(word, str) and word in _ROLES:
                return Message(_ROLES[word], self._parts(parts, at))
        return self.message(item, f"contents[{at}]", at)

    def message(self, item: Json, path: str, at: int, role: Role | None = None) -> Message:
        x = read.expect_object(item, path)
        value = x.get("parts")
        word = x.get("role")
        if role is not None and len(x) == 1 and isinstance(value, list):
            return Message(role, self._parts(value, at, path))
        word = read.optional_string(word, path + ".role")
        known = ["parts"]
        if role is None:
            role = _ROLES.get(word or "user", Role.USER)
            known += ["role"] if word in _ROLES else []
        extra = residue(x, known)
        if word is None and role is Role.USER:
            extra = marked(extra, FORM, "no role")
        elif word is not None and role is Role.SYSTEM:
            # Google's SDK calls the system a user.
            extra = marked(extra, CARRIED, ["role"])
        if not isinstance(value, list):
            extra = marked(extra, ONE, "absent" if value is None else "parts")
        items = [] if value is None else listed(value)
        return Message(role, self._parts(items, at, path), extra=extra)

    def _parts(self, items: list[Json], at: int, path: str = "") -> tuple[Part, ...]:
        """`path` is empty for the parts of `contents[at]`."""
        parts: list[Part] = []
        for i, item in enumerate(items):
            if isinstance(item, dict) and len(item) == 1:
                text = item.get("text")
                part = Text(text) if isinstance(text, str) else self._usual(item)
                if part is not None:
                    parts.append(part)
                    continue
            where = f"{path or f'contents[{at}]'}.parts[{i}]"
            self._part(read.expect_object(item, where), where, (at, i), parts)
        return tuple(parts)

    def _usual(self, x: Object) -> Part | None:
        """A call or a result of a form that most have, at once; None for one that must be looked at."""
        call, result = x.get("functionCall"), x.get("functionResponse")
        shape = result if call is None else call
        if not isinstance(shape, dict) or len(shape) != 3:
            return None
        call_id, name = shape.get("id"), shape.get("name")
        if not isinstance(call_id, str) or not isinstance(name, str) or not call_id:
            return None
        waiting = self._waiting[name]
        if call is not None:
            args = shape.get("args")
            if isinstance(args, dict):
                waiting.append(call_id)
                return ToolCall(call_id, name, arguments_text(args))
        elif call_id in waiting:
            text = usual_text(shape.get("response"))
            if text:
                waiting.remove(call_id)
                return ToolResult(call_id, (Text(text),), name)
        return None

    def _part(self, x: Object, path: str, at: tuple[int, int], out: list[Part]) -> None:
        if isinstance(x.get("functionCall"), dict):
            _signature(x, out)
            out.append(self._call(x, path, at))
        elif isinstance(x.get("functionResponse"), dict):
            out.append(self._result(x, path, at))
        elif isinstance(x.get("text"), str):
            _text(x, out)
        else:
            out.append(media(x, path))

    def _call(self, x: Object, path: str, at: tuple[int, int]) -> ToolCall:
        path += ".functionCall"
        call = read.expect_object(x["functionCall"], path)
        name = read.expect_string(call.get("name"), path + ".name")
        given = read.optional_string(call.get("id"), path + ".id")
        args = call.get("args")
        arguments = "" if args is None else arguments_text(read.expect_object(args, path + ".args"))
        known = ("name", "args", "id") if given else ("name", "args")
        extra = residue(x, ("thoughtSignature",), {"functionCall": known})
        call_id = given or minted_id(NAME, *at, name)
        if not given:
            extra = marked(extra, NO_ID, True)
        self._waiting[name].append(call_id)
        return ToolCall(call_id, name, arguments, extra=extra)

    def _result(self, x: Object, path: str, at: tuple[int, int]) -> ToolResult:
        path += ".functionResponse"
        result = read.expect_object(x["functionResponse"], path)
        name = read.optional_string(result.get("name"), path + ".name")
        given = read.optional_string(result.get("id"), path + ".id")
        response = result.get("response")
        waiting = self._waiting.get(name or "")
        known = ("name", "response", "parts")
        if given and (not waiting or given in waiting):
            call_id = given
            known = ("name", "response", "parts", "id")
            if waiting:
                waiting.remove(given)
        else:
            call_id = waiting.popleft() if waiting else minted_id(NAME, *at, name or "")
        rest: Object = dict(residue(x, (), {"functionResponse": known}).fields)
        if "id" not in known:
            rest[NO_ID] = True
        if response is not None:
            rest[CALL_PARTS] = read.expect_object(response, path + ".response")
        text, is_error = answer_of(response)
        parts: list[Part] = [Text(text)] if text else []
        if result.get("parts") is not None:
            for i, item in enumerate(listed(result["parts"])):
                where = f"{path}.parts[{i}]"
                parts.append(media(read.expect_object(item, where), where))
        extra = Extra(NAME, rest) if rest else NOTHING
        return ToolResult(call_id, tuple(parts), name, is_error, extra=extra)


def usual_text(response: Json) -> str:
    """The text of a `response` that we should write again just so; empty for any other."""
    text = response.get("output") if isinstance(response, dict) and len(response) == 1 else None
    return text if isinstance(text, str) and text.lstrip()[:1] != "{" else ""


def answer_of(response: Json) -> tuple[str, bool]:
    """The text of a result's `response`, and whether it is an error.

    `output` and `error` are the API's own words for a result that is no object.
    """
    if not isinstance(response, dict) or not response:
        return "", False
    if len(response) == 1:
        for word in ("output", "error"):
            if word in response:
                value = response[word]
                text = value if isinstance(value, str) else jsontext.dumps(value).decode()
                return text, word == "error"
    return jsontext.dumps(response).decode(), False


# --- parts ----------------------------------------------------------------------------------


def _text(x: Object, out: list[Part]) -> None:
    text = x["text"]
    assert isinstance(text, str)
    signature = x.get("thoughtSignature")
    signed = isinstance(signature, str)
    if x.get("thought") is True:
        known = ("text", "thought", "thoughtSignature") if signed else ("text", "thought")
        extra = residue(x, known)
        _thought(text, signature if isinstance(signature, str) else None, extra, out)
    elif signed and not text:
        extra = residue(x, ("text", "thoughtSignature"))
        out.append(_signed(str(signature), marked(extra, FORM, "own")))
    else:
        _signature(x, out)
        out.append(
            Text(text, extra=residue(x, ("text", "thoughtSignature") if signed else ("text",)))
        )


def _thought(text: str, signature: str | None, extra: Extra, out: list[Part]) -> None:
    if not text:
        extra = marked(extra, FORM, "thought")
    if signature is None:
        out.append(Thinking(text, origin=NAME, extra=extra))
        return
    value, origin, redacted = unpack(signature)
    if origin == NAME:
        out.append(Thinking(text, value, origin=NAME, extra=extra))
    elif redacted:
        out.append(Thinking(redacted=value, origin=origin))
    elif origin:
        # What the other provider said came in pieces; its signature is for all of them.
        pieces = [text]
        while out and _is_unsigned(out[-1]):
            piece = out.pop()
            pieces.append(piece.text if isinstance(piece, Thinking) else "")
        out.append(Thinking("".join(reversed(pieces)), value, origin=origin))


def _is_unsigned(part: Part) -> bool:
    return isinstance(part, Thinking) and part.signature is None and part.redacted is None


def _signature(x: Object, out: list[Part]) -> None:
    """The signature of the part that follows."""
    signature = x.get("thoughtSignature")
    if isinstance(signature, str):
        out.append(_signed(signature, NOTHING))


def _signed(signature: str, extra: Extra) -> Thinking:
    value, origin, redacted = unpack(signature)
    if redacted:
        return Thinking(redacted=value, origin=origin)
    return Thinking("", value, origin=origin, extra=extra)


def media(x: Object, path: str) -> Part:
    """Picture, sound or document; what is none of them, or a film, only this dialect knows."""
    inline, file = x.get("inlineData"), x.get("fileData")
    if isinstance(inline, dict) and isinstance(inline.get("data"), str):
        kind = read.optional_string(inline.get("mimeType"), path + ".inlineData.mimeType")
        data = str(inline["data"])
        extra = residue(x, (), {"inlineData": ("data", "mimeType")})
        if "-" in data or "_" in data:
            extra = marked(extra, DATA, "url")
            data = standard(data)
        part = _medium(Source(data=data, media_type=kind), kind, extra)
    elif isinstance(file, dict) and isinstance(file.get("fileUri"), str):
        kind = read.optional_string(file.get("mimeType"), path + ".fileData.mimeType")
        extra = residue(x, (), {"fileData": ("fileUri", "mimeType")})
        part = _medium(_file(str(file["fileUri"]), kind), kind, extra)
    else:
        part = None
    return OpaquePart(Extra(NAME, x)) if part is None else part


_FILMS = ("https://www.youtube.com/", "https://youtube.com/", "https://m.youtube.com/")


def _medium(source: Source, kind: str | None, extra: Extra) -> Part | None:
    family = (kind or "").partition("/")[0]
    if family == "video" or (source.url or "").startswith((*_FILMS, "https://youtu.be/")):
        return None
    match family:
        case "image":
            return Image(source, extra=extra)
        case "audio":
            return Audio(source, format_of(kind), extra=extra)
        case _:
            return Document(source, extra=extra)


def _file(uri: str, kind: str | None) -> Source:
    """Files that Google keeps are known to Google alone."""
    google = uri.startswith(("gs://", "https://generativelanguage.googleapis.com/", "files/"))
    if google or not uri.startswith(("http://", "https://")):
        return Source(file_id=uri, media_type=kind)
    return Source(url=uri, media_type=kind)


def home_of(extra: Extra) -> Mapping[str, Json]:
    return extra.home(NAME)
