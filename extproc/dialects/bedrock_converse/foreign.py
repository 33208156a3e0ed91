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
from extproc.dialects._turns import Speaker, Turn, turns
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

Object: TypeAlias = dict[str, Json]

_BEGIN = "(begin)"
_SEE = "See the document."
_AS_JSON = "Answer with one JSON object and nothing else."
_ANSWER = "Give your final answer by calling this tool."
_METADATA = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{1,256}")
_MOST_METADATA = 16
_MOST_STOPS = 2500


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
        found = turns(replace(chat, messages=self._carried()), self.losses, system_within=within)
        said = list(found.turns)
        if not said or said[0].speaker is not Speaker.USER:
            said.insert(0, Turn(Speaker.USER, [Text(_BEGIN)]))
        messages: list[Json] = []
        for turn in said:
            parts = turn.parts
            if _only_documents(parts):
                parts = [*parts, Text(_SEE)]
            messages.append({"role": turn.speaker.value, "content": self._blocks.of(parts)})
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
        messages = self._chat.messages
        last = max((i for i, m in enumerate(messages) if m.role is Role.ASSISTANT), default=-1)
        return tuple(
            replace(m, parts=self._kept(m.parts, current=i > last)) if _is_doubtful(m.parts) else m
            for i, m in enumerate(messages)
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
                    self.losses.drop("thinking")
                return mine
            case OpaquePart():
                if current:
                    raise self.losses.refusal("content", "only its own provider knows this part")
                self.losses.drop("content")
                return False
            case Refusal():
                return bool(part.text.strip())
            case _:
                return True

    def _hints(self) -> None:
        chat, sampling = self._chat, self._chat.sampling
        self.losses.foreign(chat.extra, NAME)
        if sampling.n is not None and sampling.n > 1:
            raise self.losses.refusal("n", "it gives one answer at a time")
        for name, value in (
            ("logprobs", sampling.logprobs),
            ("logprobs", sampling.top_logprobs),
            ("logit_bias", sampling.logit_bias),
        ):
            if value:
                raise self.losses.refusal(name, "it has no such thing")
        if len(sampling.stop) > _MOST_STOPS:
            raise self.losses.refusal("stop", f"it takes {_MOST_STOPS} of them at most")
        for name, value in (
            ("seed", sampling.seed),
            ("frequency_penalty", sampling.frequency_penalty),
            ("presence_penalty", sampling.presence_penalty),
            ("user", chat.user),
        ):
            if value:
                self.losses.drop(name)
        if chat.parallel_tools is False and chat.tools:
            self.losses.drop("parallel_tool_calls")
        if chat.reasoning is not None and chat.reasoning.summary is not None:
            self.losses.drop("reasoning.summary")

    def _limited(self, sampling: Sampling) -> Sampling:
        if sampling.temperature is not None and sampling.temperature > 1:
            self.losses.drop("temperature")
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
                self.losses.drop("metadata")
        if tier is not None and tier in TIERS:
            out["serviceTier"] = {"type": tier}
        elif tier is not None and tier != "auto":
            self.losses.drop("service_tier")

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
                raise self.losses.refusal("tools", "only its own provider has this tool")
        used = tuple(dict.fromkeys(call.name for call in calls_of(chat)))
        if choice is not None and choice.mode is ToolMode.NONE:
            if not used:
                return (), None
            self.losses.drop("tool_choice")
            choice = None
        if choice is not None and choice.names and choice.mode is not ToolMode.NAMED:
            tools = tuple(tool for tool in tools if tool.name in choice.names)
        return tools or tuple(Tool(name) for name in used), choice

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
            self.losses.drop("response_format")
            system.append({"text": _AS_JSON})
            return tools, choice
        if self._target.capabilities.json_schema is not False:
            config["textFormat"] = write_schema(output)
            return tools, choice
        schema = output.schema
        if isinstance(schema, dict) and schema.get("type", "object") != "object":
            raise self.losses.refusal("response_format", "the schema must be that of an object")
        self.losses.drop("response_format")
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
    return any(
        _is_doubtful(part.parts)
        if isinstance(part, ToolResult)
        else isinstance(part, Thinking | OpaquePart | Refusal)
        for part in parts
    )


def _only_documents(parts: list[Part]) -> bool:
    """Bedrock wants text beside a document."""
    kinds = {type(part) for part in parts}
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
