"""How targets are told of: those that are known, those that are configured, and all others as one."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from extproc.admin.targets import Targets
from extproc.config.schema import ApiKey, Secret, Shadow
from extproc.routing.breaker import State
from extproc.routing.health import View
from tests.admin.kit_targets import seen
from tests.kit import provider, route, settings

CONFIG = settings(
    providers={
        "acme": provider(models=("gpt-4o", "gpt-*"), model="usual"),
        "zeta": provider("zeta", models=("*",)),
    },
    models={
        "chat": route(("acme", "gpt-4o"), ("zeta", "z"), ("zeta", "*")),
        "copied": route(("acme", "gpt-4o"), shadow=Shadow(provider="zeta", model="copy")),
    },
)


def targets(known: Mapping[str, View]) -> Targets:
    made = Targets(lambda: known)
    made.configure(CONFIG)
    return made


def test_known_and_unknown_ones() -> None:
    told = targets({"acme/gpt-4o": seen(State.OPEN, until=20.0, since=5.0, busy=2)}).told()
    assert [one["model"] for one in told["acme"]] == ["gpt-4o", "usual"]
    assert [one["model"] for one in told["zeta"]] == ["copy", "z"]
    assert told["acme"][0] == {
        "model": "gpt-4o",
        "state": "open",
        "until": 20.0,
        "since": 5.0,
        "busy": 2,
        "trials": 0,
        "attempts": 5,
        "failed": 4,
        "slow": 0,
        "failed_in_a_row": 3,
        "latency": 0.25,
        "throughput": None,
    }
    unknown = told["acme"][1]
    assert unknown.keys() == told["acme"][0].keys()
    assert {name for name, value in unknown.items() if value is not None} == {"model", "state"}
    assert unknown["state"] == "unknown"


def test_times_that_are_not_are_null() -> None:
    (one, _) = targets({"acme/gpt-4o": seen(State.CLOSED)}).told()["acme"]
    assert (one["state"], one["until"], one["since"]) == ("closed", None, None)


def test_a_slash_in_a_model_s_name() -> None:
    told = targets({"zeta/org/model": seen(State.CLOSED)}).told()
    assert [one["model"] for one in told["zeta"]] == ["copy", "org/model", "z"]


def test_numbers_are_bounded_whatever_clients_name() -> None:
    known = {f"zeta/made-up-{number}": seen(State.CLOSED) for number in range(100)}
    known |= {"zeta/opened": seen(State.OPEN), "acme/gpt-4o": seen(State.COOLING)}
    counted = {key: number for key, number in targets(known).counted().items() if number}
    assert counted == {
        ("zeta", "*", "closed"): 100,
        ("zeta", "*", "open"): 1,
        ("acme", "gpt-4o", "cooling"): 1,
        ("acme", "usual", "unknown"): 1,
        ("zeta", "copy", "unknown"): 1,
        ("zeta", "z", "unknown"): 1,
    }
    assert targets(known).counted()["acme", "gpt-4o", "open"] == 0


@pytest.mark.parametrize(
    ("known", "since"),
    [
        ({}, None),
        ({"zeta/z": State.OPEN}, None),
        ({"zeta/z": State.OPEN, "zeta/copy": State.OPEN, "zetas/z": State.CLOSED}, 3.0),
        ({"zeta/z": State.OPEN, "zeta/copy": State.OPEN, "zeta/new": State.CLOSED}, None),
        ({"zeta/z": State.OPEN, "zeta/copy": State.HALF_OPEN}, None),
    ],
)
def test_all_are_open(known: Mapping[str, State], since: float | None) -> None:
    views = {key: seen(state, since=3.0) for key, state in known.items()}
    assert targets(views).shut("zeta") == since
    assert targets(views).shut("nobody") is None


KEYS = tuple(ApiKey(name=name, key=Secret(f"secret-{name}")) for name in "xy")
KEYED = settings(
    providers={"acme": provider(models=("gpt-4o", "*"), api_key=None, api_keys=KEYS)}, models={}
)


def keyed(known: Mapping[str, State]) -> Targets:
    made = Targets(lambda: {key: seen(state, since=3.0) for key, state in known.items()})
    made.configure(KEYED)
    return made


def test_each_of_several_keys_is_told_of() -> None:
    told = keyed({"acme#y/gpt-4o": State.COOLING, "acme#x/made-up": State.CLOSED}).told()
    assert {*told} == {"acme"}
    assert [(one["key_name"], one["model"], one["state"]) for one in told["acme"]] == [
        ("x", "gpt-4o", "unknown"),
        ("x", "made-up", "closed"),
        ("y", "gpt-4o", "cooling"),
    ]


def test_numbers_say_how_many_keys_and_not_which() -> None:
    counted = keyed({"acme#y/gpt-4o": State.COOLING, "acme#x/made-up": State.CLOSED}).counted()
    assert {key: number for key, number in counted.items() if number} == {
        ("acme", "gpt-4o", "unknown"): 1,
        ("acme", "gpt-4o", "cooling"): 1,
        ("acme", "*", "closed"): 1,
    }


def test_a_provider_is_shut_when_all_its_keys_are() -> None:
    assert keyed({"acme#x/gpt-4o": State.OPEN}).shut("acme") is None
    assert keyed({"acme#x/gpt-4o": State.OPEN, "acme#y/gpt-4o": State.OPEN}).shut("acme") == 3.0
