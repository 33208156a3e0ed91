"""The settings that Converse keeps in free-form corners: reasoning, `top_k`, the form of the answer.

`outputConfig` is Converse's own; `additionalModelRequestFields` passes to the
model as it is, and each family of models has other words there. `lift` reads
what the canonical model has a word for; `write_reasoning` and `write_top_k`
write it for the family that a model's name tells of.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from extproc.codec import jsontext
from extproc.dialects._loss import Losses
from extproc.model.call import Capabilities
from extproc.model.chat import Json, Output, OutputKind, Reasoning, Sampling
from extproc.model.fields import Field

Object: TypeAlias = dict[str, Json]

MODEL_FIELDS = "additionalModelRequestFields"
OUTPUT = "outputConfig"
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_LEAST_BUDGET = 1024
_BUDGETS = {"minimal": 2048, "low": 2048, "medium": 8192, "high": 16384}
_HIGHEST_BUDGET = 32768
_REASONING_FIELDS = ("thinking", "reasoning_effort", "reasoning_config", "reasoningConfig")


class Family(StrEnum):
    """Who made the model: what goes into its own fields depends on it."""

    CLAUDE = "claude"
    NOVA = "nova"
    NOVA_2 = "nova-2"
    GPT = "gpt"
    QWEN = "qwen"
    OTHER = "other"


_FAMILIES = (
    ("anthropic.", Family.CLAUDE),
    ("claude", Family.CLAUDE),
    ("amazon.nova-2", Family.NOVA_2),
    ("amazon.nova", Family.NOVA),
    ("openai.", Family.GPT),
    ("qwen.", Family.QWEN),
)


@functools.lru_cache(maxsize=1024)
def family_of(model: str) -> Family:
    """By the name, which may have a region before it or stand in an ARN."""
    name = model.lower()
    return next((family for word, family in _FAMILIES if word in name), Family.OTHER)


def caches(model: str) -> bool:
    """Whether the model takes cache points. Who hides behind an ARN is not known: it may."""
    return model.startswith("arn:") or family_of(model) in (
        Family.CLAUDE,
        Family.NOVA,
        Family.NOVA_2,
    )


# --- read -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lifted:
    """What the canonical model has a word for."""

    output: Output | None
    reasoning: Reasoning | None
    top_k: int | None


NOTHING_LIFTED = Lifted(None, None, None)


def lift(extra: Mapping[str, Json]) -> Lifted:
    """From `outputConfig` and the model's own fields; what is not understood stays there alone."""
    config, own = extra.get(OUTPUT), extra.get(MODEL_FIELDS)
    if not config and not own:
        return NOTHING_LIFTED
    config = config if isinstance(config, dict) else {}
    own = own if isinstance(own, dict) else {}
    return Lifted(_output(config.get("textFormat")), _reasoning(config, own), _top_k(own))


def carried_whole(extra: Mapping[str, Json], lifted: Lifted) -> list[Json]:
    """Of the two members, those that hold nothing beyond what was lifted."""
    config, own = extra.get(OUTPUT), extra.get(MODEL_FIELDS)
    names: list[Json] = []
    if isinstance(config, dict) and config:
        formed = "textFormat" not in config or lifted.output is not None
        thought = "effort" not in config or lifted.reasoning is not None
        if formed and thought and config.keys() <= {"textFormat", "effort"}:
            names.append(OUTPUT)
    if isinstance(own, dict) and own:
        thought = own.keys() <= {"top_k"} or lifted.reasoning is not None
        ranked = "top_k" not in own or lifted.top_k is not None
        if thought and ranked and own.keys() <= {"thinking", "reasoning_effort", "top_k"}:
            names.append(MODEL_FIELDS)
    return names


def _output(form: Json) -> Output | None:
    if not isinstance(form, dict) or form.get("type") != "json_schema":
        return None
    structure = form.get("structure")
    definition = structure.get("jsonSchema") if isinstance(structure, dict) else None
    text = definition.get("schema") if isinstance(definition, dict) else None
    if not isinstance(definition, dict) or not isinstance(text, str):
        return None
    try:
        schema = jsontext.loads(text.encode("utf-8", "surrogatepass"))
    except jsontext.BadJson:
        return None
    name, description = definition.get("name"), definition.get("description")
    return Output(
        OutputKind.SCHEMA,
        schema,
        name if isinstance(name, str) else None,
        description if isinstance(description, str) else None,
    )


def _reasoning(config: Object, own: Object) -> Reasoning | None:
    nested = own.get("output_config")
    nova = own.get("reasoningConfig")
    words: tuple[Json, ...] = (
        config.get("effort"),
        nested.get("effort") if isinstance(nested, dict) else None,
        own.get("reasoning_effort"),
        own.get("reasoning_config"),
        nova.get("maxReasoningEffort") if isinstance(nova, dict) else None,
    )
    effort = next((word for word in words if isinstance(word, str) and word in _EFFORTS), None)
    thinking = own.get("thinking", own.get("reasoning_config"))
    budget: int | None = None
    if isinstance(thinking, dict):
        given = thinking.get("budget_tokens")
        match thinking.get("type"):
            case "enabled" if isinstance(given, int) and not isinstance(given, bool):
                budget = given
            case "adaptive":
                budget = -1
            case "disabled":
                budget, effort = 0, "none"
            case _:
                pass
    if effort is None and budget is None:
        return None
    return Reasoning(effort=effort, budget=budget)


