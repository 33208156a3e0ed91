"""Files on the disk: private, whole, and touched only when they change."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from extproc.config.layout import Layout
from extproc.envoygen.render import KINDS
from extproc.envoygen.write import write
from tests.envoygen.cases import minimal, rendered, several


def test_writes_what_changed(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "deep" / "data", tmp_path / "run")
    files = rendered(minimal(), layout)

    assert write(files, layout) == ("bootstrap", *KINDS)
    assert write(files, layout) == ()

    untouched = (layout.xds("cds") / "cds.json").stat().st_ino
    moved = replace(files, rds={**files.rds, "version_info": "another"})
    assert write(moved, layout) == ("rds",)
    assert (layout.xds("cds") / "cds.json").stat().st_ino == untouched
    assert json.loads((layout.xds("rds") / "rds.json").read_text()) == moved.rds


def test_type_by_type(tmp_path: Path) -> None:
    layout = Layout(tmp_path, tmp_path)
    write(rendered(minimal(), layout), layout)
    changed = rendered(several(), layout)
    assert write(changed, layout, ["cds"]) == ("bootstrap", "cds")
    assert write(changed, layout) == ("ecds", "rds", "lds")


def test_nobody_else_may_read(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data", tmp_path / "run")
    write(rendered(minimal(), layout), layout)
    for path in (layout.data, *layout.data.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_a_refused_write_leaves_the_old_file(tmp_path: Path) -> None:
    layout = Layout(tmp_path, tmp_path)
    files = rendered(minimal(), layout)
    write(files, layout)
    path = layout.xds("cds") / "cds.json"
    before = path.read_bytes()
    blocked = path.with_name(".cds.json.new")
    blocked.mkdir()
    with pytest.raises(OSError):
        write(rendered(several(), layout), layout)
    assert path.read_bytes() == before
