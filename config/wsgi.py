"""The application, as granian serves it."""

import gc
import logging
import multiprocessing
import os
import signal
import sys

from django.core.wsgi import get_wsgi_application

from config.launch.parent_death import die_with_parent

# CPython's waiting threads ask for the GIL once an interval. With a thousand open streams the default
# of 5 ms spends more on asking than on work: 50 ms halves the CPU time and does not slow plain requests.
sys.setswitchinterval(0.05)

# granian's workers share the port and would go on serving, with nobody to stop them, if its main
# process were killed with -9.
if owner := multiprocessing.parent_process():
    die_with_parent(owner.pid)
    # Until granian installs the worker's handlers, after this import, it has those of the main process,
    # which would swallow a stop: end at once instead.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django_application = get_wsgi_application()

from chat.turns import heartbeat, settlement  # noqa: E402 - models exist once Django is set up
from core import shutdown  # noqa: E402

shutdown.drain_on_sigterm(interrupt=heartbeat.interrupt, flush=settlement.finish)
application = shutdown.InFlight(django_application)

# From its first second a worker ends what dead ones left, whether or not it gets a turn of its own.
settlement.start()

# What is loaded by now stays. Left to the collector, it would be searched through again and again: a
# tenth of a second each time, for whoever asks just then.
gc.collect()
gc.freeze()

logging.getLogger(__name__).info("worker ready")
