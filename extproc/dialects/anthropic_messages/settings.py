"""All of an Anthropic request but its messages: limits, sampling, tools, thinking, the answer's form.

Takes the canonical request, writes members into the body, and gives `Losses` what
does not fit. For requests of this dialect nothing is added or left out: `extra`
fills the gaps afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from extproc.dialects._extras import fill
from extproc.dialects._loss import Losses
from extproc.dialects._tools import Names, calls_of, schema_of
from extproc.dialects.anthropic_messages.request import TIERS
from extproc.dialects.anthropic_messages.words import FIELD, NAME, write_cache
from extproc.model.call import Target
from extproc.model.chat import (
    NOTHING,
    Chat,
    Json,
    Output,
    OutputKind,
    Reasoning,
    Sampling,
    Tool,
    ToolChoice,
    ToolMode,
)
from extproc.model.fields import Field

Object: TypeAlias = dict[str, Json]

MAX_TOKENS = 4096
"""the limit of an answer where neither client nor configuration names one; Claude insists on it"""
_LEAST_BUDGET = 1024
_BUDGETS = {
    "minimal": 2048,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    "xhigh": 32768,
    "max": 32768,
}
_AUTO_BUDGET = _BUDGETS["medium"]
_EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})
_TIER_WORDS = {canonical: word for word, canonical in TIERS.items()}
_CARRIED = frozenset(
    {
        Field.TEMPERATURE,
        Field.TOP_P,
        Field.TOP_K,
        Field.STOP,
        Field.USER,
        Field.SAFETY_IDENTIFIER,
        Field.SERVICE_TIER,
    }
)
"""settings that have a member here; what of their values has none is seen to where they are written"""
_INSTRUCTION = "Answer with one JSON value and nothing else: no prose around it, no code fence."
_ANSWER = "answer"
_ANSWER_TOLD = "Gives the answer. Call it exactly once, with the whole answer as its input."


class Settings:
    """Writes the settings of one request. `answer_tool` is set when structured output is a forced tool."""

    def __init__(self, chat: Chat, target: Target, losses: Losses, names: Names) -> None:
        self._chat = chat
        self._target = target
        self._losses = losses
        self._names = names
        self._at_home = chat.dialect == NAME
        self.answer_tool: str | None = None

    def write(self, out: Object, *, unsigned_tools: bool) -> None:
        """`unsigned_tools`: see `blocks.Conversation`."""
        chat = self._chat
        if chat.stream:
            out["stream"] = True
        self._losses.settings(chat, _CARRIED)
        self._user(out)
        self._sampling(out, chat.sampling)
        self._tier(out)
        self._tools(out)
        if chat.output is not None:
            self._output(out, chat.output)
            self._losses.foreign(chat.output.extra, NAME)
        if chat.reasoning is not None:
            self._losses.foreign(chat.reasoning.extra, NAME)
            if self._at_home:
                self._home_reasoning(out, chat.reasoning, unsigned_tools=unsigned_tools)
            else:
                self._reasoning(out, chat.reasoning, unsigned_tools=unsigned_tools)

    def _user(self, out: Object) -> None:
        """Who asks: `user_id` is there to detect abuse, as a safety identifier is."""
        user, safety = self._chat.user, self._chat.safety_identifier
        if user is None:
            user = safety
        elif safety is not None and safety != user:
            self._losses.drop(Field.SAFETY_IDENTIFIER)
        if user is not None:
            out["metadata"] = {"user_id": user}

    # --- sampling

    def _sampling(self, out: Object, sampling: Sampling) -> None:
        if sampling.max_tokens is not None:
            out["max_tokens"] = sampling.max_tokens
        elif not self._at_home:
            out["max_tokens"] = self._target.capabilities.max_output or MAX_TOKENS
        if sampling.stop:
            out["stop_sequences"] = list(sampling.stop)
        for name, value in (
            ("temperature", sampling.temperature),
            ("top_p", sampling.top_p),
            ("top_k", sampling.top_k),
        ):
            if value is not None:
                out[name] = value
        if not self._at_home:
            if sampling.temperature is not None and sampling.temperature > 1:
                out["temperature"] = 1
                self._losses.drop(Field.TEMPERATURE)
            if any(not word.strip() for word in sampling.stop):
                raise self._losses.refusal(Field.STOP, "each must be more than white space")

    def _tier(self, out: Object) -> None:
        tier = self._chat.service_tier
        if tier in _TIER_WORDS:
            out["service_tier"] = _TIER_WORDS[tier]
        elif tier is not None:
            self._losses.drop(Field.SERVICE_TIER)

    # --- tools

    def _tools(self, out: Object) -> None:
        chat = self._chat
        offered = chat.tools
        choice = chat.tool_choice
        limited = choice is not None and choice.names and choice.mode is not ToolMode.NAMED
        if limited and choice is not None and not self._at_home:
            offered = tuple(tool for tool in offered if tool.name in choice.names)
        tools: list[Json] = [self._tool(tool) for tool in offered]
        if not tools and not self._at_home:
            # Calls in the conversation must be of tools that the request names.
            seen = dict.fromkeys(self._names.sent(call.name) for call in calls_of(chat))
            tools = [{"name": name, "input_schema": schema_of(None)} for name in seen]
            choice = ToolChoice(ToolMode.NONE) if tools else None
        if tools:
            out["tools"] = tools
        if tools or self._at_home:
            self._choice(out, choice)

    def _tool(self, tool: Tool) -> Json:
        if not tool.name:
            if tool.extra.dialect != NAME:
                raise self._losses.refusal(
                    Field.TOOLS, "one of them is known to one other provider only"
                )
            return dict(tool.extra.fields)
        out: Object = {"name": self._names.sent(tool.name)}
        if tool.description is not None:
            out["description"] = tool.description
        if self._at_home and isinstance(tool.parameters, dict):
            out["input_schema"] = tool.parameters
        else:
            out["input_schema"] = schema_of(tool.parameters)
        if tool.strict is not None and (tool.strict or self._at_home):
            if self._target.capabilities.json_schema is False and not self._at_home:
                self._losses.drop(Field.STRICT)
            else:
                out["strict"] = tool.strict
        if tool.cache is not None:
            out["cache_control"] = write_cache(tool.cache)
        if tool.extra is not NOTHING:
            self._losses.foreign(tool.extra, NAME)
            fill(out, tool.extra.home(NAME))
        return out

    def _choice(self, out: Object, choice: ToolChoice | None) -> None:
        single = self._chat.parallel_tools is False
        if choice is None:
            if single:
                out["tool_choice"] = {"type": "auto", "disable_parallel_tool_use": True}
            return
        written: Object = {"type": _MODES[choice.mode]}
        if choice.mode is ToolMode.NAMED:
            written["name"] = self._names.sent(choice.names[0])
        if single and choice.mode is not ToolMode.NONE:
            written["disable_parallel_tool_use"] = True
        fill(written, choice.extra.home(NAME))
        self._losses.foreign(choice.extra, NAME)
        out["tool_choice"] = written

    # --- the form of the answer

    def _output(self, out: Object, output: Output) -> None:
        match output.kind:
            case OutputKind.TEXT:
                return
            case OutputKind.JSON:
                self._losses.lossy(Field.OUTPUT, "it has no JSON mode, only schemas")
                _instruct(out)
            case OutputKind.SCHEMA:
                form: Object = {"type": "json_schema"}
                if output.schema is not None or not self._at_home:
                    form["schema"] = output.schema if output.schema is not None else schema_of(None)
                extra = output.extra.home(NAME)
                fill(form, extra)
                if self._at_home and extra.get(FIELD) == "output_format":
                    out["output_format"] = form
                elif self._at_home or self._target.capabilities.json_schema is not False:
                    _config(out)["format"] = form
                    if output.description and not self._at_home:
                        self._losses.drop(Field.OUTPUT_DESCRIPTION)
                else:
                    self._answer_tool(out, output)

    def _answer_tool(self, out: Object, output: Output) -> None:
        """One tool that the model must call, whose input is the answer."""
        schema = schema_of(output.schema)
        if schema.get("type") != "object":
            raise self._losses.refusal(Field.OUTPUT, "its outermost value must be an object")
        self._losses.lossy(Field.OUTPUT, "it can only be had as the input of a tool")
        tools = out.get("tools")
        others: list[Json] = tools if isinstance(tools, list) else []
        taken = [tool.get("name") for tool in others if isinstance(tool, dict)]
        name = _ANSWER
        while name in taken:
            name += "_"
        answer: Object = {
            "name": name,
            "description": output.description or _ANSWER_TOLD,
            "input_schema": schema,
        }
        choice = out.get("tool_choice")
        kind = choice.get("type") if isinstance(choice, dict) else "auto"
        if others and kind == "tool":
            return
        out["tools"] = [*others, answer]
        if others and kind != "none":
            forced: Object = {"type": "any"}
        else:
            forced = {"type": "tool", "name": name}
        if self._chat.parallel_tools is False:
            forced["disable_parallel_tool_use"] = True
        out["tool_choice"] = forced
        self.answer_tool = name

    # --- thinking

    def _home_reasoning(self, out: Object, wanted: Reasoning, *, unsigned_tools: bool) -> None:
        if wanted.effort is not None:
            _config(out)["effort"] = wanted.effort
        thinking: Object = {}
        match wanted.budget:
            case None:
                pass
            case 0:
                thinking["type"] = "disabled"
            case -1:
                thinking["type"] = "adaptive"
            case _ if unsigned_tools:
                self._losses.drop(Field.BUDGET)
                return
            case budget:
                thinking["type"] = "enabled"
                thinking["budget_tokens"] = budget
        own = wanted.extra.home(NAME).get("thinking")
        if isinstance(own, dict):
            fill(thinking, own)
        if thinking or own is not None:
            out["thinking"] = thinking

    def _reasoning(self, out: Object, wanted: Reasoning, *, unsigned_tools: bool) -> None:
        """Thinking as this model has it: adaptive with an effort, or with a budget of tokens."""
        known = self._target.capabilities
        off = wanted.effort == "none" or (wanted.effort is None and wanted.budget == 0)
        if known.reasoning is False:
            if not off:
                self._losses.no_thinking(wanted)
            return
        if off:
            out["thinking"] = {"type": "disabled"}
            return
        choice = out.get("tool_choice")
        if isinstance(choice, dict) and choice.get("type") in ("any", "tool"):
            self._losses.no_thinking(wanted)
            return
        thinking: Object | None = {"type": "adaptive"}
        if known.adaptive_thinking is False:
            if unsigned_tools:
                self._losses.no_thinking(wanted)
                return
            thinking = self._manual(out, wanted)
            if thinking is None:
                return
        else:
            effort = self._effort(wanted)
            if effort is not None:
                _config(out)["effort"] = effort
        if wanted.summary is not None:
            thinking["display"] = "summarized"
        out["thinking"] = thinking
        self._calm(out)

    def _effort(self, wanted: Reasoning) -> str | None:
        if wanted.effort is not None:
            return wanted.effort if wanted.effort in _EFFORTS else "low"
        if wanted.budget is None or wanted.budget < 0:
            return None
        self._losses.drop(Field.BUDGET)
        if wanted.budget <= _BUDGETS["low"]:
            return "low"
        return "medium" if wanted.budget <= _BUDGETS["medium"] else "high"

    def _manual(self, out: Object, wanted: Reasoning) -> Object | None:
        """A budget below the limit of the answer, or None where there is no room for one."""
        budget = wanted.budget
        if budget is None or budget < 0:
            budget = _BUDGETS.get(wanted.effort or "", _AUTO_BUDGET)
        budget = max(budget, _LEAST_BUDGET)
        limit = out.get("max_tokens")
        room = limit if isinstance(limit, int) else MAX_TOKENS
        if self._chat.sampling.max_tokens is None and not self._target.capabilities.max_output:
            room = out["max_tokens"] = budget + MAX_TOKENS
        budget = min(budget, room - 1)
        if budget < _LEAST_BUDGET:
            self._losses.no_thinking(wanted)
            return None
        return {"type": "enabled", "budget_tokens": budget}

    def _calm(self, out: Object) -> None:
        """Sampling that thinking forbids."""
        for name, allowed in _WITH_THINKING.items():
            value = out.get(name)
            if isinstance(value, int | float) and not allowed[0] <= value <= allowed[1]:
                del out[name]
                self._losses.drop(name)


_WITH_THINKING: dict[Field, Sequence[float]] = {
    Field.TEMPERATURE: (1, 1),
    Field.TOP_P: (0.95, 1),
    Field.TOP_K: (1, 0),
}
"""bounds that sampling must keep while Claude thinks; none for what must be absent"""

_MODES = {
    ToolMode.AUTO: "auto",
    ToolMode.NONE: "none",
    ToolMode.REQUIRED: "any",
    ToolMode.NAMED: "tool",
}


def _config(out: Object) -> Object:
    config = out.setdefault("output_config", {})
    return config if isinstance(config, dict) else {}


def _instruct(out: Object) -> None:
    """Adds to the system prompt, behind whatever a cache mark covers."""
    system = out.get("system")
    if isinstance(system, list):
        out["system"] = [*system, {"type": "text", "text": _INSTRUCTION}]
    elif isinstance(system, str) and system:
        out["system"] = f"{system}\n\n{_INSTRUCTION}"
    else:
        out["system"] = _INSTRUCTION
