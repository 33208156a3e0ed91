"""Tools and the choice among them, of an OpenAI Chat request.

Takes the request's object; gives canonical tools, whose `extra` fills gaps as
`request` explains. Members that the canonical model cannot hold are given to
`keep` by name. Raises `InvalidRequest` with the path of what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from extproc.dialects import _reading as read
from extproc.dialects.openai_chat.words import LEGACY, NAME, residue
from extproc.model.chat import NOTHING, Extra, Json, Tool, ToolChoice, ToolMode
from extproc.model.errors import InvalidRequest

Object: TypeAlias = dict[str, Json]
Keep: TypeAlias = Callable[[str], None]


def parse_tools(x: Object, keep: Keep) -> tuple[Tool, ...]:
    """From `tools`, and from `functions` as they were before."""
    tools: list[Tool] = []
    for name in ("tools", "functions"):
        value = x.get(name)
        if value is None:
            continue
        items = read.expect_list(value, name)
        if not items:
            keep(name)
        for i, item in enumerate(items):
            if name == "tools":
                tools.append(_usual(item) or _tool(item, f"tools[{i}]"))
            else:
                tools.append(_function(item, f"functions[{i}]"))
    return tuple(tools)


def _usual(shape: Json) -> Tool | None:
    """A function with a name, words about it, and parameters; None for any other tool."""
    if not isinstance(shape, dict):
        return None
    function = shape.get("function")
    if shape.get("type") != "function" or len(shape) != 2 or not isinstance(function, dict):
        return None
    name, about = function.get("name"), function.get("description")
    parameters, strict = function.get("parameters"), function.get("strict")
    if not isinstance(name, str) or not name or not isinstance(about, str):
        return None
    if parameters is None or not isinstance(strict, bool | None):
        return None
    if len(function) != (3 if strict is None else 4):
        return None
    return Tool(name, about, parameters, strict)


def _tool(value: Json, path: str) -> Tool:
    shape = read.expect_object(value, path)
    kind = read.optional_string(shape.get("type"), path + ".type")
    if kind != "function":
        return Tool(name="", extra=Extra(NAME, shape))
    if "function" not in shape:
        raise read.missing(path + ".function")
    function = read.expect_object(shape["function"], path + ".function")
    usual = len(shape) == 2 and function.keys() <= _KNOWN and None not in function.values()
    extra = NOTHING if usual else residue(shape, ("type",), {"function": _FUNCTION})
    return _named_tool(function, path + ".function", extra)


def _function(value: Json, path: str) -> Tool:
    """A tool as the API had them before `tools`."""
    shape = read.expect_object(value, path)
    extra = residue(shape, _FUNCTION)
    return _named_tool(shape, path, Extra(NAME, {LEGACY: True, **extra.fields}))


_FUNCTION = ("name", "description", "parameters", "strict")
_KNOWN = frozenset(_FUNCTION)


def _named_tool(function: Object, path: str, extra: Extra) -> Tool:
    if "name" not in function:
        raise read.missing(path + ".name")
    name = read.expect_string(function["name"], path + ".name")
    if not name:
        raise InvalidRequest(f"{path}.name must not be empty", param=path + ".name")
    return Tool(
        name=name,
        description=read.optional_string(function.get("description"), path + ".description"),
        parameters=function.get("parameters"),
        strict=read.optional_bool(function.get("strict"), path + ".strict"),
        extra=extra,
    )


_MODES = {"auto": ToolMode.AUTO, "none": ToolMode.NONE, "required": ToolMode.REQUIRED}


def parse_tool_choice(x: Object, keep: Keep) -> ToolChoice | None:
    """From `tool_choice`, or from `function_call` as it was before."""
    value = x.get("tool_choice")
    old = x.get("function_call")
    if value is None:
        return None if old is None else _function_call(old)
    if old is not None:
        keep("function_call")
    if isinstance(value, str):
        if value in _MODES:
            return ToolChoice(_MODES[value])
        keep("tool_choice")
        return None
    if not isinstance(value, dict):
        raise read.type_error(value, "tool_choice", "a string or an object")
    choice = _chosen(value)
    if choice is None:
        keep("tool_choice")
    return choice


def _chosen(shape: Object) -> ToolChoice | None:
    """None for a choice that only this dialect has a word for."""
    if shape.get("type") == "function":
        name = _tool_name(shape)
        if name is None:
            raise read.missing("tool_choice.function.name")
        return ToolChoice(ToolMode.NAMED, (name,), residue(shape, ("type",), {"function": _NAME}))
    allowed = shape.get("allowed_tools")
    if shape.get("type") != "allowed_tools" or not isinstance(allowed, dict):
        return None
    mode, tools = allowed.get("mode"), allowed.get("tools")
    if not isinstance(mode, str) or mode not in _MODES or not isinstance(tools, list):
        return None
    names = tuple(_tool_name(tool) for tool in tools if isinstance(tool, dict) and _plain(tool))
    known = tuple(name for name in names if name)
    if not known or len(known) != len(tools) or frozenset((*shape, *allowed)) != _ALLOWED:
        return None
    return ToolChoice(_MODES[mode], known)


_NAME = ("name",)
_ALLOWED = frozenset({"type", "allowed_tools", "mode", "tools"})


def _plain(tool: Object) -> bool:
    function = tool.get("function")
    return (
        tool.keys() == {"type", "function"}
        and tool["type"] == "function"
        and isinstance(function, dict)
        and function.keys() == {"name"}
    )


def _tool_name(shape: Object) -> str | None:
    function = shape.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) and name else None


def _function_call(value: Json) -> ToolChoice:
    if isinstance(value, str) and value in _MODES:
        return ToolChoice(_MODES[value], extra=Extra(NAME, {LEGACY: True}))
    if not isinstance(value, dict):
        raise read.type_error(value, "function_call", "`auto`, `none` or an object")
    if "name" not in value:
        raise read.missing("function_call.name")
    name = read.expect_string(value["name"], "function_call.name")
    extra = residue(value, _NAME)
    return ToolChoice(ToolMode.NAMED, (name,), Extra(NAME, {LEGACY: True, **extra.fields}))
