"""The embedded MongoDB for development and tests; README.md beside this file says how it works.

`server` starts or joins the mongod of a data folder; `run_while_used` is the process between.
"""

from core.mongo.embedded.server import (
    OPTIONS,
    REPLICA_SET,
    EmbeddedServerError,
    data_dir,
    ensure,
    mongod_program,
    stop,
)

__all__ = ["OPTIONS", "REPLICA_SET", "EmbeddedServerError", "data_dir", "ensure", "mongod_program", "stop"]
