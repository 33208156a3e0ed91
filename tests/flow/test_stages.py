"""A policy is one file: its class and the language of its block are all it brings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from extproc import discover
from extproc.config.load import ConfigErrors, load
from extproc.config.shapes import Block, Field, Flag
from extproc.flow.snapshot import compile_snapshot
from extproc.model.ports import Ports
from extproc.model.stage import OnWish, Stage
from tests.kit import ports

BLOCK = Field(Block({"loud": Field(Flag(), "shout")}), "a policy of this test")


class First(Stage):
    pass


class Second(Stage):
    AFTER = ("first", "absent")
    loud = False

    @classmethod
    def prepare(cls, block: object, ports: Ports) -> Callable[[], Stage]:
        assert isinstance(block, dict)
        return type("Prepared", (cls,), {"loud": block["loud"]})


def registry() -> object:
    stages = {"second": Second, "first": First, "idle": First}
    return replace(discover.registry(), stages=stages, blocks=dict.fromkeys(stages, BLOCK))


def test_block_activates_its_stage_behind_those_it_follows(tmp_path: Path) -> None:
    file = tmp_path / "sluice.yaml"
    file.write_text("second: {loud: true}\nfirst: {}\n")
    known = registry()
    settings = load(file, {}, stages=known.blocks)  # type: ignore[attr-defined]
    assert settings.inactive == ()
    snapshot = compile_snapshot(settings, known, b"s", ports())  # type: ignore[arg-type]
    made = [factory() for factory in snapshot.stages]
    assert [isinstance(s, Second) for s in made] == [False, True]
    assert getattr(made[1], "loud", None) is True


def test_block_is_checked_like_any_other(tmp_path: Path) -> None:
    file = tmp_path / "sluice.yaml"
    file.write_text("second: {load: true}\n")
    with pytest.raises(ConfigErrors, match="loud"):
        load(file, {}, stages={"second": BLOCK})
    with pytest.raises(ConfigErrors, match="second"):
        load(file, {})


class Wished(Stage):
    @classmethod
    def prepare(cls, block: object, ports: Ports) -> OnWish:
        return OnWish(cls)


class Harmless(Wished):
    READS_REQUESTS = False


def test_no_client_leaves_out_a_policy_that_must_see_requests(tmp_path: Path) -> None:
    file = tmp_path / "sluice.yaml"
    file.write_text("policy: {}\nharmless: {}\n")
    stages = {"policy": Wished, "harmless": Harmless}
    known = replace(discover.registry(), stages=stages, blocks=dict.fromkeys(stages, BLOCK))
    snapshot = compile_snapshot(load(file, {}, stages=known.blocks), known, b"s", ports())
    assert len(snapshot.stages) == 2
    assert [type(make()) for make in snapshot.standing] == [Wished]
