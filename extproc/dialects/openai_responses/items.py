"""OpenAI Responses input items: their JSON to canonical messages and parts.

Takes the value of `input`; gives `Message`s. Items of the model (its messages,
reasoning, calls, server tools) that follow each other are one message of the
assistant; the first part of each remembers its item. What only this dialect
knows is an `OpaquePart`. Raises `InvalidRequest` with the path of what is wrong.
It reads only; `written` writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from extproc.dialects import _reading as read
from extproc.dialects._media import data_url, source_of
from extproc.dialects.openai_responses.carried import unsealed
from extproc.dialects.openai_responses.words import (
    BARE,
    BREAK,
    CALLS,
    CONTENT,
    ITEM,
    LISTED,
    NAME,
    residue,
)
from extproc.model.chat import (
    NOTHING,
    Audio,
    CacheMark,
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
from extproc.model.errors import InvalidRequest

Object: TypeAlias = dict[str, Json]

CACHE_LIFE = {"30m": 1800, "12h": 43200}
"""the lives of a prompt cache breakpoint, in seconds"""
BOUND_ITEMS = frozenset({"item_reference", "compaction", "compaction_trigger", "additional_tools"})
"""items that stand for more than themselves, and only at home"""
_HOUSEHOLD = frozenset({"id", "status", "type"})
"""members of an item that say which one it is"""
_OUTPUTS: Mapping[str, str] = {f"{kind}_output": kind for kind in CALLS}
_ROLES = {role.value: role for role in (Role.USER, Role.SYSTEM, Role.DEVELOPER, Role.ASSISTANT)}


def parse_items(value: Json) -> tuple[tuple[Message, ...], bool, tuple[str, ...]]:
    """The messages; whether foreign reasoning is among them; names of items that must stay home."""
    if isinstance(value, str):
        return (Message(Role.USER, (Text(value),) if value else ()),), False, ()
    reader = _Reader()
    for i, item in enumerate(read.expect_list(value, "input")):
        if not (isinstance(item, dict) and reader.usual(item)):
            reader.item(read.expect_object(item, f"input[{i}]"), f"input[{i}]")
    reader.flush()
    return tuple(reader.messages), reader.foreign, tuple(dict.fromkeys(reader.bound))


class _Reader:
    """Reads one input; `_turn` are the parts of the assistant's turn that is being gathered.

    `_beside` is what its items say beside their content: at home the items themselves have
    it, and to all others it is a loss. Its `ITEM` is that of a text that begins the turn and
    remembers none.
    """

    __slots__ = ("_beside", "_turn", "bound", "foreign", "messages")

    def __init__(self) -> None:
        self._turn: list[Part] = []
        self._beside: Object = {}
        self.messages: list[Message] = []
        self.foreign = False
        self.bound: list[str] = []

    def flush(self) -> None:
        if self._turn:
            extra = Extra(NAME, self._beside) if self._beside else NOTHING
            self.messages.append(Message(Role.ASSISTANT, tuple(self._turn), None, extra))
            self._turn, self._beside = [], {}

    def item(self, x: Object, path: str) -> None:
        kind = x.get("type", "message")
        if kind in ("message", None):
            self._message(x, path)
        elif not isinstance(kind, str):
            raise read.type_error(kind, path + ".type", "a string")
        elif kind in CALLS:
            call = _call(x, kind, path)
            self._keep(call.extra.fields.get(ITEM))
            self._turn.append(call)
        elif kind in _OUTPUTS and x.get("call_id") is not None:
            self.flush()
            self.messages.append(Message(Role.TOOL, (_result(x, kind, path),)))
        elif kind == "reasoning":
            thinking = _thinking(x, path)
            self.foreign = self.foreign or thinking.origin != NAME
            self._turn.append(thinking)
        else:
            if kind in BOUND_ITEMS:
                self.bound.append(kind)
            self._turn.append(OpaquePart(Extra(NAME, x)))

    def usual(self, x: Object) -> bool:
        """Reads a text, a call or its result, and nothing beside it, as most are; false for any other."""
        kind, content = x.get("type"), x.get("content")
        if isinstance(content, str):
            word = x.get("role")
            role = _ROLES.get(word) if isinstance(word, str) else None
            typed = kind == "message"
            if role is None or not content or len(x) != 2 + typed:
                return False
            if role is not _MODEL:
                if self._turn:
                    self.flush()
                extra = _TYPED if typed else NOTHING
                self.messages.append(Message(role, (Text(content),), None, extra))
            elif self._turn:
                self._turn.append(Text(content, None, _TYPED_ITEM if typed else _ITEM))
            else:
                self._turn.append(Text(content))
                if typed:
                    self._beside[ITEM] = {"type": "message"}
            return True
        call_id, output = x.get("call_id"), x.get("output")
        if not isinstance(call_id, str):
            return False
        if kind == "function_call" and len(x) == 4:
            name, arguments = x.get("name"), x.get("arguments")
            if isinstance(name, str) and isinstance(arguments, str):
                self._turn.append(ToolCall(call_id, name, arguments))
                return True
        elif kind == "function_call_output" and len(x) == 3 and isinstance(output, str) and output:
            if self._turn:
                self.flush()
            self.messages.append(Message(_RESULTS, (ToolResult(call_id, (Text(output),)),)))
            return True
        return False

    def _keep(self, item: Json) -> None:
        if isinstance(item, dict) and not item.keys() <= _HOUSEHOLD:
            self._beside.update({n: v for n, v in item.items() if n not in _HOUSEHOLD})

    def _message(self, x: Object, path: str) -> None:
        if "role" not in x:
            raise read.missing(path + ".role")
        word = read.expect_string(x["role"], path + ".role")
        role = _ROLES.get(word)
        if role is None:
            message = f"{path}.role must be one of {', '.join(_ROLES)}, got {word[:64]!r}"
            raise InvalidRequest(message, param=path + ".role", code="invalid_value")
        content = x.get("content")
        if len(x) == 2 and isinstance(content, str) and content and role is not Role.ASSISTANT:
            self.flush()
            self.messages.append(Message(role, (Text(content),)))
            return
        shape: Object = {}
        parts = _content(content, path + ".content", role, shape)
        known = ("role", "content") if parts else ("role",)
        item = dict(residue(x, known).fields)
        if "content" not in x:
            shape[BARE] = True
        if role is not Role.ASSISTANT:
            self.flush()
            fields = {**item, **shape}
            self.messages.append(
                Message(role, parts, extra=Extra(NAME, fields) if fields else NOTHING)
            )
        elif parts:
            self._keep(item)
            first, *more = parts
            self._turn += (_with(first, {ITEM: item, **shape}), *more)
        else:
            self._turn.append(OpaquePart(Extra(NAME, x)))


_MODEL, _RESULTS = Role.ASSISTANT, Role.TOOL
_TYPED = Extra(NAME, {"type": "message"})
_ITEM = Extra(NAME, {ITEM: {}})
_TYPED_ITEM = Extra(NAME, {ITEM: {"type": "message"}})


def _with(part: Part, fields: Object) -> Part:
    """The part with more in its extra."""
    extra = Extra(NAME, {**fields, **part.extra.fields})
    match part:
        case Text():
            return Text(part.text, part.cache, extra)
        case Refusal():
            return Refusal(part.text, extra)
        case Image():
            return Image(part.source, part.detail, part.cache, extra)
        case Audio():
            return Audio(part.source, part.format, extra)
        case Document():
            return Document(part.source, part.cache, extra)
        case _:
            return OpaquePart(extra)


# --- items ----------------------------------------------------------------------------------


def _call(x: Object, kind: str, path: str) -> ToolCall:
    member = CALLS[kind]
    call_id = _string(x, "call_id", path)
    name = _string(x, "name", path)
    known = ("call_id", "name", member, *(("type",) if kind == "function_call" else ()))
    item = residue(x, known)
    extra = Extra(NAME, {ITEM: dict(item.fields)}) if item.fields else NOTHING
    return ToolCall(call_id, name, _string(x, member, path), extra=extra)


_RESULT = ("call_id", "name")


def _result(x: Object, kind: str, path: str) -> ToolResult:
    call_id = _string(x, "call_id", path)
    if "output" not in x:
        raise read.missing(path + ".output")
    shape: Object = {}
    parts = _content(x["output"], path + ".output", Role.TOOL, shape)
    name = read.optional_string(x.get("name"), path + ".name")
    known = (*_RESULT, "output") if parts else _RESULT
    fields = {**residue(x, known).fields, **shape}
    if kind == "function_call_output":
        del fields["type"]
    extra = Extra(NAME, fields) if fields else NOTHING
    return ToolResult(call_id, parts, name=name, extra=extra)


def _thinking(x: Object, path: str) -> Thinking:
    sealed = read.optional_string(x.get("encrypted_content"), path + ".encrypted_content")
    known = ("type",) if sealed is None else ("type", "encrypted_content")
    text = reasoning_text(x)
    extra = Extra(NAME, {ITEM: dict(residue(x, known).fields)})
    if sealed is None:
        return Thinking(text, origin=NAME, extra=extra)
    signature, redacted, origin = unsealed(sealed)
    return Thinking(text, signature, redacted, origin, extra)


def reasoning_text(item: Mapping[str, Json]) -> str:
    """What an item of reasoning says: its summary, or else its content."""
    for member in ("summary", "content"):
        parts = item.get(member)
        if isinstance(parts, list) and parts:
            return BREAK.join(text_of(part) for part in parts)
    return ""


def text_of(part: Json) -> str:
    text = part.get("text") if isinstance(part, dict) else None
    return text if isinstance(text, str) else ""


# --- content --------------------------------------------------------------------------------


def _content(content: Json, path: str, role: Role, shape: Object) -> tuple[Part, ...]:
    """The parts; what they cannot tell of the content's form goes to `shape`."""
    if isinstance(content, str):
        return (Text(content),) if content else ()
    if isinstance(content, list):
        parts = tuple(_part_of(item, f"{path}[{i}]", role) for i, item in enumerate(content))
        if len(parts) == 1 and is_plain(parts[0]):
            shape[LISTED] = True
        return parts
    if content is not None:
        raise read.type_error(content, path, "a string or an array of parts")
    return ()


