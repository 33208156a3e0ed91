"""The data folder and the folder of the sockets: made, locked, cleaned, removed.

Takes the settings' data folder, gives a `Layout` whose socket paths fit into
`sockaddr_un`. One gateway owns a data folder at a time: the lock is the
kernel's, so that a crash releases it. Never touches what it did not make.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path

from extproc.config.layout import SOCKET_PATH_MAX, Layout
from extproc.supervisor.errors import CannotStart

_PREFIX = "sluice-"
_LONGEST_NAME = "admin-99999999.sock"


class Folders:
    """Opens the folders when made; `close` removes the sockets and releases the lock."""

    def __init__(self, data: Path, temporary: Path | None = None) -> None:
        """`temporary` is where a short folder is made when `data` lies too deep."""
        self._data = Path(os.path.abspath(data))  # noqa: PTH100 (resolve() would follow links)
        self._link = self._data / "run"
        self._lock = -1
        try:
            self._data.mkdir(parents=True, exist_ok=True)
            self._data.chmod(0o700)
            self._take_lock()
            self._forget_last_run()
            run = self._make_run(temporary or _temporary())
        except OSError as error:
            self._release()
            raise CannotStart(
                f"cannot use the data folder {self._data}: {error.strerror}."
                " Choose another: `data` in the config file."
            ) from error
        except CannotStart:
            self._release()
            raise
        self.layout = Layout(self._data, run)

    def close(self) -> None:
        """Removes every socket and the folder they were in. Safe to call twice."""
        if self._lock < 0:
            return
        self._forget_last_run()
        self._release()

    def _take_lock(self) -> None:
        self._lock = os.open(self._data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._lock, 20, 0).decode("ascii", "replace").strip()
            raise CannotStart(
                f"another gateway (process {owner or 'unknown'}) uses the data folder"
                f" {self._data}. Stop it, or give this one its own: `data` in the config file."
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def _release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _make_run(self, temporary: Path) -> Path:
        if _fits(self._link):
            self._link.mkdir(mode=0o700)
            return self._link
        run = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=temporary))
        if not _fits(run):
            run.rmdir()
            raise CannotStart(
                f"paths of sockets below {self._data} and {temporary} are too long"
                f" (over {SOCKET_PATH_MAX} bytes). Choose a shorter `data` folder."
            )
        self._link.symlink_to(run)
        return run

    def _forget_last_run(self) -> None:
        """Removes the folder of the sockets, wherever the run before us or we put it."""
        if self._link.is_symlink():
            run = self._link.readlink()
            if run.name.startswith(_PREFIX) and _is_ours(run):
                shutil.rmtree(run, ignore_errors=True)
            self._link.unlink()
        elif self._link.is_dir():
            shutil.rmtree(self._link)


def _fits(run: Path) -> bool:
    return len(os.fsencode(run / _LONGEST_NAME)) <= SOCKET_PATH_MAX


def _is_ours(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _temporary() -> Path:
    return Path(os.environ.get("XDG_RUNTIME_DIR") or "/tmp")  # noqa: S108 (mkdtemp below it)
