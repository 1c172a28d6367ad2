"""Runs a program for as long as anybody uses it.

    python tether.py <users file> <descriptor to hand on> <program> <argument>...

Each user holds a shared lock on the users file, which the kernel takes back however the user ends.
Once this process gets the exclusive lock nobody is left, and the program is told to end. If this
process is killed the kernel does that; if the program ends, so does this process, with its code.
"""

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
from types import FrameType
from typing import NoReturn

PR_SET_PDEATHSIG = 1


def run(users_file: str, descriptor: int, program: list[str]) -> NoReturn:
    signal.signal(signal.SIGCHLD, _follow)
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


def _follow(number: int, frame: FrameType | None) -> NoReturn:
    _, status = os.waitpid(-1, 0)
    os._exit(os.waitstatus_to_exitcode(status) % 256)


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
