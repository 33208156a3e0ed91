"""Why a target was asked, or was not: short codes that never change their meaning.

They stand in `x-sluice-why`, in the log, and in what `explain` says. Bounded in
number: what follows a colon is a label of the configuration, or a `Failure`.
"""

from __future__ import annotations

from enum import StrEnum

from extproc.model.call import Failure


class Why(StrEnum):
    # how the client's words led to a model
    PINNED = "pinned"
    """the client named the provider"""
    NAME = "name"
    """a provider serves a model of this name"""
    ALIAS = "alias"
    """`models` has this name"""
    WILDCARD = "wildcard"
    """`models` has a beginning of this name"""
    DEFAULT = "default"
    """no model was named"""
    PATH = "path"
    """what is not translated goes to a provider of its own language"""

    # by what the target that is asked first came first; `weighted:LABEL` where it has a label
    ORDER = "order"
    WEIGHTED = "weighted"
    ROUND_ROBIN = "round_robin"
    LEAST_LATENCY = "least_latency"
    MOST_THROUGHPUT = "most_throughput"
    LEAST_COST = "least_cost"
    LEAST_BUSY = "least_busy"
    STICKY = "sticky"

    # why a target that would have come before was not asked
    STRUCK_PROVIDER = "struck:provider"
    """its provider cannot be used: the configuration lacks something of it"""
    STRUCK_LANGUAGE = "struck:language"
    """the request is not translated, and the provider does not speak its language"""
    STRUCK_WEIGHT = "struck:weight"
    """its share is 0"""
    STRUCK_CALLER = "struck:caller"
    """the caller's key may not use the model"""
    STRUCK_TOOLS = "struck:tools"
    STRUCK_VISION = "struck:vision"
    STRUCK_SCHEMA = "struck:json_schema"
    STRUCK_CONTEXT = "struck:context"
    """prompt and answer are longer than its context"""
    STRUCK_OUTPUT = "struck:max_output"
    """the client asks for more tokens than it can write"""
    STRUCK_CONDITION = "struck:condition"
    STRUCK_BREAKER = "struck:breaker"
    STRUCK_COOLDOWN = "struck:cooldown"
    STRUCK_ATTEMPTS = "struck:attempts"
    """it stands behind as many targets as there may be attempts: only `explain` says so"""

    # why a target that was next was not asked after all
    STRUCK_BUDGET = "struck:retry_budget"
    STRUCK_DEADLINE = "struck:deadline"
    STRUCK_UNSUPPORTED = "struck:unsupported"
    """its language cannot carry the request"""

    FALLBACK = "fallback"
    """`fallback:FAILURE`: the target before failed, and so this one was asked"""


def fallback(failure: Failure) -> str:
    """The code of an attempt that was made because the one before failed."""
    return f"{Why.FALLBACK}:{failure}"
