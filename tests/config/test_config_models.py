"""What is known of models: by their makers' names and by those that hosts give them."""

from __future__ import annotations

import pytest

from extproc.config.models import capabilities
from extproc.config.schema import Provider
from extproc.model.call import ANY, Capabilities


def provider(**said: Capabilities) -> Provider:
    by_pattern = {name.replace("_", "-").replace("any", "*"): one for name, one in said.items()}
    return Provider(name="x", dialect="openai_chat", endpoint="", capabilities=by_pattern)


def known(model: str) -> Capabilities:
    return capabilities(provider(), model)


@pytest.mark.parametrize(
    "names",
    [
        (
            "claude-3-7-sonnet-20250219",
            "claude-3.7-sonnet",
            "anthropic/claude-3.7-sonnet",
            "us.anthropic.claude-3-7-sonnet-20250219-v1:0",
            "arn:aws:bedrock:us-east-1:1:inference-profile/eu.anthropic.claude-3-7-sonnet-20250219-v1:0",
        ),
        ("claude-sonnet-4-5", "claude-sonnet-4-5@20250929", "global.anthropic.claude-sonnet-4-5"),
        ("gpt-4o", "openai/gpt-4o", "gpt-4o-2024-11-20"),
        ("llama-3.3-70b", "meta-llama/Llama-3.3-70B-Instruct-Turbo", "us.meta.llama3-3-70b-v1:0"),
        ("nova-pro", "amazon.nova-pro-v1:0", "us.amazon.nova-pro-v1:0"),
    ],
    ids=lambda names: names[0],
)
def test_one_model_under_many_names(names: tuple[str, ...]) -> None:
    assert known(names[0]) != ANY
    assert {known(name) for name in names} == {known(names[0])}


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [
        ("gpt-4o-mini", "max_output", 16_384),
        ("gpt-4o-audio-preview", "vision", None),
        ("gpt-4-1106-preview", "context", None),
        ("gpt-4.1-mini", "context", 1_047_576),
        ("o3-mini", "vision", False),
        ("o3", "vision", True),
        ("gpt-5.2", "reasoning", True),
        ("gpt-5-chat-latest", "reasoning", False),
        ("claude-opus-4-20250514", "max_output", 32_000),
        ("claude-opus-4-5-20251101", "adaptive_thinking", False),
        ("claude-opus-4-6", "adaptive_thinking", True),
        ("claude-opus-4-8", "system_in_messages", True),
        ("claude-opus-4-7", "system_in_messages", False),
        ("claude-3-5-sonnet-latest", "json_schema", False),
        ("claude-haiku-4-5", "json_schema", True),
        ("gemini-2.5-flash", "tools", True),
        ("gemini-2.5-flash-image", "tools", False),
        ("amazon.titan-embed-text-v2:0", "embedding", True),
        ("cohere.embed-v4:0", "embedding", True),
        ("nomic-embed-text", "embedding", True),
        ("gpt-4o", "embedding", None),
        ("my-own-model", "tools", None),
    ],
)
def test_what_is_known(model: str, field: str, value: object) -> None:
    assert getattr(known(model), field) == value


def test_the_configuration_comes_first_field_by_field() -> None:
    """B5, S3-3"""
    one = provider(
        any=Capabilities(tools=False, context=1),
        **{"gpt*": Capabilities(vision=False, context=2), "gpt-4o": Capabilities(context=3)},
    )
    found = capabilities(one, "gpt-4o")
    assert (found.tools, found.vision, found.context) == (False, False, 3)
    assert (found.json_schema, found.max_output) == (True, 16_384)
    assert capabilities(one, "gpt-4o-mini").context == 2
    assert capabilities(one, "llama").context == 1


def test_an_exact_name_is_more_exact_than_any_prefix() -> None:
    one = provider(**{"gpt-4o*": Capabilities(tools=True), "gpt-4o": Capabilities(tools=False)})
    assert capabilities(one, "gpt-4o").tools is False
    assert capabilities(one, "gpt-4o-mini").tools is True
