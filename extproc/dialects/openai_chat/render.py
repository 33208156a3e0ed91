"""Canonical requests to OpenAI Chat bodies, and the splice that spares us most of them.

A request that came in this dialect, and that no stage changed (it still has
its `raw` bytes), leaves as those bytes; at most `model`, `stream_options` and
our own member are spliced. Anything else is written anew from the canonical
fields, and `extra` of this dialect fills the gaps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeAlias

from extproc.codec import jsontext
from extproc.dialects._options import BODY_MEMBER
from extproc.dialects.openai_chat.messages import CACHE_LIFE, is_plain
from extproc.dialects.openai_chat.words import (
    CONTENT,
    FIELD,
    LEGACY,
    LIMIT,
    NAME,
    OPTIONS,
    STOP,
    fill,
)
from extproc.model.chat import (
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
from extproc.model.dialect import Rendered
from extproc.model.errors import Unsupported

Object: TypeAlias = dict[str, Json]

_PATH = "/chat/completions"
_HEADERS = {"content-type": "application/json"}


def render_chat(chat: Chat, model: str) -> Rendered:
    """The request for the model that the provider calls `model`.

    Raises `Unsupported` for what this language cannot say and must not drop.
    """
    withhold = chat.stream and not chat.include_usage
    if chat.raw and chat.dialect == NAME:
        body = _spliced(chat, model)
        return Rendered(_PATH, body, _HEADERS, (), chat.stream, withhold)
    writer = _Writer(chat, model)
    body = jsontext.dumps(writer.body())
    dropped = tuple(dict.fromkeys(writer.dropped))
    return Rendered(_PATH, body, _HEADERS, dropped, chat.stream, withhold)


def _spliced(chat: Chat, model: str) -> bytes:
    known = chat.extra.fields
    replace: dict[str, bytes] = {}
    add: dict[str, bytes] = {}
    if model != chat.model:
        replace["model"] = jsontext.dumps(model)
    if chat.stream:
        options = known.get("stream_options")
        if "stream_options" not in known:
            add["stream_options"] = b'{"include_usage":true}'
        elif not isinstance(options, dict):
            replace["stream_options"] = b'{"include_usage":true}'
        elif options.get("include_usage") is not True:
            replace["stream_options"] = jsontext.dumps({**options, "include_usage": True})
    remove = (BODY_MEMBER,) if OPTIONS in known else ()
    if not (replace or add or remove):
        return chat.raw
    return jsontext.splice(chat.raw, replace=replace, remove=remove, add=add)


class _Writer:
    """Writes one request. `dropped` names what was left out, in the canonical model's words."""

    def __init__(self, chat: Chat, model: str) -> None:
        self._chat = chat
        self._model = model
        self._extra = chat.extra.home(NAME)
        self._at_home = chat.dialect == NAME
        self.dropped: list[str] = []

    def body(self) -> Object:
        chat = self._chat
        messages: list[Json] = []
        out: Object = {"model": self._model, "messages": messages}
        for message in chat.messages:
            messages.extend(self._message(message))
        if chat.stream:
            out["stream"] = True
            out["stream_options"] = {"include_usage": True}
        self._tools(out)
        self._sampling(out, chat.sampling)
        if chat.output is not None:
            out["response_format"] = _output(chat.output)
        if chat.reasoning is not None:
            self._reasoning(out)
        if chat.parallel_tools is not None:
            out["parallel_tool_calls"] = chat.parallel_tools
        if chat.user is not None:
            out["user"] = chat.user
        if chat.metadata is not None:
            out["metadata"] = dict(chat.metadata)
        if chat.service_tier is not None:
            out["service_tier"] = chat.service_tier
        fill(out, self._extra)
        return out

    # --- settings

    def _reasoning(self, out: Object) -> None:
        reasoning = self._chat.reasoning
        if reasoning is None:
            return
        if reasoning.effort is not None:
            out["reasoning_effort"] = reasoning.effort
        if reasoning.budget is not None:
            self.dropped.append("reasoning.budget")
        if reasoning.summary is not None:
            self.dropped.append("reasoning.summary")

    def _sampling(self, out: Object, sampling: Sampling) -> None:
        if sampling.max_tokens is not None:
            field = self._extra.get(LIMIT)
            out[field if isinstance(field, str) else _limit(self._model)] = sampling.max_tokens
        if sampling.stop:
            single = self._extra.get(STOP) == "string" and len(sampling.stop) == 1
            out["stop"] = sampling.stop[0] if single else list(sampling.stop)
        if sampling.logit_bias is not None:
            out["logit_bias"] = dict(sampling.logit_bias)
        if sampling.top_k is not None:
            self.dropped.append("top_k")
        for name, value in (
            ("temperature", sampling.temperature),
            ("top_p", sampling.top_p),
            ("seed", sampling.seed),
            ("frequency_penalty", sampling.frequency_penalty),
            ("presence_penalty", sampling.presence_penalty),
            ("n", sampling.n),
            ("logprobs", sampling.logprobs),
            ("top_logprobs", sampling.top_logprobs),
        ):
            if value is not None:
                out[name] = value

    def _tools(self, out: Object) -> None:
        tools: list[Json] = []
        functions: list[Json] = []
        for tool in self._chat.tools:
            if tool.cache is not None:
                self.dropped.append("cache")
            (functions if LEGACY in _home(tool.extra) else tools).append(_tool(tool))
        if tools:
            out["tools"] = tools
        if functions:
            out["functions"] = functions
        choice = self._chat.tool_choice
        if choice is not None:
            legacy = LEGACY in _home(choice.extra)
            out["function_call" if legacy else "tool_choice"] = _choice(choice, legacy)

    # --- messages

    def _message(self, message: Message) -> Iterable[Json]:
        """One message, or one for each tool result and the rest after them."""
        results = [part for part in message.parts if isinstance(part, ToolResult)]
        if not results:
            return (self._one(message),)
        written = [self._result(message, result) for result in results]
        rest = tuple(part for part in message.parts if not isinstance(part, ToolResult))
        if not self._at_home:
            media = [part for r in results for part in r.parts if not isinstance(part, Text)]
            rest = (*media, *rest)
            self.dropped.extend("tool_result.media" for _ in media)
        if rest:
            written.append(self._one(Message(Role.USER, rest, message.name)))
        return written

    def _one(self, message: Message) -> Json:
        out: Object = {"role": message.role.value}
        if message.name is not None:
            out["name"] = message.name
        content: list[Part] = []
        calls: list[Json] = []
        for part in message.parts:
            match part:
                case Thinking():
                    self._thinking(out, part)
                case ToolCall() if LEGACY in _home(part.extra):
                    out["function_call"] = _called(part)
                case ToolCall():
                    if part.cache is not None:
                        self.dropped.append("cache")
                    calls.append(_tool_call(part))
                case Refusal() if FIELD in _home(part.extra):
                    out["refusal"] = part.text
                case _:
                    content.append(part)
        if calls:
            out["tool_calls"] = calls
        extra = _home(message.extra)
        self._content(out, content, extra)
        fill(out, extra)
        if "content" not in out and not self._at_home:
            out["content"] = None if calls else ""
        return out

    def _thinking(self, out: Object, part: Thinking) -> None:
        field = _home(part.extra).get(FIELD)
        if isinstance(field, str):
            out[field] = part.text
        else:
            self.dropped.append("thinking")

    def _result(self, message: Message, result: ToolResult) -> Json:
        extra = _home(message.extra)
        legacy = LEGACY in extra
        out: Object = {"role": "function" if legacy else "tool"}
        if not legacy:
            out["tool_call_id"] = result.call_id
        if result.name is not None and self._at_home:
            out["name"] = result.name
        if result.cache is not None:
            self.dropped.append("cache")
        parts = [part for part in result.parts if self._at_home or isinstance(part, Text)]
        if result.is_error:
            self.dropped.append("is_error")
            parts.insert(0, Text("ERROR: "))
        self._content(out, parts, extra)
        fill(out, extra)
        if not self._at_home:
            out.setdefault("content", "")
        return out

    def _content(self, out: Object, parts: list[Part], extra: Object) -> None:
        if not parts:
            return
        listed = CONTENT in extra
        first = parts[0]
        if len(parts) == 1 and isinstance(first, Text) and is_plain(first) and not listed:
            out["content"] = first.text
        else:
            out["content"] = [self._part(part) for part in parts]

    def _part(self, part: Part) -> Json:
        match part:
            case Text():
                out: Object = {"type": "text", "text": part.text}
                self._cache(out, part.cache)
            case Image():
                image: Object = {"url": _url(part.source)}
                if part.detail is not None:
                    image["detail"] = part.detail
                out = {"type": "image_url", "image_url": image}
                self._cache(out, part.cache)
            case Audio():
                out = {"type": "input_audio", "input_audio": _audio(part)}
            case Document():
                out = {"type": "file", "file": _file(part.source)}
                self._cache(out, part.cache)
            case Refusal():
                out = {"type": "refusal", "refusal": part.text}
            case OpaquePart():
                if part.extra.dialect != NAME:
                    raise Unsupported("a part of the conversation is known to one provider only")
                return dict(part.extra.fields)
            case Thinking() | ToolCall() | ToolResult():
                raise Unsupported("a tool's result cannot hold calls or reasoning here")
        fill(out, _home(part.extra))
        return out

    def _cache(self, out: Object, mark: CacheMark | None) -> None:
        if mark is None:
            return
        if not self._at_home:
            self.dropped.append("cache")
            return
        breakpoint_: Object = {"mode": "explicit"}
        lives = [life for life, seconds in CACHE_LIFE.items() if seconds == mark.ttl]
        if lives:
            breakpoint_["ttl"] = lives[0]
        out["prompt_cache_breakpoint"] = breakpoint_


