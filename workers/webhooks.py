"""Sends what is in the webhooks' outbox: signed, to checked addresses, each within its time."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version
from ipaddress import ip_address

import anyio
import httpx
import structlog
from anyio.from_thread import BlockingPortal, start_blocking_portal
from sqlalchemy.orm import Session
from standardwebhooks import Webhook as Signer

from app.clock import utc_now
from app.settings import Settings
from app.webhooks import outbox
from app.webhooks.addresses import is_public
from app.webhooks.outbox import Outgoing
from workers.workshop import Workshop

_GONE = 410
# How much longer than its timeout a message is kept from other senders.
_GRACE_SECONDS = 60.0
# How often it is looked for new work while nobody answers.
_LOOK_SECONDS = 1.0

log = structlog.get_logger(__name__)


class NotAllowed(Exception):
    """The webhook's name leads to an address that is not public."""


@dataclass(frozen=True)
class Answer:
    """What came of one attempt: the receiver's status, or why there is none."""

    status: int | None
    error: str | None


def send_due(workshop: Workshop) -> int:
    """Announce what has ended and send what is due, until nothing is; returns how many messages were taken."""
    with workshop.database.read() as session:
        if not outbox.has_work(session, utc_now()):
            return 0
    with start_blocking_portal() as portal:
        return _send_until_idle(workshop, portal)


def _send_until_idle(workshop: Workshop, portal: BlockingPortal) -> int:
    """Each answer is written as it comes; who has answered gets the next message while slow receivers are waited for."""
    sent = 0
    under_way: dict[Future[Answer], Outgoing] = {}
    while True:
        answers = [(under_way.pop(future), future.result()) for future in list(under_way) if future.done()]
        _close_answered(workshop, answers)
        taken = _take(workshop, outbox.MOST_AT_ONCE - len(under_way))
        for message in taken:
            under_way[portal.start_task_soon(send, workshop.settings, message)] = message
        sent += len(taken)
        if not under_way:
            return sent
        wait(under_way, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)


def _close_answered(workshop: Workshop, answers: Sequence[tuple[Outgoing, Answer]]) -> None:
    """Write what came of these attempts; alone, so that nothing that goes wrong elsewhere has them made again."""
    if not answers:
        return
    with workshop.database.write() as session:
        for message, answer in sorted(answers, key=lambda one: one[0].delivery_id):
            _close(session, message, answer)


def _take(workshop: Workshop, room: int) -> list[Outgoing]:
    """Announce what has ended, take up to `room` messages."""
    if room <= 0 or workshop.stopping.is_set():
        return []
    with workshop.database.read() as session:
        is_untold = outbox.has_untold(session)
    if is_untold:
        with workshop.database.write() as session:
            outbox.announce(session)
    with workshop.database.read() as session:
        delivery_ids = outbox.due_ids(session, utc_now(), room)
    if not delivery_ids:
        return []
    sending_seconds = workshop.settings.webhook_timeout_seconds + _GRACE_SECONDS
    with workshop.database.write() as session:
        return outbox.take(session, delivery_ids, utc_now(), sending_seconds=sending_seconds)


def forget_old(workshop: Workshop) -> int:
    """Remove deliveries that are of no interest any more; returns how many."""
    with workshop.database.write() as session:
        return outbox.forget(session, utc_now() - timedelta(days=workshop.settings.webhook_keep_days))


async def send(settings: Settings, message: Outgoing, *, verify: ssl.SSLContext | bool = True) -> Answer:
    """One attempt; never raises for what the receiver or the network does."""
    try:
        # The client's own timeouts are per read: a receiver that trickles would hold us for ever.
        with anyio.fail_after(settings.webhook_timeout_seconds):
            return await _post(settings, message, verify)
    except TimeoutError:
        return Answer(None, f"No answer within {settings.webhook_timeout_seconds:g} s.")
    except NotAllowed as error:
        return Answer(None, str(error))
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
        return Answer(None, f"Could not be reached: {type(error).__name__}: {error}"[:500])


async def _post(settings: Settings, message: Outgoing, verify: ssl.SSLContext | bool) -> Answer:
    url = httpx.URL(message.url)
    address = await _checked_address(settings, url)
    body = json.dumps(message.payload, ensure_ascii=False, separators=(",", ":"))
    async with (
        httpx.AsyncClient(verify=verify, trust_env=False, follow_redirects=False, timeout=settings.webhook_timeout_seconds) as client,
        client.stream(
            "POST",
            # To the very address that was checked: a name could lead elsewhere a moment later.
            url.copy_with(host=address),
            content=body.encode(),
            headers={"Host": url.netloc.decode(), **_headers(message, body, utc_now())},
            extensions={"sni_hostname": url.raw_host.decode()},
        ) as response,
    ):
        status = response.status_code  # the body is of no interest, and could be endless
    if response.is_success:
        return Answer(status, None)
    return Answer(status, "Redirects are not followed." if response.is_redirect else f"The receiver answered {status}.")


def _headers(message: Outgoing, body: str, now: datetime) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "User-Agent": f"personalseg/{version('personalseg')}",
        "webhook-id": message.delivery_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Signer(message.secret).sign(message.delivery_id, now, body),
    }


async def _checked_address(settings: Settings, url: httpx.URL) -> str:
    """An address of the URL's host, as it is written in a URL; raises NotAllowed when any of them is not public."""
    port = url.port or (443 if url.scheme == "https" else 80)
    found = await anyio.getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if not settings.webhook_allow_private and not all(is_public(address) for address in addresses):
        raise NotAllowed("The webhook's host has an address that is not public.")
    return _in_url(addresses[0])


def _in_url(address: str) -> str:
    return f"[{address}]" if ip_address(address).version == 6 else address


def _close(session: Session, message: Outgoing, answer: Answer) -> None:
    if answer.error is None and answer.status is not None:
        outbox.delivered(session, message, utc_now(), response_status=answer.status)
        return
    log.info("webhook.not_delivered", delivery_id=message.delivery_id, attempts=message.attempts, status=answer.status, reason=answer.error)
    outbox.failed(
        session,
        message,
        utc_now(),
        error=answer.error or "Unknown.",
        response_status=answer.status,
        for_good=answer.status == _GONE,
    )
