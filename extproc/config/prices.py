"""What tokens of well-known models cost, as their makers said at the date below.

A table for each of those who sell at these prices, and a look-up in it: a model costs
something else at every host. The configuration's `prices:` come first, then
`cost_per_token:`. Only what is sure stands here; the rest is None, not known. What is not
paid by tokens (searches, images, sound) and what a request may choose (batches, priority)
is not in it. Pure data: nothing is asked of a provider.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from extproc.config.catalogue import KNOWN
from extproc.config.models import matching, plain
from extproc.config.schema import Provider
from extproc.model.call import Price

DATED = "2026-11"
"""year and month in which the prices were compared with what their makers publish"""

_FREE: Mapping[str, Price] = {"*": Price()}
"""at one's own machine nobody bills tokens"""
_REGIONAL = 1.1
"""what AWS and Google take for one region or continent, beside the whole world"""
_DIGITS = 9
_DATES = ("", "-latest", "-0*", "-20*", "@20*", "-v*")
"""how a model's name goes on where it is the same model: dates, and Bedrock's versions"""


def _times(price: Price, factor: float, output: float | None = None) -> Price:
    """`output` is the factor of the output's price, where that is another."""

    def by(each: float | None) -> float | None:
        return None if each is None else round(each * factor, _DIGITS)

    return Price(
        input=by(price.input) or 0.0,
        output=round(price.output * (factor if output is None else output), _DIGITS),
        cache_read=by(price.cache_read),
        cache_write=by(price.cache_write),
        cache_write_1h=by(price.cache_write_1h),
        long=None if price.long is None else _times(price.long, factor, output),
        above=price.above,
    )


def _long(price: Price, above: int, factor: float, output: float | None = None) -> Price:
    """Above so many tokens of the prompt all cost so many times as much."""
    return replace(price, long=replace(_times(price, factor, output), above=above))


def _named(prices: Mapping[str, Price]) -> dict[str, Price]:
    return {f"{name}{date}": price for name, price in prices.items() for date in _DATES}


def _all(names: Iterable[str], price: Price) -> dict[str, Price]:
    return dict.fromkeys(names, price)


def _read(input: float, output: float, share: float) -> Price:
    """What a cache has costs this share of the input."""
    return Price(input, output, round(input * share, _DIGITS))


def _gpt(input: float, output: float, share: float = 0.1, write: float | None = None) -> Price:
    """From 5.4 on: dearer above 272k."""
    short = _read(input, output, share)
    if write is not None:
        short = replace(short, cache_write=round(input * write, _DIGITS))
    return _long(short, 272_000, 2, 1.5)


_GPT_5 = _read(1.25, 10, 0.1)
_GPT_5_MINI = _read(0.25, 2, 0.1)
_GPT_5_2 = _read(1.75, 14, 0.1)
_GPT_5_6 = _gpt(4, 20, write=1.25)
_GPT_4_TURBO = Price(10, 30)
_GPT_3_5 = Price(0.5, 1.5)
_GPT_3_5_FIRST = Price(1.5, 2)

