"""A request of this dialect written anew, after a stage changed it.

Canonical fields are written first, and `extra` fills the gaps: for a request
that nobody changed, the JSON values are the client's own. Takes a `Chat` of
this dialect, gives the body as a JSON object; raises `Unsupported` for parts
that a stage put where this language has no place for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import TypeAlias

from extproc.dialects._extras import fill
from extproc.dialects._media import data_url
from extproc.dialects.openai_chat.messages import CACHE_LIFE, is_plain
from extproc.dialects.openai_chat.quirks import SETTINGS, Quirks
from extproc.dialects.openai_chat.words import CONTENT, FIELD, LEGACY, LIMIT, NAME, STOP
from extproc.model.chat import (
    NO_SAMPLING,
    Audio,
    CacheMark,
    Chat,
    Document,
    Extra,
    Image,
    Json,
    Message,
    OpaquePart,
    Output,
    OutputKind,
    Part,
    Refusal,
    Role,
    Sampling,
    Source,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from extproc.model.errors import Unsupported
from extproc.model.fields import Field

Object: TypeAlias = dict[str, Json]


def write_home(chat: Chat, model: str, quirks: Quirks) -> Object:
    """The body for the model that the provider calls `model`."""
    extra = chat.extra.home(NAME)
    messages: list[Json] = []
    out: Object = {"model": model, "messages": messages}
    for message in chat.messages:
        messages.extend(_message(message))
    if chat.stream:
        out["stream"] = True
        out["stream_options"] = {"include_usage": True}
    _tools(out, chat)
    _limits(out, chat.sampling, extra, quirks)
    put_numbers(out, chat.sampling, SETTINGS)
    if chat.output is not None:
        out["response_format"] = _output(chat.output)
    if chat.reasoning is not None and chat.reasoning.effort is not None:
        out["reasoning_effort"] = chat.reasoning.effort
    if chat.parallel_tools is not None:
        out["parallel_tool_calls"] = chat.parallel_tools
    put_hints(out, chat, SETTINGS)
    if chat.verbosity is not None:
        out["verbosity"] = chat.verbosity
    fill(out, extra)
    if quirks.tells_usage:
        out.pop("stream_options", None)
    return out


# --- settings -------------------------------------------------------------------------------


def _limits(out: Object, sampling: Sampling, extra: Mapping[str, Json], quirks: Quirks) -> None:
    if sampling.max_tokens is not None:
        given = extra.get(LIMIT)
        usual = given if isinstance(given, str) else "max_tokens"
        out[quirks.limit or usual] = sampling.max_tokens
    if sampling.stop:
        single = extra.get(STOP) == "string" and len(sampling.stop) == 1
        out["stop"] = sampling.stop[0] if single else list(sampling.stop)


def put_numbers(out: Object, sampling: Sampling, carried: frozenset[Field]) -> None:
    """The settings that this language has under the canonical names."""
    if sampling is NO_SAMPLING:
        return
    if sampling.logit_bias is not None and Field.LOGIT_BIAS in carried:
        out["logit_bias"] = dict(sampling.logit_bias)
    for name, field, read in _NUMBERS:
        value = read(sampling)
        if value is not None and field in carried:
            out[name] = value


_NUMBERS: tuple[tuple[str, Field, Callable[[Sampling], Json]], ...] = tuple(
    (name, field, attrgetter(name))
    for name, field in (
        ("temperature", Field.TEMPERATURE),
        ("top_p", Field.TOP_P),
        ("seed", Field.SEED),
        ("frequency_penalty", Field.FREQUENCY_PENALTY),
        ("presence_penalty", Field.PRESENCE_PENALTY),
        ("n", Field.N),
        ("logprobs", Field.LOGPROBS),
        ("top_logprobs", Field.LOGPROBS),
    )
)


def put_hints(out: Object, chat: Chat, carried: frozenset[Field]) -> None:
    """Settings beside the answer, which both of OpenAI's languages have at the same place."""
    if chat.metadata is not None and Field.METADATA in carried:
        out["metadata"] = dict(chat.metadata)
    for field, read in _HINTS:
        value = read(chat)
        if value is not None and field in carried:
            out[field.value] = value


_HINTS: tuple[tuple[Field, Callable[[Chat], Json]], ...] = (
    (Field.USER, attrgetter("user")),
    (Field.SERVICE_TIER, attrgetter("service_tier")),
    (Field.STORE, attrgetter("store")),
    (Field.CACHE_KEY, attrgetter("cache_key")),
    (Field.CACHE_RETENTION, attrgetter("cache_retention")),
    (Field.SAFETY_IDENTIFIER, attrgetter("safety_identifier")),
)


def _output(output: Output) -> Json:
    match output.kind:
        case OutputKind.TEXT:
            out: Object = {"type": "text"}
        case OutputKind.JSON:
            out = {"type": "json_object"}
        case OutputKind.SCHEMA:
            schema = given(
                ("name", output.name),
                ("description", output.description),
                ("schema", output.schema),
                ("strict", output.strict),
            )
            out = {"type": "json_schema", "json_schema": schema}
    fill(out, _home(output.extra))
    return out


def given(*members: tuple[str, Json]) -> Object:
    """The members that have a value."""
    return {name: value for name, value in members if value is not None}


def _tools(out: Object, chat: Chat) -> None:
    tools: list[Json] = []
    functions: list[Json] = []
    for tool in chat.tools:
        (functions if LEGACY in _home(tool.extra) else tools).append(_tool(tool))
    if tools:
        out["tools"] = tools
    if functions:
        out["functions"] = functions
    choice = chat.tool_choice
    if choice is not None:
        legacy = LEGACY in _home(choice.extra)
        out["function_call" if legacy else "tool_choice"] = _choice(choice, legacy)


