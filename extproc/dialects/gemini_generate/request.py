"""Gemini requests: a path and a JSON body to the canonical `Chat`.

What the canonical model holds goes there; all the rest stays in `extra` of the
object it was found in, and fills gaps on the way home (`_extras`). Names may be
in snake case; they are camel case from here on.

Source: the reference of `models.generateContent` and `models.countTokens`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from extproc.dialects import _reading as read
from extproc.dialects._extras import BOUND, refuse_shapes
from extproc.dialects._options import BODY_MEMBER, read_options
from extproc.dialects.gemini_generate.contents import Object, listed, parse_contents
from extproc.dialects.gemini_generate.paths import Place, wants_events
from extproc.dialects.gemini_generate.schema import json_schema
from extproc.dialects.gemini_generate.spelling import camel
from extproc.dialects.gemini_generate.words import (
    ARRAY,
    ENTRY,
    LEVEL,
    MODE,
    NAME,
    ONE,
    OPTIONS,
    SCHEMA,
    TEXT_ONLY,
    VERSION,
    WRAPPED,
    marked,
    residue,
)
from extproc.model.chat import (
    NOTHING,
    Chat,
    Extra,
    Json,
    Options,
    Output,
    OutputKind,
    Reasoning,
    Tool,
    ToolChoice,
    ToolMode,
)
from extproc.model.dialect import Headers
from extproc.model.embed import Count

STREAM = "streamGenerateContent"


def read_body(headers: Headers, body: bytes, *, as_given: bool = False) -> tuple[Object, Options]:
    """The body in camel case without our own member, which stays as a mark, and its options."""
    x = read.read_object(body)
    refuse_shapes(x, body)
    if not as_given:
        x = camel(x, body)
    options = read_options(headers, x.get(BODY_MEMBER))
    if x.pop(BODY_MEMBER, None) is not None:
        x[OPTIONS] = True
    return x, options


def parse_chat(place: Place, query: str, headers: Headers, body: bytes) -> Chat:
    """The request in `body`, with `raw` set to it. Raises `InvalidRequest`."""
    x, options = read_body(headers, body)
    stream = place.verb == STREAM
    marks: Object = {VERSION: place.version}
    if stream and not wants_events(query):
        marks[ARRAY] = True
    return _chat(x, place.model, marks, options, body, stream=stream)


def parse_count(place: Place, headers: Headers, body: bytes) -> Count:
    """A request to count: contents, or a whole request within."""
    x, options = read_body(headers, body)
    marks: Object = {VERSION: place.version}
    inner = x.get("generateContentRequest")
    if inner is not None:
        marks[WRAPPED] = {name: x[name] for name in x if name != "generateContentRequest"}
        x = read.expect_object(inner, "generateContentRequest")
    return Count(_chat(x, place.model, marks, options, body, stream=False))


def _chat(
    x: Object, model: str, marks: Object, options: Options, body: bytes, *, stream: bool
) -> Chat:
    rest = _Rest(x, marks)
    config = _config(x, rest)
    messages = parse_contents(x)
    rest.one("contents")
    return Chat(
        dialect=NAME,
        model=model,
        messages=messages,
        stream=stream,
        tools=_tools(x, rest),
        tool_choice=_tool_choice(x, rest),
        sampling=read.sampling(config, _SAMPLED, _PATH),
        output=_output(config, rest),
        reasoning=_reasoning(config),
        metadata=_labels(x, rest),
        service_tier=_tier(x, rest),
        options=options,
        extra=rest.extra(),
        raw=body,
    )


_CANONICAL = frozenset({"contents", "systemInstruction", "tools", "toolConfig", "generationConfig"})


class _Rest:
    """What goes to `extra` of the request: filled while the canonical fields are read."""

    __slots__ = ("_fields", "_x")

    def __init__(self, x: Object, marks: Object) -> None:
        self._x = x
        self._fields: Object = marks
        for name, value in x.items():
            if name not in _CANONICAL or value is None:
                self._fields[name] = value
        if x.get("cachedContent"):
            self._bind("cachedContent")

    def keep(self, name: str, value: Json = None) -> None:
        """The canonical model could not hold this, or not all of it."""
        self._fields[name] = self._x[name] if value is None else value

    def _bind(self, name: str) -> None:
        """Without this the request would mean something else, and only here is it known."""
        bound = self._fields.get(BOUND)
        names: list[Json] = bound if isinstance(bound, list) else []
        self._fields[BOUND] = names if name in names else [*names, name]

    def drop(self, name: str) -> None:
        """It is canonical after all."""
        self._fields.pop(name, None)

    def config(self, config: Object, known: Collection[str]) -> None:
        """Keeps what is neither usual nor `known` of `generationConfig`; that the answer is text is no loss."""
        kept = {
            name: value
            for name, value in config.items()
            if not (name in _CONFIG or name in known) or _is_odd(name, value)
        }
        if kept.get("responseModalities") == ["TEXT"]:
            del kept["responseModalities"]
            self._fields[TEXT_ONLY] = True
        elif kept.get("responseModalities"):
            self._bind("generationConfig.responseModalities")
        self._fields["generationConfig"] = kept

    def one(self, name: str) -> None:
        """Remembers a member that held one object where a list belongs."""
        if isinstance(self._x.get(name), dict):
            ones = self._fields.get(ONE)
            self._fields[ONE] = [*(ones if isinstance(ones, list) else []), name]

    def extra(self) -> Extra:
        return Extra(NAME, self._fields)


# --- generationConfig -----------------------------------------------------------------------


def _top_k(value: Json, path: str) -> int | None:
    number = read.optional_number(value, path)
    return int(number) if number is not None and number == int(number) else None


_SAMPLED: read.Settings = {
    "temperature": ("temperature", read.optional_number),
    "topP": ("top_p", read.optional_number),
    "topK": ("top_k", _top_k),
    "maxOutputTokens": ("max_tokens", read.optional_int),
    "stopSequences": ("stop", read.strings),
    "seed": ("seed", read.optional_int),
    "frequencyPenalty": ("frequency_penalty", read.optional_number),
    "presencePenalty": ("presence_penalty", read.optional_number),
    "candidateCount": ("n", read.optional_int),
    "responseLogprobs": ("logprobs", read.optional_bool),
    "logprobs": ("top_logprobs", read.optional_int),
}
_CONFIG = frozenset({*_SAMPLED, "thinkingConfig"})
_PATH = "generationConfig."


def _config(x: Object, rest: _Rest) -> Object:
    value = x.get("generationConfig")
    if value is None:
        return {}
    config = read.expect_object(value, "generationConfig")
    rest.config(config, ())
    return config


def _is_odd(name: str, value: Json) -> bool:
    """Values that the canonical model cannot tell from their absence, or not hold."""
    if value is None:
        return True
    if name == "topK":
        return isinstance(value, float) and not value.is_integer()
    return name == "stopSequences" and value == []


def _output(x: Object, rest: _Rest) -> Output | None:
    """A schema counts only beside the type that it needs; all else stays where it was."""
    kind = x.get("responseMimeType")
    shown, own = x.get("responseJsonSchema"), x.get("responseSchema")
    known: tuple[str, ...] = ("responseMimeType",)
    match kind:
        case "application/json" if shown is not None:
            known = (*known, "responseJsonSchema")
            output = Output(OutputKind.SCHEMA, schema=shown)
        case "application/json" if own is not None:
            known = (*known, "responseSchema")
            extra = Extra(NAME, {SCHEMA: own})
            output = Output(OutputKind.SCHEMA, schema=json_schema(own), extra=extra)
        case "application/json":
            output = Output(OutputKind.JSON)
        case "text/plain":
            output = Output(OutputKind.TEXT)
        case _:
            return None
    rest.config(x, known)
    return output


EFFORTS: Mapping[str, str] = {
    "MINIMAL": "minimal",
    "LOW": "low",
    "MEDIUM": "medium",
    "HIGH": "high",
    "XHIGH": "xhigh",
}


def _reasoning(x: Object) -> Reasoning | None:
    value = x.get("thinkingConfig")
    if value is None:
        return None
    path = _PATH + "thinkingConfig"
    shape = read.expect_object(value, path)
    level = read.optional_string(shape.get("thinkingLevel"), path + ".thinkingLevel")
    effort = EFFORTS.get((level or "").upper())
    shows = read.optional_bool(shape.get("includeThoughts"), path + ".includeThoughts")
    known = ["thinkingBudget"]
    known += ["thinkingLevel"] if effort else []
    known += ["includeThoughts"] if shows else []
    extra = residue(shape, known)
    if effort:
        extra = marked(extra, LEVEL, level)
    return Reasoning(
        effort=effort,
        budget=read.optional_int(shape.get("thinkingBudget"), path + ".thinkingBudget"),
        summary="auto" if shows else None,
        extra=extra,
    )


# --- tools ----------------------------------------------------------------------------------

DECLARATIONS = "functionDeclarations"
_DECLARED = frozenset({"name", "description", "parameters", "parametersJsonSchema"})


def _tools(x: Object, rest: _Rest) -> tuple[Tool, ...]:
    value = x.get("tools")
    if value is None:
        return ()
    rest.one("tools")
    entries = listed(value)
    if not entries:
        rest.keep("tools")
    tools: list[Tool] = []
    for i, item in enumerate(entries):
        path = f"tools[{i}]"
        entry = read.expect_object(item, path)
        declared = entry.get(DECLARATIONS)
        others = residue(entry, (DECLARATIONS,) if declared else ())
        if others.fields or not entry:
            tools.append(Tool("", extra=marked(others, ENTRY, i)))
        for j, shape in enumerate(listed(declared) if declared else []):
            tools.append(_usual(shape, i) or _declared(shape, f"{path}.{DECLARATIONS}[{j}]", i))
    return tuple(tools)


def _usual(x: Json, entry: int) -> Tool | None:
    """A tool with a name, a description and a JSON Schema, as most are; None for any other."""
    if not isinstance(x, dict) or len(x) != 3:
        return None
    name, description = x.get("name"), x.get("description")
    schema = x.get("parametersJsonSchema")
    if not isinstance(name, str) or not isinstance(description, str) or not name or schema is None:
        return None
    return Tool(name, description, schema, extra=Extra(NAME, {ENTRY: entry}) if entry else NOTHING)


def _declared(value: Json, path: str, entry: int) -> Tool:
    x = read.expect_object(value, path)
    name = read.expect_string(x.get("name"), path + ".name")
    if not name:
        raise read.missing(path + ".name")
    shown, own = x.get("parametersJsonSchema"), x.get("parameters")
    rest = {key: value for key, value in x.items() if value is None or key not in _DECLARED}
    if entry:
        rest[ENTRY] = entry
    if own is not None:
        rest[SCHEMA if shown is None else "parameters"] = own
    return Tool(
        name=name,
        description=read.optional_string(x.get("description"), path + ".description"),
        parameters=json_schema(own) if shown is None else shown,
        extra=Extra(NAME, rest) if rest else NOTHING,
    )


MODES: Mapping[str, ToolMode] = {
    "AUTO": ToolMode.AUTO,
    "ANY": ToolMode.REQUIRED,
    "NONE": ToolMode.NONE,
    "VALIDATED": ToolMode.AUTO,
}
_CALLING = "functionCallingConfig"


def _tool_choice(x: Object, rest: _Rest) -> ToolChoice | None:
    value = x.get("toolConfig")
    if value is None:
        return None
    config = read.expect_object(value, "toolConfig")
    calling = config.get(_CALLING)
    word = calling.get("mode") if isinstance(calling, dict) else None
    if not isinstance(calling, dict) or not isinstance(word, str) or word not in MODES:
        rest.keep("toolConfig")
        return None
    path = f"toolConfig.{_CALLING}.allowedFunctionNames"
    allowed = read.expect_list(calling.get("allowedFunctionNames") or [], path)
    names = tuple(read.expect_string(name, f"{path}[{i}]") for i, name in enumerate(allowed))
    known = ("mode", "allowedFunctionNames") if names else ("mode",)
    rest.keep("toolConfig", dict(residue(config, (), {_CALLING: known}).fields))
    mode = MODES[word]
    if mode is ToolMode.REQUIRED and len(names) == 1:
        mode = ToolMode.NAMED
    return ToolChoice(mode, names, Extra(NAME, {MODE: word}))


# --- the rest -------------------------------------------------------------------------------


def _labels(x: Object, rest: _Rest) -> Mapping[str, str] | None:
    value = x.get("labels")
    if not isinstance(value, dict):
        return None
    words = {name: word for name, word in value.items() if isinstance(word, str)}
    if len(words) != len(value):
        return None
    rest.drop("labels")
    return words


def _tier(x: Object, rest: _Rest) -> str | None:
    value = x.get("serviceTier")
    if not isinstance(value, str) or not value:
        return None
    rest.drop("serviceTier")
    return value
