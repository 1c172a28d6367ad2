"""The application as granian serves it: Django in threads, behind an event loop (`core.server`)."""

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
# The imports after it need models, which exist once Django is set up.
django_application = get_wsgi_application()

from django.conf import settings

from chat.turns import heartbeat, settlement
from core import shutdown
from core.api.addresses import network_of
from core.server.adapter import SlotPools, WSGIAdapter
from core.server.bodies import BodyLimits, BodyReader
from core.server.slots import FairSlots

#: How long a request waits for its turn before it gets 503.
MAX_WAIT_SECONDS = 30.0

#: Threads that only monitoring, and only the console, can take.
PROBE_THREADS = 2
CONSOLE_THREADS = 4
#: Of requests that occupy the database for long, few run at once.
HEAVY_THREADS = 2

BODY_STALL_SECONDS = 30.0
BODY_TOTAL_SECONDS = 120.0


def _slots(threads: int, max_waiting: int) -> FairSlots:
    return FairSlots(threads, max_waiting=max_waiting, max_wait_seconds=MAX_WAIT_SECONDS)


shutdown.drain_on_sigterm(interrupt=heartbeat.interrupt_all, flush=settlement.finish)
application = WSGIAdapter(
    django_application,
    pools=SlotPools(
        _slots(settings.THREADS, settings.CONNECTIONS),
        {
            r"^/(health|ready|status|metrics)$": _slots(PROBE_THREADS, settings.CONNECTIONS),
            r"^/admin": _slots(CONSOLE_THREADS, 256),
            r"/(analytics|export)$": _slots(HEAVY_THREADS, 256),
        },
    ),
    bodies=BodyReader(
        limits=BodyLimits(
            settings.DATA_UPLOAD_MAX_MEMORY_SIZE,
            {"/v1/chat/completions": settings.COMPLETIONS_MAX_BODY_BYTES},
        ),
        max_memory=settings.BODY_MEMORY_BYTES,
        stall_seconds=BODY_STALL_SECONDS,
        total_seconds=BODY_TOTAL_SECONDS,
    ),
    client_of=network_of,
    path_prefix=settings.PATH_PREFIX,
)

# From its first second a worker settles what dead workers left, even if it never gets a turn itself.
settlement.start()

# What is loaded now stays loaded. Otherwise the garbage collector would search it again and again, and
# each time delay the current requests by a tenth of a second.
gc.collect()
gc.freeze()

logging.getLogger(__name__).info("worker ready")