def _tool(tool: Tool) -> Json:
    extra = _home(tool.extra)
    if not tool.name:
        return extra
    function = given(
        ("name", tool.name),
        ("description", tool.description),
        ("parameters", tool.parameters),
        ("strict", tool.strict),
    )
    out: Object = function if LEGACY in extra else {"type": "function", "function": function}
    fill(out, extra)
    return out


def _choice(choice: ToolChoice, legacy: bool) -> Json:
    if not choice.names:
        return choice.mode.value
    if choice.mode is ToolMode.NAMED:
        name: Object = {"name": choice.names[0]}
        out: Object = name if legacy else {"type": "function", "function": name}
        fill(out, _home(choice.extra))
        return out
    tools: list[Json] = [{"type": "function", "function": {"name": name}} for name in choice.names]
    return {
        "type": "allowed_tools",
        "allowed_tools": {"mode": choice.mode.value, "tools": tools},
    }


# --- messages -------------------------------------------------------------------------------


def _message(message: Message) -> Iterable[Json]:
    """One message, or one for each tool result and the rest after them."""
    results = [part for part in message.parts if isinstance(part, ToolResult)]
    if not results:
        return (_one(message),)
    written = [_result(message, result) for result in results]
    rest = tuple(part for part in message.parts if not isinstance(part, ToolResult))
    if rest:
        written.append(_one(Message(Role.USER, rest, message.name)))
    return written


def _one(message: Message) -> Json:
    out: Object = {"role": message.role.value}
    if message.name is not None:
        out["name"] = message.name
    content: list[Part] = []
    calls: list[Json] = []
    for part in message.parts:
        match part:
            case Thinking():
                field = _home(part.extra).get(FIELD)
                out[field if isinstance(field, str) else "reasoning_content"] = part.text
            case ToolCall() if LEGACY in _home(part.extra):
                out["function_call"] = _called(part)
            case ToolCall():
                calls.append(_tool_call(part))
            case Refusal() if FIELD in _home(part.extra):
                out["refusal"] = part.text
            case _:
                content.append(part)
    if calls:
        out["tool_calls"] = calls
    extra = _home(message.extra)
    _content(out, content, extra)
    fill(out, extra)
    return out


def _result(message: Message, result: ToolResult) -> Json:
    extra = _home(message.extra)
    legacy = LEGACY in extra
    out: Object = {"role": "function" if legacy else "tool"}
    if not legacy:
        out["tool_call_id"] = result.call_id
    if result.name is not None:
        out["name"] = result.name
    _content(out, result.parts, extra)
    fill(out, extra)
    return out


def _content(out: Object, parts: Iterable[Part], extra: Object) -> None:
    parts = tuple(parts)
    if not parts:
        return
    first = parts[0]
    if len(parts) == 1 and is_plain(first) and CONTENT not in extra:
        out["content"] = first.text
    else:
        out["content"] = [_part(part) for part in parts]


def _part(part: Part) -> Json:
    match part:
        case Text():
            out: Object = {"type": "text", "text": part.text}
            _cache(out, part.cache)
        case Image():
            out = image(part)
            _cache(out, part.cache)
        case Audio():
            out = {"type": "input_audio", "input_audio": _audio(part)}
        case Document():
            out = {"type": "file", "file": _file(part.source)}
            _cache(out, part.cache)
        case Refusal():
            out = {"type": "refusal", "refusal": part.text}
        case OpaquePart():
            return _home(part.extra)
        case Thinking() | ToolCall() | ToolResult():
            raise Unsupported("a tool's result cannot hold calls or reasoning here")
    fill(out, _home(part.extra))
    return out


def image(part: Image) -> Object:
    """An `image_url` part. Raises `Unsupported` for a picture that is but a file's id."""
    source = part.source
    if source.url is None and source.data is None:
        raise Unsupported("an image by file id cannot be sent to this provider")
    url = data_url(source) if source.url is None else source.url
    return {"type": "image_url", "image_url": given(("url", url), ("detail", part.detail))}


def _audio(part: Audio) -> Json:
    if part.source.data is None:
        raise Unsupported("audio must be sent as data to this provider")
    return given(("data", part.source.data), ("format", part.format))


def _file(source: Source) -> Json:
    data = source.data if source.url is None else source.url
    if source.url is None and source.data is not None and source.media_type is not None:
        data = data_url(source)
    return given(("file_data", data), ("file_id", source.file_id), ("filename", source.name))


def _cache(out: Object, mark: CacheMark | None) -> None:
    if mark is None:
        return
    lives = (life for life, seconds in CACHE_LIFE.items() if seconds == mark.ttl)
    out["prompt_cache_breakpoint"] = given(("mode", "explicit"), ("ttl", next(lives, None)))


def _called(call: ToolCall) -> Json:
    out: Object = {"name": call.name, "arguments": call.arguments}
    fill(out, _home(call.extra))
    return out


def _tool_call(call: ToolCall) -> Json:
    extra = _home(call.extra)
    out: Object = {"id": call.id} if call.id else {}
    if "type" not in extra and FIELD not in extra:
        out["type"] = "function"
    if extra.get("type") == "custom":
        out["custom"] = {"name": call.name, "input": call.arguments}
    else:
        out["function"] = {"name": call.name, "arguments": call.arguments}
    fill(out, extra)
    return out


def _home(extra: Extra) -> Object:
    return dict(extra.home(NAME))
