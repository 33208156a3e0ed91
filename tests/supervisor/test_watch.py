"""Files that are written, swapped, taken away: seen within a look, and only once at rest."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from extproc.supervisor.watch import Look, look, watch


class Seen:
    def __init__(self, *paths: Path) -> None:
        self.last: Look = look(paths)
        self.times = 0

    async def changed(self) -> None:
        self.last = look(self.last)
        self.times += 1

    async def until(self, times: int) -> None:
        async with asyncio.timeout(10):
            while self.times < times:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def watched(*paths: Path, settles: float = 0.03) -> AsyncIterator[Seen]:
    seen = Seen(*paths)
    task = asyncio.create_task(watch(lambda: seen.last, seen.changed, 0.01, settles))
    yield seen
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_file_that_is_written_replaced_or_gone(tmp_path: Path) -> None:
    path = tmp_path / "sluice.yaml"
    async with watched(path) as seen:
        path.write_text("a")
        await seen.until(1)
        path.write_text("bb")
        await seen.until(2)
        (tmp_path / "new").write_text("cc")
        (tmp_path / "new").rename(path)
        await seen.until(3)
        path.unlink()
        await seen.until(4)


async def test_the_swap_of_a_mounted_folder(tmp_path: Path) -> None:
    """As Kubernetes does it: the file is a link through `..data`, which is renamed over."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "sluice.yaml").write_text("the same")
    data = tmp_path / "..data"
    data.symlink_to("one")
    (tmp_path / "sluice.yaml").symlink_to("..data/sluice.yaml")
    async with watched(tmp_path / "sluice.yaml") as seen:
        (tmp_path / "..next").symlink_to("two")
        (tmp_path / "..next").rename(data)
        await seen.until(1)


async def test_what_is_still_being_written_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "sluice.yaml"
    async with watched(path, settles=1.0) as seen:
        for size in range(40):
            path.write_text("x" * size)
            assert seen.times == 0
            await asyncio.sleep(0.003)
        await seen.until(1)
        assert path.stat().st_size == 39
        assert seen.times == 1
