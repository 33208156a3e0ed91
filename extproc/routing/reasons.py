"""Why a target was asked, or was not: short codes that never change their meaning.

They stand in `x-sluice-why`, in the log, and in what `explain` says. Bounded in
number: what follows a colon is a label of the configuration, or a `Failure`.
"""

from __future__ import annotations

from enum import StrEnum

from extproc.model.call import Failure


class Why(StrEnum):
    """A code, and `means`: the sentence for people. docs/routing.md shows all of them."""

    _value_: str
    means: str

    def __new__(cls, code: str, means: str) -> Why:
        made = str.__new__(cls, code)
        made._value_ = code
        made.means = means
        return made

    # how the client's words led to a model
    PINNED = "pinned", "the client named the provider"
    NAME = "name", "a provider serves a model of this name"
    ALIAS = "alias", "`models` has this name"
    WILDCARD = "wildcard", "`models` has a beginning of this name"
    DEFAULT = "default", "no model was named, so the default one was taken"
    PATH = "path", "what is not translated goes to a provider of its own language"

    # by what the target that is asked first came first; `weighted:LABEL` where it has a label
    ORDER = "order", "targets are asked as they are written"
    WEIGHTED = "weighted", "the first target was drawn by weight; its label follows, if it has one"
    ROUND_ROBIN = "round_robin", "drawn, with equal shares for all"
    LEAST_LATENCY = "least_latency", "drawn in favour of the quickest to its first token"
    MOST_THROUGHPUT = "most_throughput", "drawn in favour of the one with most tokens a second"
    LEAST_COST = "least_cost", "the cheapest for this request comes first"
    LEAST_BUSY = "least_busy", "the one with the fewest calls in flight comes first"
    STICKY = "sticky", "the same session, or the same beginning of a prompt, gets the same target"

    # why a target that would have come before was not asked
    STRUCK_PROVIDER = (
        "struck:provider",
        "its provider cannot be used: the configuration lacks something of it",
    )
    STRUCK_LANGUAGE = (
        "struck:language",
        "the request is not translated, and the provider does not speak its language",
    )
    STRUCK_WEIGHT = "struck:weight", "its share is 0"
    STRUCK_PRICE = (
        "struck:price",
        "its price is not known, and `routing.unpriced` says to ask none such",
    )
    STRUCK_CALLER = "struck:caller", "the caller's key may not use the model"
    STRUCK_TOOLS = "struck:tools", "the request offers tools, which the model cannot call"
    STRUCK_VISION = "struck:vision", "the request shows images, which the model cannot see"
    STRUCK_SCHEMA = (
        "struck:json_schema",
        "the answer must keep to a JSON schema, which the model cannot",
    )
    STRUCK_CONTEXT = "struck:context", "prompt and answer are longer than its context"
    STRUCK_OUTPUT = "struck:max_output", "the client asks for more tokens than it can write"
    STRUCK_CONDITION = "struck:condition", "its `when` does not hold"
    STRUCK_BREAKER = "struck:breaker", "its breaker is open: it failed too often of late"
    STRUCK_COOLDOWN = "struck:cooldown", "its provider asked to be left alone for a while"
    STRUCK_ATTEMPTS = (
        "struck:attempts",
        "it stands behind as many targets as there may be attempts; only `explain` says so",
    )

    # why a target that was next was not asked after all
    STRUCK_BUDGET = "struck:retry_budget", "too many attempts are repeated just now"
    STRUCK_DEADLINE = "struck:deadline", "the time that the call may take was over"
    STRUCK_UNSUPPORTED = "struck:unsupported", "its provider's language cannot carry the request"

    FALLBACK = (
        "fallback",
        "the target before failed, in the way that follows, so the next was asked",
    )


def fallback(failure: Failure) -> str:
    """The code of an attempt that was made because the one before failed."""
    return f"{Why.FALLBACK}:{failure}"


def meaning(code: str) -> str:
    """The sentence of a code, whatever follows it; empty for what is none."""
    for known in (code, code.partition(":")[0]):
        if known in _BY_CODE:
            return _BY_CODE[known].means
    return ""


_BY_CODE = {why.value: why for why in Why}
