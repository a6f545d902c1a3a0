"""Who is told of the end of jobs: the user's webhook, or the service's where the client acts for nobody."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from app.client._sync.connection import Connection
from app.client.answers import Patience, made_within, parse
from app.client.documents import Delivery, Webhook


class Webhooks(Connection):
    """Calls on the webhook of `user_id`; without one, and with a service token, on the service's own."""

    def webhook(self) -> Webhook:
        """The webhook, without its secret."""
        return parse(Webhook, self._json("GET", self._webhook_path()))

    def set_webhook(self, url: str, *, rotate_secret: bool = False) -> Webhook:
        """Tell this address from now on; a new webhook's secret is in the answer, this once.

        Where the answer that had the secret is lost, nobody will ever have it: another secret is asked for then.
        """
        patience, begun = Patience(self._retries), time.monotonic()
        document = self._put_webhook(url, rotate_secret, patience)
        if patience.lost and parse(Webhook, document).secret is None and made_within(time.monotonic() - begun, document):
            document = self._put_webhook(url, rotate_secret=True)
        return parse(Webhook, document)

    def delete_webhook(self) -> None:
        """Tell nobody any more."""
        self._send("DELETE", self._webhook_path())

    def deliveries(self) -> Iterator[Delivery]:
        """What was told or is to be told, newest first, a page fetched when it is needed."""
        for entry in self._pages(f"{self._webhook_path()}/deliveries"):
            yield parse(Delivery, entry)

    def _put_webhook(self, url: str, rotate_secret: bool, patience: Patience | None = None) -> Any:
        wish = {"url": url, "rotate_secret": rotate_secret}
        return self._json("PUT", self._webhook_path(), json=wish, patience=patience)

    def _webhook_path(self) -> str:
        return "/v1/webhook" if self.user_id is None else self._path("webhook")
