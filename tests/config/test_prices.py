"""What models cost: the table's own sense, who sells at it, and what the configuration says first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extproc.config import models, prices
from extproc.config.load import ConfigErrors, decode, encode, load
from extproc.config.prices import SOLD, price
from extproc.config.report import check_report
from extproc.config.schema import Provider
from extproc.model.call import Price
from extproc.model.reply import Usage

OPEN_WEIGHTS = (
    *("gpt-oss*", "llama3.1*", "llama-3.1*", "llama3-1*", "llama3.2*", "llama-3.2*", "llama3-2*"),
    *("llama3.3*", "llama-3.3*", "llama3-3*", "llama4*", "llama-4*"),
    *("qwen2.5*", "qwen2.5-vl*", "qwen3*", "qwen3-vl*"),
    *("nomic-embed-*", "mxbai-embed-*", "all-minilm*", "bge-*", "snowflake-arctic-embed*"),
)
"""each host has its own price"""
BY_OTHER_MEASURES = (
    *(f"gpt-4o{mini}-{what}*" for mini in ("", "-mini") for what in ("audio", "realtime")),
    *(f"gpt-4o{mini}-{what}*" for mini in ("", "-mini") for what in ("transcribe", "tts")),
    *("gpt-4o-search*", "gpt-4o-mini-search*", "gemini-2.5-flash-image*"),
    *("textembedding-*", "text-multilingual-embedding-*"),
)
"""sound, searches, pictures, characters"""
UNPUBLISHED = ("command-a-reasoning*", "command-a-vision*")
UNPRICED = (*OPEN_WEIGHTS, *BY_OTHER_MEASURES, *UNPUBLISHED)


def provider(name: str = "x", **said: Any) -> Provider:
    fields: dict[str, Any] = {"name": name, "dialect": "openai_chat", "endpoint": ""}
    return Provider(**{**fields, **said})


def everything() -> Iterator[tuple[str, str, Price]]:
    """Each price with who sells it under which pattern; long prompts' ones too."""
    for seller, table in SOLD.items():
        for pattern, one in table.items():
            each: Price | None = one
            while each is not None:
                yield seller, pattern, each
                each = each.long


def test_every_price_makes_sense() -> None:
    for _, pattern, each in everything():
        if pattern == "*":
            assert each == Price()
            continue
        embeds = "embed" in pattern
        assert each.input >= 0.01, "dollars for a million tokens, not for one"
        assert (each.output == 0) if embeds else (each.output >= each.input), pattern
        read, write, hour = each.cache_read, each.cache_write, each.cache_write_1h
        assert read is None or 0 < read < each.input, pattern
        assert write is None or write > each.input, pattern
        assert hour is None or (write is not None and hour > write), pattern
        assert each.output < 1000, pattern


def test_long_prompts_cost_more_of_everything() -> None:
    long = [(pattern, each) for _, pattern, each in everything() if each.long is not None]
    assert len(long) > 20
    for pattern, each in long:
        assert each.long is not None
        assert each.long.above > max(each.above, 10_000), pattern
        for name in ("input", "output", "cache_read", "cache_write", "cache_write_1h"):
            short, more = getattr(each, name), getattr(each.long, name)
            assert (short is None) == (more is None), pattern
            assert short is None or short < more <= 5 * short + 1e-9, pattern


def test_every_model_whose_abilities_are_known_has_a_price_or_a_reason_for_none() -> None:
    """B5: the two catalogues know the same models."""
    names = [pattern.rstrip("*") for table in SOLD.values() for pattern in table]
    known = {one.rstrip("*") for one in models.CATALOGUE}
    unknown = {one for one in known if not any(name.startswith(one) for name in names)}
    reasons = {one.rstrip("*") for one in UNPRICED}
    assert unknown == reasons & known, "a reason that is none any more, or a price that is missing"
    assert reasons <= known


