"""The one-command deployment: embedded Redis, SQLite, the API and one worker process per queue, as child processes.

Everything that must outlive it is in the data folder: database, blobs, service token, logs. Redis keeps nothing on the
disk: the job rows are the truth, and the sweeper rings again for whatever was in it.
"""

from app.local.deployment import Deployment
from app.local.ground import LocalError
from app.local.programs import find_redis_server
from app.local.serving import serve

__all__ = ["Deployment", "LocalError", "find_redis_server", "serve"]
