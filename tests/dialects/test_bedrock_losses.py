"""What a client of Converse loses at a provider of another language, and in which words it is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from extproc.dialects._loss import Losses
from extproc.dialects.bedrock_converse import DIALECT
from extproc.model.call import Target
from extproc.model.chat import Chat
from extproc.model.errors import Unsupported
from extproc.model.fields import Field
from tests.dialects import kit_bedrock as kit

HI = {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}
TOOL = {"toolSpec": {"name": "f", "description": "It.", "inputSchema": {"json": {}}}}


def abroad(**members: Any) -> tuple[str, ...]:
    losses = Losses(Target("acme", "m", "elsewhere"))
    losses.foreign(kit.parse({**HI, **members}).extra, "elsewhere")
    return losses.names


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        (Field.TEMPERATURE, 0.5, lambda chat: chat.sampling.temperature),
        (Field.TOP_P, 0.5, lambda chat: chat.sampling.top_p),
        (Field.TOP_K, 5, lambda chat: chat.sampling.top_k),
        (Field.MAX_TOKENS, 7, lambda chat: chat.sampling.max_tokens),
        (Field.STOP, ["a"], lambda chat: list(chat.sampling.stop)),
        (Field.METADATA, {"a": "b"}, lambda chat: chat.metadata),
        (Field.SERVICE_TIER, {"type": "flex"}, lambda chat: {"type": chat.service_tier}),
        (Field.EFFORT, "low", lambda chat: chat.reasoning.effort),
        (Field.TOOLS, [TOOL], lambda chat: [TOOL] if chat.tools[0].name == "f" else []),
        (Field.TOOL_CHOICE, {"any": {}}, lambda chat: {chat.tool_choice.mode.name.lower(): {}}),
    ],
)
def test_fields_are_called_as_the_client_writes_them(
    field: Field, value: Any, found: Callable[[Chat], Any]
) -> None:
    body: dict[str, Any] = {**HI}
    place = body
    *above, last = DIALECT.field_names.get(field, field.value).split(".")
    for name in above:
        place = place.setdefault(name, {})
    place[last] = value
    told = found(kit.parse(body))
    assert told == ({"required": {}} if field is Field.TOOL_CHOICE else value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("guardrailConfig", {"guardrailIdentifier": "g", "guardrailVersion": "1"}),
        ("promptVariables", {"who": {"text": "Ann"}}),
    ],
)
def test_what_only_bedrock_has_and_an_answer_depends_on_is_refused(name: str, value: Any) -> None:
    """A guard that the client asked for is not left out because another provider has none."""
    with pytest.raises(Unsupported) as refused:
        abroad(**{name: value})
    assert refused.value.param == name
    assert abroad(**{name: {}}) == ()
    body = {**HI, name: value}
    assert kit.rebuilt(kit.parse(body)) == body


def test_what_is_a_hint_is_named() -> None:
    members = {
        "performanceConfig": {"latency": "optimized"},
        "additionalModelResponseFieldPaths": ["/stop_sequence"],
        "additionalModelRequestFields": {"odd": 1},
    }
    assert abroad(**members) == tuple(members)
    body = {**HI, **members}
    assert kit.rebuilt(kit.parse(body)) == body
