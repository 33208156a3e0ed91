"""Every variable of the environment that works without being named in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from extproc.config.catalogue import KNOWN
from extproc.config.env import VARIABLES
from extproc.config.load import ConfigErrors, load
from extproc.config.schema import Secret

GOOD: dict[str, tuple[str, Any]] = {
    "LLM_GATEWAY_HOST": ("0.0.0.0", "0.0.0.0"),
    "LLM_GATEWAY_PORT": ("8080", 8080),
    "SENSITIVE_KEYWORDS": ("password, secret,token", ["password", "secret", "token"]),
    "SENSITIVITY_THRESHOLD": ("0.7", 0.7),
    "SECURE_ONLY_MODELS": ("ollama,bedrock", ["ollama", "bedrock"]),
    "CACHE_MAX_SIZE": ("1000", 1000),
    "CACHE_DEFAULT_TTL": ("3600", 3600),
    "CACHE_CLEANUP_INTERVAL": ("300", 300),
    "RATE_LIMIT_REQUESTS_PER_MINUTE": ("60", 60),
    "RATE_LIMIT_REQUESTS_PER_HOUR": ("1000", 1000),
    "RATE_LIMIT_TOKENS_PER_MINUTE": ("50000", 50000),
    "RATE_LIMIT_BURST_LIMIT": ("10", 10),
    "RATE_LIMIT_COOLDOWN_SECONDS": ("60", 60),
}
BAD = {"LLM_GATEWAY_HOST": "a b", "SENSITIVE_KEYWORDS": None, "SECURE_ONLY_MODELS": "a b"}

OVERRIDDEN = """
server: {host: localhost, port: 1}
security: {sensitive_keywords: [x], sensitivity_threshold: 0.1, secure_only_models: [y]}
cache: {max_size: 1, default_ttl: 1, cleanup_interval: 1}
rate_limiting:
  default: {requests_per_minute: 1, requests_per_hour: 1, tokens_per_minute: 1, burst_limit: 1, cooldown_seconds: 1}
"""


def value_of(file: Path | None, name: str, text: str) -> object:
    settings = load(file, {name: text})
    first, *rest = VARIABLES[name]
    if first == "server":
        return getattr(settings.server, rest[0])
    value: Any = settings.blocks[first]
    for key in rest:
        value = value[key]
    return value


def test_every_variable_is_tried() -> None:
    assert set(GOOD) == set(VARIABLES)


@pytest.mark.parametrize("name", VARIABLES)
def test_it_fills_in_and_overrides(name: str, tmp_path: Path) -> None:
    text, value = GOOD[name]
    file = tmp_path / "sluice.yaml"
    file.write_text(OVERRIDDEN)
    assert value_of(None, name, text) == value
    assert value_of(file, name, text) == value


@pytest.mark.parametrize("name", [name for name in VARIABLES if BAD.get(name, "x") is not None])
def test_a_bad_value_names_the_variable(name: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        load(None, {name: BAD.get(name) or "lots"})
    (error,) = caught.value.errors
    assert (error.file, error.path) == ("environment", name)
    assert error.render().startswith(f"environment: {name}: found ")


@pytest.mark.parametrize("name", VARIABLES)
def test_an_empty_one_is_not_set(name: str) -> None:
    assert load(None, {name: ""}) == load(None, {})


def test_the_exact_message() -> None:
    with pytest.raises(ConfigErrors) as caught:
        load(None, {"LLM_GATEWAY_PORT": "99999"})
    assert str(caught.value) == (
        'environment: LLM_GATEWAY_PORT: found "99999", expected a whole number from 0 to 65535'
    )


@pytest.mark.parametrize(
    ("name", "provider"),
    [
        ("OPENAI_API_KEY", "openai"),
        ("ANTHROPIC_API_KEY", "anthropic"),
        ("GROK_API_KEY", "grok"),
        ("XAI_API_KEY", "grok"),
        ("GEMINI_API_KEY", "gemini"),
        ("MISTRAL_API_KEY", "mistral"),
    ],
)
def test_a_key_makes_a_provider(name: str, provider: str) -> None:
    """S4-13, S1-61, S1-62, S1-64"""
    providers = load(None, {name: "sk-1"}).providers
    assert list(providers) == [provider]
    assert providers[provider].api_key == Secret("sk-1")
    assert providers[provider].endpoint == KNOWN[provider].endpoint


@pytest.mark.parametrize(
    ("name", "provider"), [("OLLAMA_ENDPOINT", "ollama"), ("BEDROCK_ENDPOINT", "bedrock")]
)
def test_an_endpoint_makes_a_provider(name: str, provider: str) -> None:
    providers = load(None, {name: "http://proxy:7090/invoke"}).providers
    assert [(one.name, one.endpoint) for one in providers.values()] == [
        (provider, "http://proxy:7090/invoke")
    ]
    with pytest.raises(ConfigErrors, match=f"^environment: {name}: found no http"):
        load(None, {name: "proxy:7090"})


KEYS = {"OPENAI_API_KEY": "sk-1", "GROK_API_KEY": "sk-2", "OLLAMA_ENDPOINT": "http://ollama:11434"}


def test_all_providers_limits_and_orders() -> None:
    assert list(load(None, KEYS).providers) == ["ollama", "openai", "grok"]
    env = {**KEYS, "ALL_PROVIDERS": "grok, bedrock,openai"}
    assert list(load(None, env).providers) == ["grok", "openai"]


def test_all_providers_limits_the_file_too(tmp_path: Path) -> None:
    file = tmp_path / "sluice.yaml"
    file.write_text("providers: {openai: , grok: }\nmodels: {fast: [{provider: openai, model: x}]}")
    with pytest.raises(ConfigErrors, match=r"\(ALL_PROVIDERS leaves it out\)"):
        load(file, {**KEYS, "ALL_PROVIDERS": "grok"})
    assert list(load(file, {**KEYS, "ALL_PROVIDERS": "grok,openai"}).providers) == [
        "grok",
        "openai",
    ]


def test_all_providers_with_a_typo() -> None:
    with pytest.raises(ConfigErrors) as caught:
        load(None, {"ALL_PROVIDERS": "opnai"})
    assert str(caught.value) == (
        'environment: ALL_PROVIDERS: found the unknown provider "opnai", '
        'expected names with commas between (did you mean "openai"?)'
    )


def test_a_file_with_providers_takes_no_others(tmp_path: Path) -> None:
    file = tmp_path / "sluice.yaml"
    file.write_text("providers: {mock: }")
    assert list(load(file, KEYS).providers) == ["mock"]
