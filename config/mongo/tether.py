"""Becomes the given program, which the kernel ends together with the thread that started it.

    python tether.py <pid of the starting process> <program> <argument>...

A program of its own and not `preexec_fn`: Python code between fork and exec may deadlock in a
process with threads, and a server has hundreds.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    parent, program = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == parent:  # Otherwise it died before it could be tethered to.
        os.execv(program[0], program)  # noqa: S606 - no shell: argv comes from config.mongo.embedded
