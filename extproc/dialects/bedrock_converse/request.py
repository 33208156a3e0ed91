"""Converse requests: a path and a JSON body to the canonical `Chat`.

The model stands in the path. What the canonical model holds goes there; the rest
stays in `extra` of the object it was found in and fills the gaps when the request
is written again. `outputConfig` and `additionalModelRequestFields` stay there
whole, for their words are read from them (`fields.lift`) and not taken out.

Source: Amazon Bedrock Runtime API reference, Converse, ConverseStream, CountTokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from extproc.dialects import _names as names
from extproc.dialects import _reading as read
from extproc.dialects._extras import BOUND, CARRIED, refuse_shapes, residue
from extproc.dialects._options import BODY_MEMBER, read_options
from extproc.dialects.bedrock_converse.fields import carried_whole, lift
from extproc.dialects.bedrock_converse.messages import parse_messages, parse_system
from extproc.dialects.bedrock_converse.words import NAME, OPTIONS, WRAPPED, read_mark
from extproc.model.chat import (
    NOTHING,
    Chat,
    Extra,
    Json,
    Sampling,
    Thinking,
    Tool,
    ToolChoice,
    ToolMode,
)
from extproc.model.dialect import Headers
from extproc.model.embed import Count
from extproc.model.errors import InvalidRequest, NotFound

Object: TypeAlias = dict[str, Json]

PREFIX = "/model/"


def parse_path(path: str) -> tuple[str, str]:
    """Model and operation of `/model/{model}/{operation}`; the name is decoded once.

    Raises `InvalidRequest` for a name that no model has, `NotFound` for another path.
    """
    model, slash, operation = path.removeprefix(PREFIX).rpartition("/")
    if not path.startswith(PREFIX) or not slash or not model:
        raise NotFound("the path must be /model/{modelId}/{operation}")
    return names.read(model), operation


def parse_chat(headers: Headers, body: bytes, model: str, *, stream: bool) -> Chat:
    """The request in `body`, with `raw` set to it. Raises `InvalidRequest`."""
    x = read.read_object(body)
    refuse_shapes(x, body)
    return _chat(x, headers, body, model, stream=stream)


def parse_count(headers: Headers, body: bytes, model: str) -> Count | None:
    """None for an input in a model's own words (`invokeModel`)."""
    x = read.read_object(body)
    refuse_shapes(x, body)
    if "input" not in x:
        raise read.missing("input")
    given = read.expect_object(x["input"], "input")
    if "invokeModel" in given:
        return None
    if "converse" not in given:
        raise read.missing("input.converse")
    inner = dict(read.expect_object(given["converse"], "input.converse"))
    if BODY_MEMBER in x:
        inner[BODY_MEMBER] = x[BODY_MEMBER]
    return Count(_chat(inner, headers, body, model, stream=False))


_CANONICAL = frozenset(
    {"messages", "system", "inferenceConfig", "toolConfig", "requestMetadata", "serviceTier"}
)


_BOUND = ("guardrailConfig", "promptVariables")
"""a guard that must not be left out unsaid, and words for a prompt that only Bedrock keeps"""


def _chat(x: Object, headers: Headers, body: bytes, model: str, *, stream: bool) -> Chat:
    extra: Object = {}
    for name, value in x.items():
        if name not in _CANONICAL or value is None or value in ([], {}):
            extra[name] = value
    if BODY_MEMBER in extra:
        del extra[BODY_MEMBER]
        extra[OPTIONS] = True
    said, system = _given(x, "messages"), _given(x, "system")
    messages = () if said is None else parse_messages(said)
    if any(type(part) is Thinking and part.origin != NAME for m in messages for part in m.parts):
        extra[WRAPPED] = True
    if system is not None:
        messages = (parse_system(system), *messages)
    lifted = lift(extra)
    if carried := carried_whole(extra, lifted):
        extra[CARRIED] = carried
    if bound := [name for name in _BOUND if extra.get(name)]:
        extra[BOUND] = list(bound)
    tools, choice = _tools(x, extra)
    return Chat(
        dialect=NAME,
        model=model,
        messages=messages,
        stream=stream,
        tools=tools,
        tool_choice=choice,
        sampling=_sampling(x, extra, lifted.top_k),
        output=lifted.output,
        reasoning=lifted.reasoning,
        metadata=_metadata(x),
        service_tier=_tier(x, extra),
        options=read_options(headers, x.get(BODY_MEMBER)),
        extra=Extra(NAME, extra) if extra else NOTHING,
        raw=body,
    )


def _given(x: Object, name: str) -> Json:
    """The member's value; None for an empty one, which stays in `extra`."""
    value = x.get(name)
    return None if value in ([], {}) else value


_INFERENCE = ("maxTokens", "temperature", "topP", "stopSequences")