def is_plain(part: Part) -> bool:
    """Whether the part can be written as a mere string, but for what it remembers of its item."""
    if not isinstance(part, Text) or part.cache is not None:
        return False
    return not part.extra.home(NAME).keys() - {ITEM, LISTED}


def text_type(role: Role) -> str:
    return "output_text" if role is Role.ASSISTANT else "input_text"


def _part_of(value: Json, path: str, role: Role) -> Part:
    part = _part(value, path, role)
    if role is Role.ASSISTANT and isinstance(part, OpaquePart):
        return OpaquePart(Extra(NAME, {CONTENT: True, **part.extra.fields}))
    return part


def _part(value: Json, path: str, role: Role) -> Part:
    x = read.expect_object(value, path)
    if "type" not in x:
        raise read.missing(path + ".type")
    match read.expect_string(x["type"], path + ".type"):
        case "input_text" | "output_text" | "text" as kind:
            cache = _cache(x)
            plain = ("type",) if kind == text_type(role) else ()
            return Text(
                _string(x, "text", path), cache, residue(x, ("text", *plain, *_marked(cache)))
            )
        case "input_image":
            return _image(x, path)
        case "input_file":
            return _file(x, path)
        case "input_audio":
            return _audio(x, path)
        case "refusal":
            return Refusal(_string(x, "refusal", path), residue(x, ("type", "refusal")))
        case _:
            return OpaquePart(Extra(NAME, x))


