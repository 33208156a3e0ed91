"""What a client of Anthropic's language loses at a provider of another, and in which words it is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from extproc.dialects._loss import Losses
from extproc.dialects.anthropic_messages import DIALECT
from extproc.model.call import Target
from extproc.model.chat import Chat
from extproc.model.errors import Unsupported
from extproc.model.fields import Field

from . import kit_anthropic as kit

HI = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
SCHEMA = {"type": "json_schema", "schema": {"type": "object"}}


def abroad(**members: Any) -> tuple[str, ...]:
    losses = Losses(Target("acme", "m", "elsewhere"))
    losses.foreign(kit.parse({**HI, **members}).extra, "elsewhere")
    return losses.names


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        (Field.STOP, ["a"], lambda chat: list(chat.sampling.stop)),
        (Field.USER, "u", lambda chat: chat.user),
        (Field.EFFORT, "low", lambda chat: chat.reasoning.effort),
        (Field.OUTPUT, SCHEMA, lambda chat: {**SCHEMA, "schema": chat.output.schema}),
        (Field.TOP_K, 3, lambda chat: chat.sampling.top_k),
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
    assert found(kit.parse(body)) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mcp_servers", [{"type": "url", "url": "https://e.com", "name": "it"}]),
        ("container", "container_1"),
        ("inference_geo", "eu"),
    ],
)
def test_what_only_claude_has_and_an_answer_depends_on_is_refused(name: str, value: Any) -> None:
    with pytest.raises(Unsupported) as refused:
        abroad(**{name: value})
    assert refused.value.param == name
    assert abroad(**{name: None}) == ()
    body = {**HI, name: value}
    assert kit.rebuilt(kit.parse(body)) == body


def test_what_is_a_hint_is_named() -> None:
    assert abroad(speed="fast", cache_control={"type": "ephemeral"}) == ("speed", "cache_control")


def test_a_beta_alone_says_nothing() -> None:
    """It allows members of the body, and each of these is named for itself."""
    losses = Losses(Target("acme", "m", "elsewhere"))
    losses.foreign(kit.parse(HI, anthropic_beta="context-1m-2025-08-07").extra, "elsewhere")
    assert losses.names == ()
