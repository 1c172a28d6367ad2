"""The embedded MongoDB for development and tests. README.md in this folder says how it works.

`server` keeps the server of a data folder running, `data_folder` starts it, and `run_while_used`
is the process in between that ends it after its last user.
"""

from core.mongo.embedded.data_folder import OPTIONS, REPLICA_SET, EmbeddedServerError, mongod_program
from core.mongo.embedded.server import data_dir, ensure, stop

__all__ = ["OPTIONS", "REPLICA_SET", "EmbeddedServerError", "data_dir", "ensure", "mongod_program", "stop"]
