"""All calls in one client."""

from __future__ import annotations

from app.client._sync.jobs import Jobs
from app.client._sync.people import People
from app.client._sync.photos import Photos
from app.client._sync.results import Results
from app.client._sync.webhooks import Webhooks


class Client(People, Photos, Jobs, Results, Webhooks):
    """Talks to one deployment with one token; may be used by several threads (tasks) at once.

    A method that concerns a user needs `user_id`: give it here, or take `for_user`. `AsyncClient` is the same, awaited.
    """