def _home(extra: Extra) -> Object:
    return dict(extra.home(NAME))


_REASONING_MODEL = re.compile(r"(?:.*/)?(?:o\d|gpt-[5-9])")


def _limit(model: str) -> str:
    """OpenAI's reasoning models refuse `max_tokens`; many others know nothing else."""
    return "max_completion_tokens" if _REASONING_MODEL.match(model) else "max_tokens"


def _output(output: Output) -> Json:
    match output.kind:
        case OutputKind.TEXT:
            out: Object = {"type": "text"}
        case OutputKind.JSON:
            out = {"type": "json_object"}
        case OutputKind.SCHEMA:
            schema: Object = {}
            for name, value in (
                ("name", output.name),
                ("description", output.description),
                ("schema", output.schema),
                ("strict", output.strict),
            ):
                if value is not None:
                    schema[name] = value
            if output.extra.dialect != NAME:
                schema.setdefault("name", "answer")
            out = {"type": "json_schema", "json_schema": schema}
    fill(out, _home(output.extra))
    return out


def _tool(tool: Tool) -> Json:
    extra = _home(tool.extra)
    if not tool.name:
        if tool.extra.dialect != NAME:
            raise Unsupported("a tool of the request is known to one provider only", param="tools")
        return extra
    function: Object = {"name": tool.name}
    for name, value in (
        ("description", tool.description),
        ("parameters", tool.parameters),
        ("strict", tool.strict),
    ):
        if value is not None:
            function[name] = value
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


