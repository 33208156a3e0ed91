"""A request of another dialect in this language: settings and tools.

Takes the canonical fields alone; what this language, or this provider's kind
of it, cannot carry goes through `Losses`. Gives the body, and the client's
names of the tools that had to be called something else. `foreign_messages`
writes the conversation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

from extproc.codec import jsontext
from extproc.dialects import _tools
from extproc.dialects._loss import Losses
from extproc.dialects.openai_chat.foreign_messages import kind_of, write_messages
from extproc.dialects.openai_chat.home import given, put_hints, put_numbers
from extproc.dialects.openai_chat.quirks import (
    Quirks,
    nearest_effort,
)
from extproc.dialects.openai_chat.words import NAME
from extproc.model.call import Target
from extproc.model.chat import (
    NO_SAMPLING,
    NOTHING,
    Chat,
    Json,
    Output,
    OutputKind,
    Reasoning,
    Sampling,
    Text,
    Tool,
    ToolChoice,
    ToolMode,
)
from extproc.model.fields import Field

Object: TypeAlias = dict[str, Json]

_LEGAL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BAD_IN_NAME = re.compile(r"[^A-Za-z0-9_-]")
_NAME_LIMIT = 64


def write_foreign(
    chat: Chat, target: Target, losses: Losses, quirks: Quirks
) -> tuple[bytes, Mapping[str, str]]:
    """The body, and the client's names of renamed tools. Raises `Unsupported`, `InvalidRequest`."""
    writer = _Writer(chat, target, losses, quirks)
    body = jsontext.dumps(writer.body())
    return body, writer.names.renamed


class _Writer:
    def __init__(self, chat: Chat, target: Target, losses: Losses, quirks: Quirks) -> None:
        self._chat = chat
        self._target = target
        self._losses = losses
        self._quirks = quirks
        self.names = _tools.Names(_LEGAL_NAME, _BAD_IN_NAME, _NAME_LIMIT)

    def body(self) -> Object:
        chat, losses = self._chat, self._losses
        losses.foreign(chat.extra, NAME)
        losses.settings(chat, self._quirks.carried)
        out: Object = {"model": self._target.model, "messages": []}
        form, instruction = self._output(chat.output)
        vision = self._target.capabilities.vision
        messages = write_messages(chat, losses, self._quirks, self.names, vision=vision)
        if instruction:
            messages.insert(0, {"role": "system", "content": instruction})
        out["messages"] = messages
        if chat.stream:
            out["stream"] = True
            if not self._quirks.tells_usage:
                out["stream_options"] = {"include_usage": True}
        self._put_tools(out)
        if chat.sampling is not NO_SAMPLING:
            self._put_sampling(out, chat.sampling)
        if form is not None:
            out["response_format"] = form
        if chat.reasoning is not None:
            self._put_reasoning(out, chat.reasoning)
        put_foreign_hints(out, chat, self._quirks.carried, losses)
        if chat.verbosity is not None and Field.VERBOSITY in self._quirks.carried:
            out["verbosity"] = chat.verbosity
        return out

    # --- tools

    def _put_tools(self, out: Object) -> None:
        chat = self._chat
        if not chat.tools:
            return
        if self._target.capabilities.tools is False:
            raise self._losses.refusal(Field.TOOLS, f"model {self._target.model} calls no tools")
        choice = chat.tool_choice
        wanted = () if choice is None else choice.names
        tools = [self._tool(tool) for tool in chat.tools if _is_wanted(tool, choice)]
        if wanted and not tools:
            raise self._losses.refusal(Field.TOOL_CHOICE, "it names no tool of the request")
        out["tools"] = tools
        if choice is not None:
            self._losses.foreign(choice.extra, NAME)
            out["tool_choice"] = self._choice(choice)
        if chat.parallel_tools is not None:
            out["parallel_tool_calls"] = chat.parallel_tools

    def _tool(self, tool: Tool) -> Json:
        losses = self._losses
        if not tool.name:
            why = f"a tool of {kind_of(tool.extra)} is known to its own provider only"
            raise losses.refusal(Field.TOOLS, why)
        if tool.extra is not NOTHING:
            losses.foreign(tool.extra, NAME)
        if tool.cache is not None:
            losses.drop(Field.CACHE)
        function: Object = {
            "name": self.names.sent(tool.name),
            "parameters": _tools.schema_of(tool.parameters),
        }
        if tool.description is not None:
            function["description"] = tool.description
        if tool.strict is not None:
            function["strict"] = tool.strict
        return {"type": "function", "function": function}

    def _choice(self, choice: ToolChoice) -> Json:
        if choice.mode is ToolMode.NAMED:
            return {"type": "function", "function": {"name": self.names.sent(choice.names[0])}}
        return choice.mode.value

    # --- the form of the answer

    def _output(self, output: Output | None) -> tuple[Json, str]:
        """`response_format`, and what must be said in words beside it."""
        if output is None:
            return None, ""
        self._losses.foreign(output.extra, NAME)
        if output.kind is OutputKind.TEXT:
            return None, ""
        if output.kind is OutputKind.JSON:
            # OpenAI refuses JSON mode where nobody speaks of JSON.
            spoken = any("json" in text.lower() for text in _texts(self._chat))
            return {"type": "json_object"}, "" if spoken else "Answer with JSON."
        if self._target.capabilities.json_schema is False:
            why = f"model {self._target.model} takes no schema, but only words about it"
            self._losses.lossy(Field.OUTPUT, why)
            schema = jsontext.dumps(output.schema).decode()
            return {"type": "json_object"}, f"Answer with JSON that fits this schema: {schema}"
        name = output.name or "answer"
        shape = given(
            ("name", _BAD_IN_NAME.sub("_", name)[:_NAME_LIMIT]),
            ("description", output.description),
            ("schema", {} if output.schema is None else output.schema),
            ("strict", output.strict),
        )
        return {"type": "json_schema", "json_schema": shape}, ""

    # --- numbers and hints

    def _put_sampling(self, out: Object, sampling: Sampling) -> None:
        quirks = self._quirks
        if sampling.max_tokens is not None:
            out[quirks.limit or "max_tokens"] = sampling.max_tokens
        if sampling.stop:
            if len(sampling.stop) > quirks.stops:
                most = f"at most {quirks.stops} sequences" if quirks.stops else "no stop sequences"
                why = f"model {self._target.model} takes {most}"
                raise self._losses.refusal(Field.STOP, why)
            out["stop"] = list(sampling.stop)
        put_numbers(out, sampling, quirks.carried)
        if "top_logprobs" in out:
            out["logprobs"] = True

    def _put_reasoning(self, out: Object, reasoning: Reasoning) -> None:
        losses = self._losses
        losses.foreign(reasoning.extra, NAME)
        if reasoning.summary is not None:
            losses.drop(Field.SUMMARY)
        wanted, budget = reasoning.effort, reasoning.budget
        if wanted is None and budget is not None:
            wanted = _effort_of(budget)
        if wanted is None:
            return
        known = () if self._target.capabilities.reasoning is False else self._quirks.efforts
        effort = nearest_effort(wanted, known)
        if effort is not None:
            out["reasoning_effort"] = effort
        if reasoning.effort is None:
            # How much is the model's own matter where the client left it so.
            if budget is not None and (budget >= 0 or effort is None):
                losses.drop(Field.BUDGET)
        elif effort != wanted and (known or wanted != "none"):
            losses.drop(Field.EFFORT)