def _string(x: Object, name: str, path: str) -> str:
    if name not in x:
        raise read.missing(f"{path}.{name}")
    return read.expect_string(x[name], f"{path}.{name}")


def _cache(x: Object) -> CacheMark | None:
    mark = x.get("prompt_cache_breakpoint")
    if not isinstance(mark, dict) or mark.get("mode") != "explicit":
        return None
    if len(mark) == 1:
        return CacheMark()
    life = mark.get("ttl")
    known = len(mark) == 2 and isinstance(life, str) and life in CACHE_LIFE
    return CacheMark(CACHE_LIFE[life]) if known and isinstance(life, str) else None


def _marked(cache: CacheMark | None) -> tuple[str, ...]:
    return () if cache is None else ("prompt_cache_breakpoint",)


def _image(x: Object, path: str) -> Part:
    url = read.optional_string(x.get("image_url"), path + ".image_url")
    file_id = read.optional_string(x.get("file_id"), path + ".file_id")
    detail = read.optional_string(x.get("detail"), path + ".detail")
    if (url is None) == (file_id is None):
        return OpaquePart(Extra(NAME, x))
    source = Source(file_id=file_id) if url is None else _media(url)
    cache = _cache(x)
    known = ("type", "image_url", "file_id", "detail", *_marked(cache))
    return Image(source, detail, cache, residue(x, known))


def _media(url: str, name: str | None = None) -> Source:
    """A `data:` URL as data and type where it can be put together again; any other as it is."""
    source = source_of(url, name=name)
    whole = source.data is None or data_url(source) == url
    return source if whole else Source(url=url, name=name)


def _file(x: Object, path: str) -> Part:
    given = {
        name: read.optional_string(x.get(name), f"{path}.{name}")
        for name in ("file_data", "file_url", "file_id")
    }
    name = read.optional_string(x.get("filename"), path + ".filename")
    if sum(value is not None for value in given.values()) != 1:
        return OpaquePart(Extra(NAME, x))
    data, url, file_id = given.values()
    if data is None:
        source = Source(url=url, file_id=file_id, name=name)
    else:
        source = _media(data, name)
        if source.data is None:
            source = Source(data=data, name=name)
    cache = _cache(x)
    known = ("type", "file_data", "file_url", "file_id", "filename", *_marked(cache))
    return Document(source, cache, residue(x, known))


def _audio(x: Object, path: str) -> Part:
    audio = x.get("input_audio")
    if not isinstance(audio, dict) or not isinstance(audio.get("data"), str):
        return OpaquePart(Extra(NAME, x))
    path += ".input_audio"
    extra = residue(x, ("type",), {"input_audio": ("data", "format")})
    data = Source(data=_string(audio, "data", path))
    return Audio(data, read.optional_string(audio.get("format"), path + ".format"), extra)
