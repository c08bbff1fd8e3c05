"""The embedded PostgreSQL server: binaries of a wheel, run in a folder of the project, shared by its processes.

Here: where its files lie, how it starts, who uses it, when it stops. Not here: what is stored in it (`warehouse`
speaks to every PostgreSQL by URL and does not know this package).

How it works: four lock files in the folder, all `flock`, which the kernel drops when their holder dies in whatever
way. Nothing is ever concluded from a stored pid.

- `users.lock`     every user holds it shared; the watcher waits for it exclusively, then stops the server
- `start.lock`     held while one process prepares, starts or stops the server
- `server.lock`    inherited by the server and all of its backends: held means that one of them lives
- `watchers.lock`  held by the watcher: held means that somebody will stop the server when the last user is gone

The modules: `server` (the public part), `watcher` (the process that outlives the users), `cluster` (data, settings,
socket), `placement` (which user runs the server, and where the files must lie for that), `binaries` (the wheel).
"""

from comagic_pipeline.warehouse.embedded.errors import EmbeddedServerError
from comagic_pipeline.warehouse.embedded.placement import socket_folder
from comagic_pipeline.warehouse.embedded.server import EmbeddedServer, Status, status, stop

__all__ = ["EmbeddedServer", "EmbeddedServerError", "Status", "socket_folder", "status", "stop"]