def put_foreign_hints(out: Object, chat: Chat, carried: frozenset[Field], losses: Losses) -> None:
    """As `put_hints`, but for what is too large, and in OpenAI's words."""
    put_hints(out, chat, carried)
    if "metadata" in out and not (chat.metadata and _fits(chat.metadata)):
        del out["metadata"]
        if chat.metadata:
            losses.drop(Field.METADATA)
    if "service_tier" in out:
        tier = _TIERS.get((chat.service_tier or "").lower())
        if tier is None:
            del out["service_tier"]
            losses.drop(Field.SERVICE_TIER)
        else:
            out["service_tier"] = tier


def _is_wanted(tool: Tool, choice: ToolChoice | None) -> bool:
    """A choice that is limited to some tools is made by sending only these: every provider knows that."""
    if choice is None or not choice.names or choice.mode is ToolMode.NAMED:
        return True
    return tool.name in choice.names


def _texts(chat: Chat) -> list[str]:
    return [part.text for m in chat.messages for part in m.parts if isinstance(part, Text)]


_BUDGETS = ((0, "none"), (2048, "low"), (8192, "medium"), (16384, "high"))


def _effort_of(budget: int) -> str:
    """The effort that stands for so many tokens; a negative budget leaves it to the model.

    That is an effort too: many models do not think unless they are asked.
    """
    if budget < 0:
        return "medium"
    return next((word for most, word in _BUDGETS if budget <= most), "xhigh")


_TIERS = {
    **{word: word for word in ("auto", "default", "flex", "scale", "priority", "fast")},
    "standard": "default",
    "standard_only": "default",
}

_MOST_METADATA, _LONGEST_KEY, _LONGEST_VALUE = 16, 64, 512


def _fits(metadata: Mapping[str, str]) -> bool:
    return len(metadata) <= _MOST_METADATA and all(
        len(key) <= _LONGEST_KEY and len(value) <= _LONGEST_VALUE for key, value in metadata.items()
    )