@pytest.mark.parametrize(
    ("name", "model", "input", "output"),
    [
        ("openai", "gpt-4o", 2.5, 10),
        ("openai", "gpt-4o-2024-11-20", 2.5, 10),
        ("openai", "gpt-4o-2024-05-13", 5, 15),
        ("openai", "gpt-4o-mini", 0.15, 0.6),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme::1", 0.3, 1.2),
        ("openai", "gpt-4-1106-preview", 10, 30),
        ("openai", "gpt-5-2025-08-07", 1.25, 10),
        ("openai", "text-embedding-3-small", 0.02, 0),
        ("anthropic", "claude-3-5-haiku-latest", 0.8, 4),
        ("anthropic", "claude-opus-4-20250514", 15, 75),
        ("anthropic", "claude-opus-4-1-20250805", 15, 75),
        ("anthropic", "claude-opus-4-5-20251101", 5, 25),
        ("anthropic", "claude-sonnet-4.5", 3, 15),
        ("anthropic", "claude-fable-5-2-20261001", 8, 40),
        ("gemini", "gemini-2.5-flash", 0.3, 2.5),
        ("gemini", "gemini-2.0-flash-001", 0.1, 0.4),
        ("mistral", "mistral-small-latest", 0.15, 0.6),
        ("cohere", "command-r-plus-08-2024", 2.5, 10),
        ("deepseek", "deepseek-v4-pro", 0.66, 1.98),
        ("grok", "grok-4.3", 1.25, 2.5),
        ("xai", "grok-4.7", 2, 6),
    ],
)
def test_a_model_under_its_maker_s_names(
    name: str, model: str, input: float, output: float
) -> None:
    found = price(provider(name), model)
    assert found is not None
    assert (found.input, found.output) == (input, output)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("openai", "gpt-9"),
        ("openai", "gpt-4o-audio-preview"),
        ("openai", "gpt-5-2"),
        ("openai", "claude-sonnet-4-5"),
        ("anthropic", "claude-sonnet-5-9"),
        ("mistral", "mistral-large-3512"),
        ("together", "deepseek-ai/DeepSeek-V4-Pro"),
        ("openrouter", "openai/gpt-4o"),
        ("groq", "llama-3.3-70b-versatile"),
        ("bedrock", "cohere.command-r-v1:0"),
        ("somebody", "gpt-4o"),
    ],
)
def test_what_is_not_sure_is_not_known(name: str, model: str) -> None:
    assert price(provider(name), model) is None


@pytest.mark.parametrize("name", ["ollama", "vllm", "llamacpp", "mock"])
def test_where_nobody_bills_tokens_they_cost_nothing(name: str) -> None:
    assert price(provider(name), "whatever:7b") == Price()


def test_another_ollama_is_free_too() -> None:
    assert price(provider("attic", dialect="ollama_chat"), "llama3.3") == Price()


@pytest.mark.parametrize(
    ("endpoint", "model", "known"),
    [
        ("https://api.openai.com/v1", "gpt-4o", True),
        ("https://api.mistral.ai/v1", "codestral-latest", True),
        ("https://api.x.ai/v1", "grok-4.6", True),
        ("https://openai.example.com/v1", "gpt-4o", False),
        ("http://127.0.0.1:8000/v1", "gpt-4o", False),
    ],
)
def test_who_is_not_known_by_name_is_by_host(endpoint: str, model: str, known: bool) -> None:
    assert (price(provider("mine", endpoint=endpoint), model) is not None) is known


@pytest.mark.parametrize(
    ("said", "model", "input"),
    [
        ({"variant": "azure"}, "gpt-4.1-mini", 0.4),
        ({"variant": "bedrock"}, "anthropic.claude-sonnet-4-5-20250929-v1:0", 3.3),
        ({"variant": "bedrock"}, "us.anthropic.claude-sonnet-4-5-20250929-v1:0", 3.3),
        ({"variant": "bedrock"}, "global.anthropic.claude-sonnet-4-5-20250929-v1:0", 3),
        ({"variant": "bedrock"}, "arn:aws:bedrock:us-east-1:1:x/global.anthropic.claude-opus-5", 5),
        ({"variant": "bedrock"}, "us.anthropic.claude-3-7-sonnet-20250219-v1:0", 3),
        ({"variant": "bedrock"}, "us.amazon.nova-pro-v1:0", 0.8),
        ({"variant": "bedrock"}, "amazon.titan-embed-text-v2:0", 0.02),
        ({"variant": "vertex", "region": "global"}, "claude-opus-4-6", 5),
        ({"variant": "vertex", "region": "europe-west1"}, "claude-opus-4-6", 5.5),
        ({"variant": "vertex", "region": "europe-west1"}, "claude-opus-4-1@20250805", 15),
        ({"variant": "vertex", "region": "europe-west1"}, "gemini-2.5-pro", 1.25),
    ],
)
def test_the_same_model_from_a_cloud(said: dict[str, Any], model: str, input: float) -> None:
    found = price(provider(**said), model)
    assert found is not None
    assert found.input == input


