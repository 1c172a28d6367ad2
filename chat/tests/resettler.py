"""A process that settles finished runs repeatedly, as they were when they ended.

    python -m chat.tests.resettler SEED      prints "up", settles until its stdin closes, prints how often

Another server could do the same at any moment: between reading an unsettled reply and settling it, others
may have settled it, and it may have begun another run since.
"""

from __future__ import annotations

import random
import sys
import threading

import django


def main() -> None:
    django.setup()
    from django.db import DatabaseError
    from pymongo.errors import PyMongoError

    from chat.turns import replies
    from chat.turns.finished_run import FinishedRun
    from chat.turns.settlement import settle

    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    rng = random.Random(int(sys.argv[1]))
    ended: dict[tuple, FinishedRun] = {}
    settled = 0
    print("up", flush=True)
    while not over.wait(0.02):
        try:
            for run in replies.unsettled({}):
                ended.setdefault((run.reply_id, run.run), run)
            chosen = rng.sample(list(ended.values()), min(len(ended), 10))
            settle(chosen)
            settled += len(chosen)
        except (PyMongoError, DatabaseError):
            continue  # the copies stay what they were
    print(settled, flush=True)


if __name__ == "__main__":
    main()
