"""All calls in one client."""

from __future__ import annotations

from app.client._async.jobs import AsyncJobs
from app.client._async.people import AsyncPeople
from app.client._async.photos import AsyncPhotos
from app.client._async.results import AsyncResults
from app.client._async.webhooks import AsyncWebhooks


class AsyncClient(AsyncPeople, AsyncPhotos, AsyncJobs, AsyncResults, AsyncWebhooks):
    """Talks to one deployment with one token; may be used by several threads (tasks) at once.

    A method that concerns a user needs `user_id`: give it here, or take `for_user`. `AsyncClient` is the same, awaited.
    """
