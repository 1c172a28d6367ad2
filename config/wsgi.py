"""The WSGI application, as granian serves it."""

import gc
import logging
import multiprocessing
import os
import signal
import sys

from django.core.wsgi import get_wsgi_application

from config.launch.parent_death import die_with_parent

# CPython's waiting threads request the GIL once per interval. With a thousand open streams and the
# default of 5 ms that takes more CPU time than the work: 50 ms halves it, and plain HTTP requests are
# not slower.
sys.setswitchinterval(0.05)

# granian's workers share the port, and would go on serving with no process to stop them if its main
# process were killed with -9.
if (parent := multiprocessing.parent_process()) and parent.pid:
    die_with_parent(parent.pid)
    # Until granian installs the worker's handlers, after this import, it has those of the main process,
    # which would ignore a stop: end at once instead.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django_application = get_wsgi_application()

from chat.turns import heartbeat, settlement  # noqa: E402 - models exist once Django is set up
from core import shutdown  # noqa: E402

shutdown.drain_on_sigterm(interrupt=heartbeat.interrupt_all, flush=settlement.finish)
application = shutdown.InFlight(django_application)

# From its first second a worker settles what dead workers left, even if it never gets a turn itself.
settlement.start()

# What is loaded now stays loaded. Otherwise the garbage collector would search it again and again, and
# each time delay the current requests by a tenth of a second.
gc.collect()
gc.freeze()

logging.getLogger(__name__).info("worker ready")