def _called(call: ToolCall) -> Json:
    out: Object = {"name": call.name, "arguments": call.arguments}
    fill(out, _home(call.extra))
    return out


def _tool_call(call: ToolCall) -> Json:
    extra = _home(call.extra)
    out: Object = {}
    if call.id or call.extra.dialect != NAME:
        out["id"] = call.id
    if "type" not in extra and FIELD not in extra:
        out["type"] = "function"
    if extra.get("type") == "custom":
        out["custom"] = {"name": call.name, "input": call.arguments}
    else:
        out["function"] = {"name": call.name, "arguments": call.arguments}
    fill(out, extra)
    return out


def _url(source: Source) -> str:
    if source.url is not None:
        return source.url
    if source.data is not None:
        return f"data:{source.media_type or 'application/octet-stream'};base64,{source.data}"
    raise Unsupported("an image by file id cannot be sent to this provider")


def _audio(part: Audio) -> Json:
    if part.source.data is None:
        raise Unsupported("audio must be sent as data to this provider")
    out: Object = {"data": part.source.data}
    if part.format is not None:
        out["format"] = part.format
    return out


def _file(source: Source) -> Json:
    out: Object = {}
    if source.file_id is not None:
        out["file_id"] = source.file_id
    elif source.url is not None:
        out["file_data"] = source.url
    elif source.media_type is not None:
        out["file_data"] = f"data:{source.media_type};base64,{source.data}"
    else:
        out["file_data"] = source.data
    if source.name is not None:
        out["filename"] = source.name
    return out
