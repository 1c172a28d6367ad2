"""Runs a program for as long as any process uses it.

    python run_while_used.py <users file> <descriptor to hand on> <program> <argument>...

Each user holds a shared lock on the users file, which the kernel releases however the user ends.
Once this process gets the exclusive lock there are no users, and it terminates the program. If this
process is killed, the kernel terminates the program; if the program ends, so does this process,
with the same exit code.
"""

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
from types import FrameType
from typing import NoReturn

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def run(users_file: str, descriptor: int, program: list[str]) -> NoReturn:
    signal.signal(signal.SIGCHLD, _exit_like_child)
    pid = subprocess.Popen(  # noqa: S603 - no shell: argv comes from core.mongo.embedded
        program,
        pass_fds=[descriptor],
        preexec_fn=lambda: ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM),
    ).pid
    os.close(descriptor)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGTERM))
    with open(users_file) as users:
        fcntl.flock(users, fcntl.LOCK_EX)
        os.kill(pid, signal.SIGTERM)
        while True:
            signal.pause()


def _exit_like_child(number: int, frame: FrameType | None) -> None:
    # The signal also comes when the program is suspended: waiting here would outlast its users.
    pid, status = os.waitpid(-1, os.WNOHANG)
    if pid:
        os._exit(os.waitstatus_to_exitcode(status) % 256)


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
