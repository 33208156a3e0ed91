"""The language of `models:` and `routing:`. What their keys mean together is `model_routes.py`'s."""

from __future__ import annotations

from extproc.config.parameters import CAPS, PARAMETERS
from extproc.config.schema import DrawBy, Strategy, Unpriced
from extproc.config.shapes import (
    Block,
    Choice,
    Duration,
    Either,
    Field,
    ListOf,
    Number,
    Size,
    Table,
    Text,
)
from extproc.config.texts import ADDRESS, NAME, condition_problem
from extproc.model.call import Failure

_NAME = Text("a name", pattern=NAME)
_MODEL = Text("a model's name, or `*`", pattern=r"[^*\s]+|\*")
_PROVIDER = Text("a provider's name, or `provider@region`", pattern=ADDRESS)
_SHORT = Text("`provider/model`", pattern=rf"{ADDRESS}/([^*\s]+|\*)")
_SHARE = Number(above=0, high=1, whole=False)
_PERCENT = Number(0, 100, whole=False)
_ATTEMPTS = Number(1, 10)

_STRATEGIES = (
    "in which order the targets of a group are asked: as written, drawn by weight, in turns, the "
    "quickest to its first token, the one with most tokens a second, the cheapest for this prompt, "
    "the one with the least to do, or `sticky`: drawn by session, else by the prompt's beginning, so "
    "that a provider finds the prompt in its cache"
)

_PARAMETERS = Block(PARAMETERS)

TRIGGERS = tuple(one.value for one in Failure if one not in (Failure.OURS, Failure.LEFT))
"""the failures after which another target may be asked"""

_WHERE = {
    "provider": Field(
        _PROVIDER, "one of `providers`, or one of its regions: `name@region`", required=True
    ),
    "model": Field(
        _MODEL,
        "the model's name over there, never another name of `models`; `*` is what the `*` of the "
        "name stood for",
        required=True,
    ),
}

_TARGET = Block(
    {
        **_WHERE,
        "weight": Field(
            Number(0, 10**6, whole=False),
            "its share, beside the others of its group; 0 = it is not asked",
            "1",
        ),
        "label": Field(_NAME, "the arm of an A/B split that it is; logs and metrics say it"),
        "when": Field(
            Text("a condition", problem=condition_problem),
            "condition in CEL without which it is not asked, such as `request.tokens > 8000`",
            "always",
        ),
        "set": Field(_PARAMETERS, "settings that requests to it have, whatever they ask"),
        "default": Field(_PARAMETERS, "settings of requests that do not say"),
        "cap": Field(Block(CAPS), "upper bounds of settings"),
    }
)
TARGETS = ListOf(Either(_SHORT, _TARGET), 1)

WINDOW = Block(
    {
        "seconds": Field(Duration(high=60), "how long at most", "2s"),
        "bytes": Field(Size(1024, 1024 * 1024), "how much at most", "64KiB"),
    }
)

_RETRY = Block(
    {
        "attempts": Field(_ATTEMPTS, "attempts in all, the first included", "3"),
        "on": Field(
            ListOf(Choice(TRIGGERS)),
            "failures after which there is another attempt",
            "all but content_filter, context_length and bad_output",
        ),
        "same": Field(
            Number(0, 9), "further attempts of a target, before the next target's turn", "0"
        ),
        "base": Field(
            Duration(high=60), "pause between attempts of the same target, doubling", "250ms"
        ),
        "longest": Field(Duration(high=600), "longest such pause", "4s"),
    }
)
RETRY = Either(_ATTEMPTS, _RETRY)

_SHADOW = Block({**_WHERE, "percent": Field(_PERCENT, "of how many requests, in percent", "100")})

_ROUTE = Block(
    {
        "strategy": Field(Choice(tuple(Strategy)), _STRATEGIES, "order"),
        "by": Field(
            Choice(tuple(DrawBy)),
            "what a weighted draw is made of, so that equal ones get the same target; `prefix` is "
            "the prompt's beginning",
            "call",
        ),
        "groups": Field(
            ListOf(TARGETS, 1), "groups of targets; one is asked when those before it failed"
        ),
        "targets": Field(TARGETS, "the targets of the only group"),
        "window": Field(
            WINDOW,
            "hold a stream until its first content is there, so that one that breaks before it "
            "can be asked of the next target; `{}` for the defaults",
            "not held",
        ),
        "retry": Field(
            RETRY,
            "how often, after what and how soon again; a number means attempts",
            "that of routing.retry, key by key",
        ),
        "deadline": Field(
            Duration(), "to the first byte of the reply, over all attempts", "routing.deadline"
        ),
        "shadow": Field(
            Either(_SHORT, _SHADOW), "who gets a copy of the requests, unseen by clients"
        ),
    },
    one_of=("groups", "targets"),
)

MODELS = Table(
    Either(_SHORT, Either(TARGETS, _ROUTE)),
    r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}\*?|\*",
    "up to 128 letters, digits, `.`, `_`, `:`, `/` and `-`, the first a letter or a digit, or "
    "such a beginning and `*`",
)

ROUTING = Block(
    {
        "retry": Field(RETRY, "how often, after what and how soon again; a number means attempts"),
        "budget": Field(
            Block(
                {
                    "percent": Field(
                        _PERCENT, "of the first attempts of the last 10 seconds, in percent", "20"
                    ),
                    "minimum": Field(Number(0, 10**6), "this many in 10 seconds anyway", "10"),
                }
            ),
            "how often a worker asks a target again that has just failed, so that this is no storm;"
            " the next target is asked anyway",
        ),
        "breaker": Field(
            Block(
                {
                    "failures": Field(Number(1, 1_000_000), "failures in a row", "5"),
                    "error_rate": Field(_SHARE, "share of attempts that failed", "0.5"),
                    "minimum": Field(
                        Number(1, 10**6), "attempts below which no share is looked at", "20"
                    ),
                    "slow": Field(
                        Duration(), "time to the first byte from which an attempt is slow", "never"
                    ),
                    "slow_rate": Field(_SHARE, "share of attempts that were slow", "0.8"),
                    "window": Field(Duration(high=3600), "attempts that shares are of", "30s"),
                    "open": Field(Duration(high=3600), "how long a target is left alone", "15s"),
                    "trials": Field(Number(1, 100), "attempts that then try it", "1"),
                }
            ),
            "when a target is left alone for a while",
        ),
        "deadline": Field(Duration(), "to the first byte of the reply, over all attempts", "none"),
        "longest_cooldown": Field(
            Duration(), "longest time that a provider's `retry-after` keeps a target out", "300s"
        ),
        "unpriced": Field(
            Choice(tuple(Unpriced)),
            "when `least_cost` asks a target whose price is not known: after the others, or never",
            "last",
        ),
    }
)
