"""Losses: named, or refused with the field's name and the target's."""

from __future__ import annotations

import pytest

from extproc.dialects._extras import BOUND
from extproc.dialects._loss import Losses
from extproc.model.call import OnLossy, Target
from extproc.model.chat import Extra
from extproc.model.errors import Unsupported

DROP = Target("acme", "m", "d")
REJECT = Target("acme", "m", "d", on_lossy=OnLossy.REJECT)


def test_hints_are_named_once_in_order() -> None:
    losses = Losses(REJECT)
    for name in ("seed", "user", "seed"):
        losses.drop(name)
    assert losses.names == ("seed", "user")


def test_the_middle_is_the_backends_to_decide() -> None:
    losses = Losses(DROP)
    losses.lossy("thinking", "it has none")
    assert losses.names == ("thinking",)
    with pytest.raises(Unsupported) as caught:
        Losses(REJECT).lossy("thinking", "it has none")
    assert caught.value.param == "thinking"
    assert caught.value.message == "Provider acme cannot take `thinking`: it has none."
    assert caught.value.status == 400


def test_members_of_another_dialect() -> None:
    fields = {
        "a": 1,
        "b": None,
        "c": False,
        "d": [],
        "e": {},
        "f": "",
        "\0shape": 1,
        "stream": True,
    }
    losses = Losses(DROP)
    losses.foreign(Extra("other", fields), "home")
    losses.foreign(Extra("home", {"z": 1}), "home")
    assert losses.names == ("a",)


@pytest.mark.parametrize("name", ["store", "background", "conversation", "previous_response_id"])
def test_state_that_a_provider_keeps_is_refused(name: str) -> None:
    with pytest.raises(Unsupported) as caught:
        Losses(DROP).foreign(Extra("other", {name: True}), "home")
    assert caught.value.param == name
    Losses(DROP).foreign(Extra("other", {name: False}), "home")


def test_what_stands_for_more_is_refused() -> None:
    with pytest.raises(Unsupported, match="item_reference"):
        Losses(DROP).foreign(Extra("other", {BOUND: ["item_reference"]}), "home")
