"""`toolConfig` and `inferenceConfig`, which are written alike for a client of any language."""

from __future__ import annotations

from typing import TypeAlias

from extproc.dialects._extras import fill
from extproc.dialects._loss import Losses
from extproc.dialects._tools import schema_of
from extproc.dialects.bedrock_converse.blocks import Blocks
from extproc.dialects.bedrock_converse.words import NAME
from extproc.model.chat import NOTHING, Json, Sampling, Tool, ToolChoice, ToolMode
from extproc.model.fields import Field

Object: TypeAlias = dict[str, Json]


class Tools:
    """Writes tools. `strict`: the model keeps to strict schemas, as far as is known."""

    def __init__(self, blocks: Blocks, losses: Losses, *, at_home: bool, strict: bool) -> None:
        self._blocks = blocks
        self._losses = losses
        self._at_home = at_home
        self._strict = strict

    def write(self, out: Object, tools: tuple[Tool, ...], choice: ToolChoice | None) -> None:
        written: list[Json] = []
        for tool in tools:
            written.append(self._tool(tool))
            self._blocks.mark(written, tool.cache)
        config: Object = {}
        if written:
            config["tools"] = written
        if choice is not None and (written or self._at_home):
            config["toolChoice"] = self._choice(choice)
        if config:
            out["toolConfig"] = config

    def _tool(self, tool: Tool) -> Json:
        if not tool.name:
            if tool.extra.dialect != NAME:
                raise self._losses.refusal(Field.TOOLS, "only its own provider has this tool")
            return dict(tool.extra.fields)
        spec: Object = {"name": self._blocks.tool_name(tool.name)}
        if self._at_home:
            for name, value in (("description", tool.description), ("strict", tool.strict)):
                if value is not None:
                    spec[name] = value
            if tool.parameters is not None:
                spec["inputSchema"] = {"json": tool.parameters}
        else:
            if tool.description:
                spec["description"] = tool.description
            spec["inputSchema"] = {"json": schema_of(tool.parameters)}
            if tool.strict and self._strict:
                spec["strict"] = True
            elif tool.strict:
                self._losses.drop(Field.STRICT)
        out: Object = {"toolSpec": spec}
        if tool.extra is not NOTHING:
            self._losses.foreign(tool.extra, NAME)
            fill(out, tool.extra.home(NAME))
        return out

    def _choice(self, choice: ToolChoice) -> Json:
        self._losses.foreign(choice.extra, NAME)
        match choice.mode:
            case ToolMode.AUTO | ToolMode.NONE:
                return {"auto": {}}
            case ToolMode.REQUIRED:
                return {"any": {}}
            case ToolMode.NAMED:
                return {"tool": {"name": self._blocks.tool_name(choice.names[0])}}


def write_inference(out: Object, sampling: Sampling) -> None:
    config: Object = {}
    for name, value in (
        ("maxTokens", sampling.max_tokens),
        ("temperature", sampling.temperature),
        ("topP", sampling.top_p),
    ):
        if value is not None:
            config[name] = value
    if sampling.stop:
        config["stopSequences"] = list(sampling.stop)
    if config:
        out["inferenceConfig"] = config
