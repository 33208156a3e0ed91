"""Dies with its parent. Also a program: `leash.py PARENT_PID PROGRAM ARGS...`.

As a program it ties itself to the process that started it and then becomes
PROGRAM, for programs that cannot notice by themselves that they are orphans
(the kernel keeps the tie over exec). Stdlib only, because it runs without our
packages. It never starts a process of its own.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """SIGKILL for this process when the thread that started it ends. Linux; elsewhere nothing.

    Exits at once when `parent` (a process id) is gone already.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606