def _top_k(own: Object) -> int | None:
    nova = own.get("inferenceConfig")
    value = own.get("top_k", nova.get("topK") if isinstance(nova, dict) else None)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


# --- write ----------------------------------------------------------------------------------


def write_schema(output: Output) -> Json:
    """`outputConfig.textFormat`: the schema is text in there."""
    definition: Object = {"schema": jsontext.dumps(output.schema).decode()}
    if output.name:
        definition["name"] = output.name
    if output.description:
        definition["description"] = output.description
    return {"type": "json_schema", "structure": {"jsonSchema": definition}}


def write_top_k(own: Object, top_k: int, model: str, losses: Losses) -> None:
    match family_of(model):
        case Family.CLAUDE:
            own["top_k"] = top_k
        case Family.NOVA | Family.NOVA_2:
            own["inferenceConfig"] = {"topK": top_k}
        case _:
            losses.drop(Field.TOP_K)


def forget_reasoning(own: Object, config: Object) -> None:
    """Takes out what the client once said about it, for new words to come."""
    for name in _REASONING_FIELDS:
        own.pop(name, None)
    nested = own.get("output_config")
    if isinstance(nested, dict):
        own["output_config"] = {k: v for k, v in nested.items() if k != "effort"}
    config.pop("effort", None)


@dataclass(frozen=True, slots=True)
class Wish:
    """How much a model shall think, and what stands against it.

    `forced`: it must call a tool. `unsigned`: the turn under way has calls
    without the reasoning that led to them.
    """

    reasoning: Reasoning
    model: str
    capabilities: Capabilities
    max_tokens: int | None = None
    forced: bool = False
    unsigned: bool = False


def write_reasoning(own: Object, config: Object, wish: Wish, losses: Losses) -> bool:
    """Whether the model will think by a way that bars sampling settings (Claude's)."""
    effort = _effort(wish.reasoning)
    family = family_of(wish.model)
    if family is Family.CLAUDE:
        return _claude(own, config, wish, effort, losses)
    if (wish.reasoning.budget or 0) > 0:
        losses.drop(Field.BUDGET)
    match family:
        case _ if wish.capabilities.reasoning is False:
            _unless_none(effort, wish, losses)
        case Family.NOVA_2 if effort == "none":
            own["reasoningConfig"] = {"type": "disabled"}
        case Family.NOVA_2:
            own["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": _low_to_high(effort)}
        case Family.GPT:
            own["reasoning_effort"] = _low_to_high(effort)
        case Family.QWEN if effort != "none":
            own["reasoning_config"] = _low_to_high(effort)
        case Family.OTHER if wish.capabilities.reasoning and effort != "none":
            config["effort"] = effort
        case _:
            _unless_none(effort, wish, losses)
    return False


def _claude(own: Object, config: Object, wish: Wish, effort: str, losses: Losses) -> bool:
    """`adaptive` with an effort where the model takes it, else a budget of tokens."""
    can = wish.capabilities
    if can.reasoning is False:
        _unless_none(effort, wish, losses)
        return False
    if effort == "none":
        if can.adaptive_thinking is not False:
            own["thinking"] = {"type": "disabled"}
        return False
    if wish.forced:
        # Claude refuses to think when it must call a tool.
        losses.no_thinking(wish.reasoning)
        return False
    if can.adaptive_thinking is not False:
        own["thinking"] = {"type": "adaptive"}
        if wish.reasoning.effort is not None or (wish.reasoning.budget or 0) > 0:
            config["effort"] = {"minimal": "low", "xhigh": "max"}.get(effort, effort)
        if (wish.reasoning.budget or 0) > 0:
            losses.drop(Field.BUDGET)
        return True
    budget = wish.reasoning.budget
    if budget is None or budget < 0:
        budget = _BUDGETS.get(effort, _HIGHEST_BUDGET)
    limit = wish.max_tokens or can.max_output
    if limit is not None:
        budget = min(budget, limit - 1)
    if budget < _LEAST_BUDGET or wish.unsigned:
        losses.no_thinking(wish.reasoning)
        return False
    own["thinking"] = {"type": "enabled", "budget_tokens": budget}
    return True


def _effort(reasoning: Reasoning) -> str:
    """The effort, said or guessed from the budget."""
    if reasoning.effort in _EFFORTS:
        return reasoning.effort
    budget = reasoning.budget
    if budget is None or budget < 0:
        return "medium"
    if budget == 0:
        return "none"
    return "low" if budget < 4096 else "medium" if budget < 12_288 else "high"


def _low_to_high(effort: str) -> str:
    if effort in ("none", "minimal"):
        return "low"
    return "high" if effort in ("xhigh", "max") else effort


def _unless_none(effort: str, wish: Wish, losses: Losses) -> None:
    if effort != "none":
        losses.no_thinking(wish.reasoning)


def bar_sampling(sampling: Sampling, losses: Losses) -> Sampling:
    """The settings that a thinking Claude takes: no temperature, no top_p, no top_k."""
    for name in (Field.TEMPERATURE, Field.TOP_P, Field.TOP_K):
        if getattr(sampling, name) is not None:
            losses.drop(name)
    return Sampling(max_tokens=sampling.max_tokens, stop=sampling.stop)