_OPENAI = {
    **_all(("gpt-3.5-turbo", "gpt-3.5-turbo-0125", "gpt-35-turbo"), _GPT_3_5),
    **_all(("gpt-3.5-turbo-0301", "gpt-3.5-turbo-0613"), _GPT_3_5_FIRST),
    "gpt-3.5-turbo-instruct*": _GPT_3_5_FIRST,
    "gpt-3.5-turbo-1106": Price(1, 2),
    **_all(("gpt-4", "gpt-4-0314", "gpt-4-0613"), Price(30, 60)),
    **_all(("gpt-4-0125-preview", "gpt-4-1106-preview", "gpt-4-turbo-preview"), _GPT_4_TURBO),
    **_named(
        {
            "gpt-4-turbo": _GPT_4_TURBO,
            "gpt-4o": _read(2.5, 10, 0.5),
            "gpt-4o-mini": _read(0.15, 0.6, 0.5),
            "gpt-4.1": _read(2, 8, 0.25),
            "gpt-4.1-mini": _read(0.4, 1.6, 0.25),
            "gpt-4.1-nano": _read(0.1, 0.4, 0.25),
            **_all(("gpt-5", "gpt-5-chat", "gpt-5-codex"), _GPT_5),
            "gpt-5-mini": _GPT_5_MINI,
            "gpt-5-nano": _read(0.05, 0.4, 0.1),
            "gpt-5-pro": Price(15, 120),
            **_all(("gpt-5.1", "gpt-5.1-chat", "gpt-5.1-codex", "gpt-5.1-codex-max"), _GPT_5),
            "gpt-5.1-codex-mini": _GPT_5_MINI,
            **_all(("gpt-5.2", "gpt-5.2-chat", "gpt-5.2-codex"), _GPT_5_2),
            "gpt-5.2-pro": Price(21, 168),
            **_all(("gpt-5.3-chat", "gpt-5.3-codex"), _GPT_5_2),
            "gpt-5.4": _gpt(2.5, 15),
            "gpt-5.4-mini": _read(0.75, 4.5, 0.1),
            "gpt-5.4-nano": _read(0.2, 1.25, 0.1),
            **_all(("gpt-5.4-pro", "gpt-5.5-pro"), _long(Price(30, 180), 272_000, 2, 1.5)),
            "gpt-5.5": _gpt(5, 30),
            **_all(("gpt-5.6", "gpt-5.6-sol"), _GPT_5_6),
            "gpt-5.6-terra": _gpt(2, 12, write=1.25),
            "gpt-5.6-luna": _gpt(0.2, 1.2, write=1.25),
            "gpt-6-astra": _gpt(10, 50, write=1.25),
            "gpt-6-sol": _gpt(2, 10, write=1.25),
            "gpt-6-luna": _gpt(0.1, 0.5, write=1.25),
            "gpt-6.1-sol": _gpt(2, 10, 0.05, 1.25),
            "gpt-6.1-terra": _gpt(1, 5, 0.05, 1.25),
            **_all(("o1", "o1-preview"), _read(15, 60, 0.5)),
            **_all(("o1-mini", "o3-mini"), _read(1.1, 4.4, 0.5)),
            "o1-pro": Price(150, 600),
            "o3": _read(2, 8, 0.25),
            "o3-pro": Price(20, 80),
            "o4-mini": _read(1.1, 4.4, 0.25),
            "text-embedding-3-large": Price(0.13),
            "text-embedding-3-small": Price(0.02),
            "text-embedding-ada-002": Price(0.1),
        }
    ),
    "gpt-4o-2024-05-13": Price(5, 15),
    "ft:gpt-3.5-turbo*": Price(3, 6),
    "ft:gpt-4o-2024-*": Price(3.75, 15),
    "ft:gpt-4o-mini-2024-*": Price(0.3, 1.2),
}


def _claude(input: float, share: float = 0.1) -> Price:
    """All alike: the answer at five times the prompt, a cache at 1.25 or, for an hour, 2 times."""
    return replace(
        _read(input, input * 5, share),
        cache_write=round(input * 1.25, _DIGITS),
        cache_write_1h=round(input * 2, _DIGITS),
    )


_CLAUDE_TO_4_1 = _named(
    {
        "claude-3-haiku": Price(0.25, 1.25, 0.03, 0.3, 0.5),
        **_all(("claude-3-sonnet", "claude-3-5-sonnet", "claude-3-7-sonnet"), _claude(3)),
        "claude-3-5-haiku": _claude(0.8),
        "claude-sonnet-4": _claude(3),
        **_all(("claude-3-opus", "claude-opus-4", "claude-opus-4-1"), _claude(15)),
    }
)
_CLAUDE = _named(
    {
        "claude-haiku-4-5": _claude(1),
        **_all(("claude-sonnet-4-5", "claude-sonnet-4-6"), _claude(3)),
        **_all((f"claude-opus-4-{minor}" for minor in (5, 6, 7, 8)), _claude(5)),
        "claude-sonnet-5": _claude(2),
        "claude-opus-5": _claude(5),
        "claude-fable-5": _claude(10),
        "claude-fable-5-1": _claude(10, 0.025),
        "claude-fable-5-2": _claude(8, 0.025),
        "claude-haiku-5-5": _long(_claude(0.1), 100_000, 5),
        "claude-sonnet-5-5": _claude(2, 0.05),
        "claude-opus-5-5": _claude(4, 0.05),
    }
)


