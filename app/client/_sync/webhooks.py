"""Who is told of the end of jobs: the user's webhook, or the service's where the client acts for nobody."""

from __future__ import annotations

from collections.abc import Iterator

from app.client._sync.connection import Connection, key_header
from app.client.answers import parse
from app.client.documents import Delivery, Webhook


class Webhooks(Connection):
    """Calls on the webhook of `user_id`; without one, and with a service token, on the service's own."""

    def webhook(self) -> Webhook:
        """The webhook, without its secret."""
        return parse(Webhook, self._json("GET", self._webhook_path()))

    def set_webhook(self, url: str, *, rotate_secret: bool = False) -> Webhook:
        """Tell this address from now on; a new webhook's secret is in the answer, this once.

        Where that answer is lost, the same request has the secret again: it carries an Idempotency-Key, as a POST does.
        """
        wish = {"url": url, "rotate_secret": rotate_secret}
        return parse(Webhook, self._json("PUT", self._webhook_path(), json=wish, headers=key_header()))

    def delete_webhook(self) -> None:
        """Tell nobody any more."""
        self._send("DELETE", self._webhook_path())

    def deliveries(self) -> Iterator[Delivery]:
        """What was told or is to be told, newest first, a page fetched when it is needed."""
        for entry in self._pages(f"{self._webhook_path()}/deliveries"):
            yield parse(Delivery, entry)

    def _webhook_path(self) -> str:
        return "/v1/webhook" if self.user_id is None else self._path("webhook")
