"""The data folder: private, owned by one gateway, cleaned after a crash, short enough for sockets."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from extproc.config.layout import SOCKET_PATH_MAX
from extproc.supervisor.errors import CannotStart
from extproc.supervisor.folders import Folders


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def deep(tmp_path: Path) -> Path:
    return tmp_path / ("d" * 60) / ("e" * 60)


@pytest.fixture
def short() -> Path:
    return Path("/tmp")


def test_folders_are_private(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    folders = Folders(data)
    assert mode(data) == 0o700
    assert mode(folders.layout.run) == 0o700
    assert folders.layout.run == data / "run"
    folders.close()
    assert not (data / "run").exists()


def test_second_gateway_on_one_folder_is_told_who_has_it(tmp_path: Path) -> None:
    first = Folders(tmp_path)
    with pytest.raises(CannotStart, match=rf"process {os.getpid()}\) uses the data folder"):
        Folders(tmp_path)
    assert first.layout.run.is_dir()
    first.close()
    Folders(tmp_path).close()


def test_sockets_of_a_crash_are_gone_at_the_next_start(tmp_path: Path) -> None:
    stale = tmp_path / "run" / "w1-1.sock"
    stale.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(stale))
    folders = Folders(tmp_path)
    assert list(folders.layout.run.iterdir()) == []
    folders.close()


def test_deep_folder_gets_a_short_private_one(tmp_path: Path, short: Path) -> None:
    folders = Folders(deep(tmp_path), short)
    run = folders.layout.run
    assert run.parent == short
    assert mode(run) == 0o700
    assert len(os.fsencode(folders.layout.worker_socket(64, 99_999))) <= SOCKET_PATH_MAX
    folders.close()
    assert not run.exists()


def test_short_folder_of_a_crash_is_removed_at_the_next_start(tmp_path: Path, short: Path) -> None:
    crashed = Folders(deep(tmp_path), short)
    left = crashed.layout.run
    crashed._release()  # pyright: ignore[reportPrivateUsage]  (what the kernel does for a crash)
    folders = Folders(deep(tmp_path), short)
    assert not left.exists()
    folders.close()


def test_link_to_a_folder_that_is_not_ours_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    data = tmp_path / "data"
    data.mkdir()
    (data / "run").symlink_to(precious)
    folders = Folders(data)
    assert (precious / "file").exists()
    assert not folders.layout.run.is_symlink()
    folders.close()


def test_no_place_that_is_short_enough(tmp_path: Path) -> None:
    place = deep(tmp_path)
    place.mkdir(parents=True)
    with pytest.raises(CannotStart, match="shorter `data`"):
        Folders(place / "data", place)
    assert list(place.iterdir()) == [place / "data"]


def test_data_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(CannotStart, match="cannot use the data folder"):
        Folders(tmp_path / "data")
