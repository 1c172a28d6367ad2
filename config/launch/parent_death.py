"""Kill a child process when its parent dies.

As a program, `python parent_death.py PARENT_PID COMMAND…` becomes COMMAND, which the kernel kills
as soon as PARENT_PID dies, even by `kill -9`.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def die_with_parent(parent_pid: int) -> None:
    """Have this process killed when its parent dies; exit at once if it is dead already.

    The kernel watches the parent's *thread* that started this process: start it from the main one.
    SIGKILL, because without a parent a shutdown that hangs would never end. Without prctl (not on
    Linux) only a parent that is dead already is noticed.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)


def dying_with_parent(command: list[str]) -> list[str]:
    """Return the command line that runs `command` as a child which dies with this process."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606  (to become the command, without a shell)
