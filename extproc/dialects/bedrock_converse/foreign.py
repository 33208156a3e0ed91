"""A request of another dialect, fitted to Converse: turns, user first, no blank text, results first.

What Bedrock cannot carry is named or refused by `Losses`. What a client may ask
and Converse has no word for is emulated where it can be: a JSON object by an
instruction, a schema by a tool that must be called.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TypeAlias

from extproc.dialects._loss import Losses
from extproc.dialects._tools import calls_of
from extproc.dialects._turns import Speaker, Turn, only_text, turns
from extproc.dialects.bedrock_converse.blocks import Blocks
from extproc.dialects.bedrock_converse.fields import (
    MODEL_FIELDS,
    OUTPUT,
    Wish,
    bar_sampling,
    caches,
    write_reasoning,
    write_schema,
    write_top_k,
)
from extproc.dialects.bedrock_converse.settings import Tools, write_inference
from extproc.dialects.bedrock_converse.words import NAME, TIERS
from extproc.model.call import Target
from extproc.model.chat import (
    NOTHING,
    Chat,
    Document,
    Json,
    Message,
    OpaquePart,
    OutputKind,
    Part,
    Refusal,
    Role,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from extproc.model.fields import Field

Object: TypeAlias = dict[str, Json]

_BEGIN = "(begin)"
_SEE = "See the document."
_ITS_OWN = "only its own provider knows this part"
_AS_JSON = "Answer with one JSON object and nothing else."
_ANSWER = "Give your final answer by calling this tool."
_METADATA = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{1,256}")
_MOST_METADATA = 16
_MOST_STOPS = 2500
_CARRIED = frozenset(
    {
        Field.TEMPERATURE,
        Field.TOP_P,
        Field.TOP_K,
        Field.STOP,
        Field.METADATA,
        Field.SERVICE_TIER,
    }
)
"""settings that have a member here; what of their values has none is seen to where they are written"""
_DOUBTFUL = frozenset({Thinking, OpaquePart, Refusal})
_WORDS = {speaker: speaker.value for speaker in Speaker}


class Foreign:
    """Writes one request. `answer_tool` is the tool that gives the answer's text, if any."""

    def __init__(self, chat: Chat, target: Target) -> None:
        self._chat = chat
        self._target = target
        self.losses = Losses(target)
        self._blocks = Blocks(self.losses, at_home=False, caches=caches(target.model))
        self.answer_tool: str | None = None

    @property
    def renamed(self) -> dict[str, str]:
        """From the tools' names over there to the client's."""
        return self._blocks.names.renamed

    def body(self) -> Object:
        chat = self._chat
        self._hints()
        within = self._target.capabilities.system_in_messages is True
        found = turns(chat, self.losses, system_within=within, messages=self._carried())
        said = list(found.turns)
        if not said or said[0].speaker is not Speaker.USER:
            said.insert(0, Turn(Speaker.USER, [Text(_BEGIN)]))
        messages: list[Json] = []
        for turn in said:
            # By far the most turns are one plain text, about which there is nothing to ask.
            text = only_text(turn.parts)
            content: list[Json]
            if text is not None:
                content = [{"text": text}]
            else:
                content = self._blocks.of(turn.parts)
                if _only_documents(turn.parts):
                    content.append({"text": _SEE})
            messages.append({"role": _WORDS[turn.speaker], "content": content})
        out: Object = {"messages": messages}
        system = self._blocks.of(list(found.system))
        config: Object = {}
        own: Object = {}
        tools, choice = self._offered()
        if chat.output is not None:
            tools, choice = self._output(config, system, tools, choice)
        if system:
            out["system"] = system
        sampling = self._limited(chat.sampling)
        forced = choice is not None and choice.mode in (ToolMode.REQUIRED, ToolMode.NAMED)
        if self._reasoning(own, config, sampling, forced=forced):
            sampling = bar_sampling(sampling, self.losses)
        strict = self._target.capabilities.json_schema is not False
        writer = Tools(self._blocks, self.losses, at_home=False, strict=strict)
        writer.write(out, tools, choice)
        write_inference(out, sampling)
        if sampling.top_k is not None:
            write_top_k(own, sampling.top_k, self._target.model, self.losses)
        self._labels(out)
        for name, value in ((OUTPUT, config), (MODEL_FIELDS, own)):
            if value:
                out[name] = value
        return out

    def _carried(self) -> tuple[Message, ...]:
        """The messages without what no other provider may see or can read."""
        messages, doubtful = self._chat.messages, False
        for message in messages:
            if message.name:
                self.losses.drop(Field.NAME)
            if message.extra is not NOTHING:
                self.losses.foreign(message.extra, NAME)
            doubtful = doubtful or _is_doubtful(message.parts)
        if not doubtful:
            return messages
        last = max((i for i, m in enumerate(messages) if m.role is Role.ASSISTANT), default=-1)
        return tuple(
            replace(m, parts=self._kept(m.parts, current=i > last)) for i, m in enumerate(messages)
        )

    def _kept(self, parts: tuple[Part, ...], *, current: bool) -> tuple[Part, ...]:
        return tuple(
            replace(part, parts=self._kept(part.parts, current=current))
            if isinstance(part, ToolResult)
            else part
            for part in parts
            if self._keeps(part, current=current)
        )

    def _keeps(self, part: Part, *, current: bool) -> bool:
        match part:
            case Thinking():
                mine = part.origin == NAME and (part.signature or part.redacted) is not None
                if not mine:
                    self.losses.drop(Field.THINKING)
                return mine
            case OpaquePart():
                if current:
                    raise self.losses.refusal(Field.CONTENT, _ITS_OWN)
                self.losses.drop(Field.CONTENT)
                return False
            case Refusal():
                return bool(part.text.strip())
            case _:
                return True

    def _hints(self) -> None:
        chat, losses = self._chat, self.losses
        losses.settings(chat, _CARRIED)
        losses.foreign(chat.extra, NAME)
        if len(chat.sampling.stop) > _MOST_STOPS:
            raise losses.refusal(Field.STOP, f"it takes {_MOST_STOPS} of them at most")
        if chat.parallel_tools is False and chat.tools:
            losses.drop(Field.PARALLEL_TOOLS)
        if chat.output is not None:
            losses.foreign(chat.output.extra, NAME)
        if chat.reasoning is not None:
            losses.foreign(chat.reasoning.extra, NAME)
            if chat.reasoning.summary is not None:
                losses.drop(Field.SUMMARY)

    def _limited(self, sampling: Sampling) -> Sampling:
        if sampling.temperature is not None and sampling.temperature > 1:
            self.losses.drop(Field.TEMPERATURE)
            return replace(sampling, temperature=1)
        return sampling

    def _labels(self, out: Object) -> None:
        metadata, tier = self._chat.metadata, self._chat.service_tier
        if metadata:
            fits = len(metadata) <= _MOST_METADATA and all(
                _METADATA.fullmatch(word) for pair in metadata.items() for word in pair
            )
            if fits:
                out["requestMetadata"] = dict(metadata)
            else:
                self.losses.drop(Field.METADATA)
        if tier is not None and tier in TIERS:
            out["serviceTier"] = {"type": tier}
        elif tier is not None and tier != "auto":
            self.losses.drop(Field.SERVICE_TIER)

    def _reasoning(
        self, own: Object, config: Object, sampling: Sampling, *, forced: bool = False
    ) -> bool:
        chat, target = self._chat, self._target
        if chat.reasoning is None or (
            chat.reasoning.effort is None and chat.reasoning.budget is None
        ):
            return False
        wish = Wish(
            chat.reasoning,
            target.model,
            target.capabilities,
            sampling.max_tokens,
            forced=forced,
            unsigned=_unsigned(chat),
        )
        return write_reasoning(own, config, wish, self.losses)

    # --- tools and structure

    def _offered(self) -> tuple[tuple[Tool, ...], ToolChoice | None]:
        """The tools that may be called; those of the history where Bedrock wants to know them."""
        chat, choice = self._chat, self._chat.tool_choice
        tools = chat.tools
        for tool in tools:
            if not tool.name:
                raise self.losses.refusal(Field.TOOLS, "only its own provider has this tool")
        if choice is not None and choice.mode is ToolMode.NONE:
            if not any(calls_of(chat)):
                return (), None
            self.losses.drop(Field.TOOL_CHOICE)
            choice = None
        if choice is not None and choice.names and choice.mode is not ToolMode.NAMED:
            tools = tuple(tool for tool in tools if tool.name in choice.names)
        if not tools:
            tools = tuple(Tool(name) for name in dict.fromkeys(c.name for c in calls_of(chat)))
        return tools, choice

    def _output(
        self,
        config: Object,
        system: list[Json],
        tools: tuple[Tool, ...],
        choice: ToolChoice | None,
    ) -> tuple[tuple[Tool, ...], ToolChoice | None]:
        output = self._chat.output
        if output is None or output.kind is OutputKind.TEXT:
            return tools, choice
        if output.kind is OutputKind.JSON:
            self.losses.lossy(Field.OUTPUT, "it has no JSON mode, only schemas")
            system.append({"text": _AS_JSON})
            return tools, choice
        if self._target.capabilities.json_schema is not False:
            config["textFormat"] = write_schema(output)
            return tools, choice
        schema = output.schema
        if isinstance(schema, dict) and schema.get("type", "object") != "object":
            raise self.losses.refusal(Field.OUTPUT, "the schema must be that of an object")
        self.losses.lossy(Field.OUTPUT, "it can only be had as the input of a tool")
        taken = {tool.name for tool in tools}
        name = "answer"
        while name in taken:
            name += "_"
        self.answer_tool = name
        if choice is not None and choice.mode is ToolMode.NAMED:
            return (*tools, Tool(name, _ANSWER, schema)), choice
        # With tools of its own the model chooses between them and the answer.
        forced = (
            ToolChoice(ToolMode.REQUIRED)
            if self._chat.tools
            else ToolChoice(ToolMode.NAMED, (name,))
        )
        return (*tools, Tool(name, _ANSWER, schema)), forced


def _is_doubtful(parts: tuple[Part, ...]) -> bool:
    """Whether a part may have to stay away."""
    for part in parts:
        if isinstance(part, ToolResult):
            if _is_doubtful(part.parts):
                return True
        elif type(part) in _DOUBTFUL:
            return True
    return False


def _only_documents(parts: list[Part]) -> bool:
    """Bedrock wants text beside a document."""
    kinds = [type(part) for part in parts]
    return Document in kinds and Text not in kinds


def _unsigned(chat: Chat) -> bool:
    """Whether the turn under way answers calls whose reasoning is not at hand."""
    answered = False
    for message in reversed(chat.messages):
        results = any(isinstance(part, ToolResult) for part in message.parts)
        if message.role is Role.ASSISTANT:
            called = any(isinstance(part, ToolCall) for part in message.parts)
            return answered and called and not any(_is_mine(part) for part in message.parts)
        if not results and message.role is not Role.TOOL:
            return False
        answered = answered or results
    return False


def _is_mine(part: Part) -> bool:
    return (
        isinstance(part, Thinking)
        and part.origin == NAME
        and (part.signature or part.redacted) is not None
    )