def test_the_configuration_comes_first_and_the_most_exact_of_it() -> None:
    """B5, S1-83"""
    both = {"gpt-4o*": Price(1, 2), "gpt-4o": Price(3, 4)}
    one = provider("openai", cost_per_token=0.00003, prices=both)
    assert price(one, "gpt-4o") == Price(3, 4)
    assert price(one, "gpt-4o-mini") == Price(1, 2)
    assert price(one, "o3") == Price(30, 30)
    assert price(provider("openai", cost_per_token=0.0), "o3") == Price()


@pytest.mark.parametrize(
    ("each", "used", "dollars"),
    [
        (Price(2.5, 10, 1.25), Usage(fresh=1_000_000), 2.5),
        (Price(2.5, 10, 1.25), Usage(fresh=200_000, cache_read=800_000, output=100_000), 2.5),
        (Price(2.5, 10), Usage(fresh=200_000, cache_read=800_000), 2.5),
        (Price(2.5, 10), Usage(output=1000, reasoning=900), 0.01),
        (
            Price(3, 15, 0.3, 3.75, 6),
            Usage(fresh=1000, cache_read=20_000, cache_write=3000, cache_write_1h=1000, output=500),
            0.003 + 0.006 + 0.0075 + 0.006 + 0.0075,
        ),
        (Price(3, 15, 0.3, 3.75), Usage(cache_write=2000, cache_write_1h=1000), 0.0075),
        (Price(30, 30), Usage(fresh=70, output=30), 0.003),
        (Price(0.1), Usage(fresh=10), 0.000001),
        (Price(), Usage(fresh=10, output=10), 0),
    ],
)
def test_a_bill_to_the_micro_dollar(each: Price, used: Usage, dollars: float) -> None:
    """S1-83, S1-20: each kind of token at its own price, and none twice."""
    assert each.of(used) == pytest.approx(dollars, abs=1e-9)


def test_a_long_prompt_costs_more_with_all_that_is_written_to_it() -> None:
    each = Price(1, 10, 0.1, long=Price(2, 15, 0.2, above=200_000))
    edge = Usage(fresh=100_000, cache_read=100_000, output=1000)
    beyond = Usage(fresh=100_001, cache_read=100_000, output=1000)
    assert each.of(edge) == pytest.approx(0.1 + 0.01 + 0.01)
    assert each.of(beyond) == pytest.approx(0.200002 + 0.02 + 0.015)
    assert each.estimate(200_000, 1000) == pytest.approx(0.21)
    assert each.estimate(200_001, 1000) == pytest.approx(0.415002)


FILE = """\
providers:
  openai:
    api_key: {file: key}
    prices:
      "gpt-4o*": {input: 2, output: 8, cache_read: 1}
      "big": {input: 1, output: 2, long: {above: 1000, input: 3, output: 4}}
  acme: {dialect: openai_chat, endpoint: "http://127.0.0.1:9/v1", models: [m]}
models:
  cheap:
    strategy: least_cost
    targets: [openai/gpt-4o, openai/o3, acme/m]
"""


def written(folder: Path, text: str) -> Path:
    (folder / "key").write_text("sk-0123456789abcdef")
    file = folder / "sluice.yaml"
    file.write_text(text)
    return file


def test_a_file_says_prices_and_they_reach_a_child(tmp_path: Path) -> None:
    settings = load(written(tmp_path, FILE), {})
    said = settings.providers["openai"].prices
    assert said == {
        "gpt-4o*": Price(2, 8, 1),
        "big": Price(1, 2, long=Price(3, 4, above=1000)),
    }
    assert decode(encode(settings)).providers["openai"].prices == said


def test_the_report_has_the_date_and_warns_of_what_has_no_price(tmp_path: Path) -> None:
    report = check_report(load(written(tmp_path, FILE), {}))
    assert f"prices: catalogue of {prices.DATED}" in report
    (warning,) = [line for line in report.splitlines() if "least_cost" in line and "warn" in line]
    assert "models.cheap.targets[2]" in warning
    assert "acme/m has no known price, so least_cost asks it last" in warning


def test_where_none_may_be_asked_it_is_an_error(tmp_path: Path) -> None:
    text = FILE.replace("[openai/gpt-4o, openai/o3, acme/m]", "[acme/m]")
    load(written(tmp_path, text), {})
    with pytest.raises(ConfigErrors, match=r"models.cheap: found no target whose price is known"):
        load(written(tmp_path, f"routing: {{unpriced: never}}\n{text}"), {})