def _sampling(x: Object, extra: Object, top_k: int | None) -> Sampling:
    value = _given(x, "inferenceConfig")
    if value is None:
        return Sampling(top_k=top_k)
    config = read.expect_object(value, "inferenceConfig")
    rest = residue(NAME, config, _INFERENCE)
    if rest is not NOTHING:
        extra["inferenceConfig"] = dict(rest.fields)
    stop = config.get("stopSequences")
    words = () if stop is None else read.expect_list(stop, "inferenceConfig.stopSequences")
    if stop == []:
        extra["inferenceConfig"] = {**rest.fields, "stopSequences": []}
    return Sampling(
        temperature=read.optional_number(config.get("temperature"), "inferenceConfig.temperature"),
        top_p=read.optional_number(config.get("topP"), "inferenceConfig.topP"),
        top_k=top_k,
        max_tokens=read.optional_int(config.get("maxTokens"), "inferenceConfig.maxTokens"),
        stop=tuple(
            [
                read.expect_string(word, f"inferenceConfig.stopSequences[{i}]")
                for i, word in enumerate(words)
            ]
        ),
    )


def _metadata(x: Object) -> Mapping[str, str] | None:
    value = _given(x, "requestMetadata")
    if value is None:
        return None
    members = read.expect_object(value, "requestMetadata").items()
    return {name: read.expect_string(word, f"requestMetadata.{name}") for name, word in members}


def _tier(x: Object, extra: Object) -> str | None:
    value = _given(x, "serviceTier")
    if value is None:
        return None
    tier = read.expect_object(value, "serviceTier")
    rest = dict(residue(NAME, tier, ("type",)).fields)
    if rest:
        extra["serviceTier"] = rest
    return read.optional_string(tier.get("type"), "serviceTier.type")


# --- tools ----------------------------------------------------------------------------------


def _tools(x: Object, extra: Object) -> tuple[tuple[Tool, ...], ToolChoice | None]:
    value = _given(x, "toolConfig")
    if value is None:
        return (), None
    path = "toolConfig"
    config = read.expect_object(value, path)
    rest = dict(residue(NAME, config, ("tools", "toolChoice")).fields)
    items = read.expect_list(config.get("tools", []), path + ".tools")
    if not items and "tools" in config:
        rest["tools"] = []
    tools: list[Tool] = []
    for i, item in enumerate(items):
        if (usual := _usual(item)) is not None:
            tools.append(usual)
            continue
        shape = read.expect_object(item, f"{path}.tools[{i}]")
        if not (tools and _mark_last(tools, shape)):
            tools.append(_tool(shape, f"{path}.tools[{i}]"))
    choice = _choice(config.get("toolChoice"))
    if choice is None and "toolChoice" in config:
        rest["toolChoice"] = config["toolChoice"]
    if rest:
        extra[path] = rest
    return tuple(tools), choice


def _usual(x: Json) -> Tool | None:
    """A tool of the form that most have, at once; None for one that must be looked at."""
    spec = x.get("toolSpec") if isinstance(x, dict) and len(x) == 1 else None
    if not isinstance(spec, dict) or len(spec) != 3:
        return None
    name, told, form = spec.get("name"), spec.get("description"), spec.get("inputSchema")
    schema = form.get("json") if isinstance(form, dict) and len(form) == 1 else None
    if schema is None or not name or not isinstance(name, str) or not isinstance(told, str):
        return None
    return Tool(name, told, schema)


def _mark_last(tools: list[Tool], shape: Object) -> bool:
    mark = read_mark(shape["cachePoint"]) if shape.keys() == {"cachePoint"} else None
    last = tools[-1]
    if mark is None or last.cache is not None or not last.name:
        return False
    tools[-1] = Tool(
        last.name, last.description, last.parameters, last.strict, mark, extra=last.extra
    )
    return True


_ODD_SPEC = ("name", "description", "strict")
_SPEC = (*_ODD_SPEC, "inputSchema")


def _tool(shape: Object, path: str) -> Tool:
    if "toolSpec" not in shape:
        return Tool(name="", extra=Extra(NAME, shape))
    path += ".toolSpec"
    spec = read.expect_object(shape["toolSpec"], path)
    if "name" not in spec:
        raise read.missing(path + ".name")
    name = read.expect_string(spec["name"], path + ".name")
    if not name:
        raise InvalidRequest(f"{path}.name must not be empty", param=path + ".name")
    schema = read.expect_object(spec.get("inputSchema", {}), path + ".inputSchema")
    known = _SPEC if schema.keys() == {"json"} and schema["json"] is not None else _ODD_SPEC
    extra = residue(NAME, shape, (), {"toolSpec": known})
    return Tool(
        name=name,
        description=read.optional_string(spec.get("description"), path + ".description"),
        parameters=schema.get("json"),
        strict=read.optional_bool(spec.get("strict"), path + ".strict"),
        extra=extra,
    )


def _choice(value: Json) -> ToolChoice | None:
    """None for a choice that only this dialect has a word for."""
    match value:
        case {"auto": {}, **rest} if not rest and value["auto"] == {}:
            return ToolChoice(ToolMode.AUTO)
        case {"any": {}, **rest} if not rest and value["any"] == {}:
            return ToolChoice(ToolMode.REQUIRED)
        case {"tool": {"name": str(name)}} if value == {"tool": {"name": name}}:
            return ToolChoice(ToolMode.NAMED, (name,))
        case _:
            return None