def _gemini(input: float, output: float, share: float = 0.1) -> Price:
    """Pro: dearer above 200k."""
    return _long(_read(input, output, share), 200_000, 2, 1.5)


# as introduced, until the end of 2026; then twice as much
_GEMINI_3_6 = _read(0.75, 3.75, 0.1)

_GEMINI = _named(
    {
        "gemini-1.5-flash": _long(_read(0.075, 0.3, 0.25), 128_000, 2),
        "gemini-1.5-pro": _long(_read(1.25, 5, 0.25), 128_000, 2),
        "gemini-2.0-flash": _read(0.1, 0.4, 0.25),
        "gemini-2.0-flash-lite": Price(0.075, 0.3),
        **_all(("gemini-2.5-flash", "gemini-2.5-flash-preview-09-2025"), _read(0.3, 2.5, 0.1)),
        **_all(
            ("gemini-2.5-flash-lite", "gemini-2.5-flash-lite-preview-09-2025"),
            _read(0.1, 0.4, 0.1),
        ),
        "gemini-2.5-pro": _gemini(1.25, 10),
        "gemini-3-flash-preview": _read(0.5, 3, 0.1),
        **_all(("gemini-3-pro-preview", "gemini-3.1-pro-preview"), _gemini(2, 12)),
        **_all(("gemini-3.1-flash-lite", "gemini-3.1-flash-lite-preview"), _read(0.25, 1.5, 0.1)),
        "gemini-3.5-flash": _read(1.5, 9, 0.1),
        "gemini-3.5-flash-lite": _read(0.3, 2.5, 0.1),
        **_all((f"gemini-3.{minor}-flash" for minor in (6, 7, 8)), _GEMINI_3_6),
        "gemini-embedding-001": Price(0.15),
    }
)

_MISTRAL_LARGE_2 = Price(2, 6)
_MISTRAL_MEDIUM_3 = _read(0.4, 2, 0.1)
_MISTRAL_MEDIUM_3_5 = _read(1.5, 7.5, 0.1)

_MISTRAL = {
    **_all(("mistral-large-2407", "mistral-large-2411"), _MISTRAL_LARGE_2),
    **_all(("pixtral-large-latest", "pixtral-large-2411"), _MISTRAL_LARGE_2),
    "mistral-large-2512": _read(0.5, 1.5, 0.1),
    "mistral-large-4-0": _read(0.7, 2.1, 0.1),
    **_all(("mistral-medium-2505", "mistral-medium-2508"), _MISTRAL_MEDIUM_3),
    **_all(("mistral-medium-2604", "mistral-medium-latest"), _MISTRAL_MEDIUM_3_5),
    "mistral-small-2506": Price(0.1, 0.3),
    **_all(("mistral-small-2603", "mistral-small-latest"), _read(0.15, 0.6, 0.1)),
    "magistral-medium-*": Price(2, 5),
    "magistral-small-*": Price(0.5, 1.5),
    **_all(("codestral-2501", "codestral-latest"), Price(0.3, 0.9)),
    "codestral-2508": _read(0.3, 0.9, 0.1),
    "devstral-2512": _read(0.4, 2, 0.1),
    "ministral-3b-2512": _read(0.1, 0.1, 0.1),
    **_all(("ministral-8b-2512", "ministral-8b-latest"), _read(0.15, 0.15, 0.1)),
    "ministral-14b-2512": _read(0.2, 0.2, 0.1),
    "open-mistral-nemo*": Price(0.15, 0.15),
    "pixtral-12b*": Price(0.15, 0.15),
    "mistral-embed*": Price(0.1),
    "codestral-embed*": _read(0.15, 0, 0.1),
}

_COHERE = {
    **_all(("command-r", "command-r-08-2024"), Price(0.15, 0.6)),
    **_all(("command-r-plus", "command-r-plus-08-2024"), Price(2.5, 10)),
    **_all(("command-r7b", "command-r7b-12-2024"), Price(0.0375, 0.15)),
    **_all(("command-a", "command-a-03-2025"), Price(2.5, 10)),
    "embed-v4.0": Price(0.12),
    **_all(("embed-english-v3.0", "embed-multilingual-v3.0"), Price(0.1)),
}

# twice as much in the busy hours of Beijing's working days
_DEEPSEEK = {
    **_all(("deepseek-flash", "deepseek-v4-flash"), Price(0.15, 0.6, 0.003)),
    "deepseek-v4-pro": Price(0.66, 1.98, 0.022),
}


def _grok(input: float, output: float, cache_read: float) -> Price:
    """Dearer from 200k on."""
    return _long(Price(input, output, cache_read), 199_999, 2)


_XAI = {
    **_all(("grok-4.20", "grok-4.20-0309-reasoning"), _grok(1.25, 2.5, 0.2)),
    **_all(("grok-4.20-0309-non-reasoning", "grok-4.3"), _grok(1.25, 2.5, 0.2)),
    **_all((f"grok-4.{minor}" for minor in (5, 6, 7)), _grok(2, 6, 0.5)),
    "grok-build-0.1": _grok(1, 2, 0.2),
}

_AMAZON = {
    "nova-micro-v1*": _read(0.035, 0.14, 0.25),
    "nova-lite-v1*": _read(0.06, 0.24, 0.25),
    "nova-pro-v1*": _read(0.8, 3.2, 0.25),
    "nova-premier-v1*": _read(2.5, 12.5, 0.25),
    "titan-text-lite-v1*": Price(0.15, 0.2),
    "titan-text-express-v1*": Price(0.2, 0.6),
    "titan-embed-text-v1*": Price(0.1),
    "titan-embed-text-v2*": Price(0.02),
}
_NOVA_2 = {"nova-2-lite-v1*": _read(0.3, 2.5, 0.25)}


def _regional(prices: Mapping[str, Price]) -> dict[str, Price]:
    return {name: _times(price, _REGIONAL) for name, price in prices.items()}


SOLD: Mapping[str, Mapping[str, Price]] = {
    "openai": _OPENAI,
    "azure": _OPENAI,
    "anthropic": {**_CLAUDE_TO_4_1, **_CLAUDE},
    "gemini": _GEMINI,
    "vertex": {**_GEMINI, **_CLAUDE_TO_4_1, **_regional(_CLAUDE)},
    "vertex global": {**_GEMINI, **_CLAUDE_TO_4_1, **_CLAUDE},
    "bedrock": {**_AMAZON, **_CLAUDE_TO_4_1, **_regional(_NOVA_2), **_regional(_CLAUDE)},
    "bedrock global": {**_AMAZON, **_CLAUDE_TO_4_1, **_NOVA_2, **_CLAUDE},
    "mistral": _MISTRAL,
    "cohere": _COHERE,
    "deepseek": _DEEPSEEK,
    "grok": _XAI,
    "xai": _XAI,
    **dict.fromkeys(("ollama", "vllm", "llamacpp", "mock"), _FREE),
}
"""who sells -> patterns of names, as models' makers write them -> prices"""

_HOSTS = {
    urlsplit(known.endpoint).netloc: known.name
    for known in KNOWN.values()
    if known.endpoint is not None and known.endpoint.startswith("https:")
}


def price(provider: Provider, model: str) -> Price | None:
    """What a model of this provider costs. `model` is the provider's own name of it."""
    said = next(matching(provider.prices.items(), model), None)
    if said is not None:
        return said
    if (each := provider.cost_per_token) is not None:
        dollars = round(each * 1_000_000, _DIGITS)
        return Price(dollars, dollars)
    return next(matching(SOLD.get(_seller(provider, model), {}).items(), plain(model)), None)


def _seller(provider: Provider, model: str) -> str:
    """A key of `SOLD`, or what is none: who is known by name or by host, whatever the other says."""
    match provider.variant:
        case "bedrock" if "global." in model.lower():
            return "bedrock global"
        case "vertex" if provider.region == "global":
            return "vertex global"
        case "":
            if provider.name in KNOWN:
                return provider.name
            host = _HOSTS.get(urlsplit(provider.endpoint).netloc, "")
            return "ollama" if provider.dialect == "ollama_chat" else host
        case variant:
            return variant
