"""Webhooks: their routes and their outbox, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta

import pytest
from fastapi import FastAPI
from sqlalchemy import select, update

from app import jobs
from app.clock import utc_now
from app.settings import Settings
from app.tables import DeliveryStatus, WebhookDelivery
from app.webhooks import outbox
from app.webhooks.addresses import is_public
from app.webhooks.outbox import Outgoing
from tests.app import hand_worker
from tests.app.conftest import Caller
from tests.app.deliveries import take_due

BOTH_DATABASES = True
URL = "https://example.org/hook"


def announce(api: FastAPI) -> int:
    with api.state.wiring.database.write() as session:
        return outbox.announce(session)


def take(api: FastAPI, later_seconds: float = 0.0) -> list[Outgoing]:
    with api.state.wiring.database.write() as session:
        return take_due(session, utc_now() + timedelta(seconds=later_seconds))


def rows(api: FastAPI) -> Sequence[WebhookDelivery]:
    with api.state.wiring.database.read() as session:
        return session.scalars(select(WebhookDelivery).order_by(WebhookDelivery.id)).all()


def end_a_job(caller: Caller) -> str:
    job_id = str(caller("POST", "segmentations", json={"adapt": "never"}).json()["id"])
    assert caller("POST", f"segmentations/{job_id}/cancel").json()["status"] == "cancelled"
    return job_id


def put(caller: Caller, url: str = URL) -> dict[str, str]:
    answer = caller("PUT", "webhook", json={"url": url})
    assert answer.status_code in (200, 201), answer.text
    document: dict[str, str] = answer.json()
    return document


def test_the_secret_is_shown_when_it_is_made_and_when_it_is_changed(alice: Caller) -> None:
    answer = alice("PUT", "webhook", json={"url": URL})
    made = answer.json()
    assert (answer.status_code, made["url"], answer.headers["cache-control"]) == (201, URL, "no-store")
    assert made["secret"].startswith("whsec_")
    answer = alice("PUT", "webhook", json={"url": f"{URL}/2"})
    assert (answer.status_code, answer.json()["url"], answer.json()["secret"]) == (200, f"{URL}/2", None)
    assert alice("GET", "webhook").json()["secret"] is None
    rotated = alice("PUT", "webhook", json={"url": URL, "rotate_secret": True}).json()["secret"]
    assert rotated.startswith("whsec_") and rotated != made["secret"]
    assert alice("DELETE", "webhook").status_code == 204
    for method, path in (("GET", "webhook"), ("DELETE", "webhook"), ("GET", "webhook/deliveries")):
        assert alice(method, path).json()["code"] == "webhook_not_found"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://example.org/", "webhook_bad_url"),
        ("ftp://example.org/", "webhook_bad_url"),
        ("example.org", "webhook_bad_url"),
        ("https://", "webhook_bad_url"),
        ("https://user:word@example.org/", "webhook_bad_url"),
        ("https://example.org/#part", "webhook_bad_url"),
        ("https://example.org:999999/", "webhook_bad_url"),
        ("https://example.org/" + "ü" * 1000, "webhook_bad_url"),
        ("https://xn--/", "webhook_bad_url"),
        ("https://xn--a-ecp.ru/hook", "webhook_bad_url"),
        ("https://127.0.0.1/", "webhook_address_not_public"),
        ("https://10.1.2.3/", "webhook_address_not_public"),
        ("https://169.254.169.254/latest", "webhook_address_not_public"),
        ("https://[::1]/", "webhook_address_not_public"),
        ("https://[::ffff:127.0.0.1]/", "webhook_address_not_public"),
        ("", "validation_failed"),
    ],
)
def test_a_webhook_must_be_https_on_the_open_internet(alice: Caller, url: str, code: str) -> None:
    answer = alice("PUT", "webhook", json={"url": url})
    assert (answer.status_code, answer.json()["code"]) == (422, code)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700:4700::1111"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1"),
        *("2001:0:7f00:1::", "2001:db8::1", "192.0.2.1", "not an address"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


def test_the_service_has_a_webhook_of_its_own(alice: Caller, service: Caller) -> None:
    assert alice("PUT", "/v1/webhook", json={"url": URL}).status_code == 403
    assert service("PUT", "/v1/webhook", json={"url": URL}).status_code == 201
    assert service("PUT", "/v1/webhook", json={"url": URL}).status_code == 200
    assert alice("GET", "webhook").status_code == 404
    assert service("GET", "/v1/webhook").json()["url"] == URL
    assert service("GET", "/v1/webhook/deliveries").json() == {"items": [], "next_cursor": None}
    assert service("DELETE", "/v1/webhook").status_code == 204


def test_every_end_is_told_once_to_each_who_is_concerned(alice: Caller, bob: Caller, service: Caller, api: FastAPI) -> None:
    for caller in (alice, bob):
        caller.upload_photos(2)
    before = end_a_job(alice)
    assert announce(api) == 1 and rows(api) == []  # nobody had a webhook then
    put(alice)
    service("PUT", "/v1/webhook", json={"url": URL})
    done = end_a_job(alice)
    refused = alice("POST", "adaptations").json()["id"]
    hand_worker.refuse(api, refused)
    cancelled = bob("POST", "segmentations", json={"adapt": "never"}).json()["id"]
    bob("POST", f"segmentations/{cancelled}/cancel")
    bob("POST", "segmentations", json={"adapt": "never"})  # goes on
    assert announce(api) == 3 and announce(api) == 0
    assert before not in {row.job_id for row in rows(api)}
    told = alice("GET", "webhook/deliveries").json()["items"]
    assert {(one["job_id"], one["event"]) for one in told} == {(done, "segmentation.cancelled"), (refused, "adaptation.refused")}
    assert {one["job_id"] for one in service("GET", "/v1/webhook/deliveries").json()["items"]} == {done, refused, cancelled}
    (one,) = [one for one in told if one["job_id"] == refused]
    assert (one["status"], one["attempts"]) == ("pending", 0)
    data = one["payload"]["data"]
    assert (one["payload"]["type"], data["user_id"], data["status"], data["error_code"]) == (
        "adaptation.refused",
        alice.user_id,
        "refused",
        "class_collapse",
    )


def test_a_job_whose_worker_died_is_told_too(alice: Caller, api: FastAPI) -> None:
    put(alice)
    alice.upload_photos(2)
    job_id = alice("POST", "segmentations", json={"adapt": "never"}).json()["id"]
    with api.state.wiring.database.write() as session:
        for _ in range(jobs.MAX_ATTEMPTS):
            assert jobs.claim(session, job_id, "dead", 60.0) is not None
            jobs.expire_leases_of(session, "dead")
        jobs.close_abandoned(session, utc_now())
    announce(api)
    assert [row.payload["data"]["error_code"] for row in rows(api)] == ["worker_died"]


def test_deliveries_are_paged_newest_first(alice: Caller, api: FastAPI) -> None:
    put(alice)
    alice.upload_photos(1)
    made = [end_a_job(alice) for _ in range(3)]
    announce(api)
    first = alice("GET", "webhook/deliveries?limit=2").json()
    rest = alice("GET", f"webhook/deliveries?limit=2&cursor={first['next_cursor']}").json()
    assert [one["job_id"] for one in [*first["items"], *rest["items"]]] == made[::-1]
    assert rest["next_cursor"] is None


def test_a_message_is_taken_by_one_sender_and_again_when_it_died(alice: Caller, api: FastAPI) -> None:
    secret = put(alice)["secret"]
    alice.upload_photos(1)
    end_a_job(alice)
    announce(api)
    start = threading.Barrier(4)
    taken: list[Outgoing] = []

    def sender() -> None:
        start.wait()
        taken.extend(take(api))

    threads = [threading.Thread(target=sender) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (message,) = taken
    assert (message.url, message.secret, message.attempts) == (URL, secret, 1)
    assert take(api) == []
    (again,) = take(api, later_seconds=61.0)
    assert (again.delivery_id, again.attempts) == (message.delivery_id, 2)
    with api.state.wiring.database.write() as session:
        outbox.delivered(session, again, utc_now(), response_status=204)
        # The first one was not dead after all: it has no say any more.
        outbox.failed(session, message, utc_now(), error="late", response_status=None)
    (row,) = rows(api)
    assert (row.status, row.response_status, row.error) == (DeliveryStatus.DELIVERED, 204, None)


def test_a_failing_receiver_is_tried_for_hours_and_then_given_up(alice: Caller, api: FastAPI) -> None:
    put(alice)
    alice.upload_photos(1)
    end_a_job(alice)
    announce(api)
    now, waited = utc_now(), timedelta()
    for attempt in range(1, outbox.MAX_ATTEMPTS + 1):
        with api.state.wiring.database.write() as session:
            (message,) = take_due(session, now)
            assert message.attempts == attempt
            outbox.failed(session, message, now, error="no", response_status=500)
        (row,) = rows(api)
        if row.next_attempt_at is None:
            break
        pause = row.next_attempt_at - now
        assert 0.89 * outbox.pause_after(attempt) <= pause <= 1.11 * outbox.pause_after(attempt)
        now, waited = row.next_attempt_at, waited + pause
    assert (row.status, row.attempts, row.response_status, row.error) == (DeliveryStatus.FAILED, outbox.MAX_ATTEMPTS, 500, "no")
    assert timedelta(hours=9) < waited < timedelta(hours=14)


def test_users_take_turns_at_the_webhook_of_the_service(alice: Caller, bob: Caller, service: Caller, api: FastAPI) -> None:
    service("PUT", "/v1/webhook", json={"url": URL})
    for caller in (alice, bob):
        caller.upload_photos(1)
    many = [end_a_job(alice) for _ in range(40)]
    of_bob = end_a_job(bob)
    announce(api)
    told: list[str] = []
    while of_bob not in told:
        (message,) = take(api)
        told.append(str(message.payload["data"]["job_id"]))
        with api.state.wiring.database.write() as session:
            outbox.delivered(session, message, utc_now(), response_status=204)
    # Each turn is Bob's by one chance in two: that all forty of Alice's come before is one in a million millions.
    assert len(told) <= 40
    assert told[:-1] == many[: len(told) - 1], "and each user's in their order"


def test_one_receiver_that_is_down_does_not_hold_up_another(alice: Caller, bob: Caller, api: FastAPI) -> None:
    for caller in (alice, bob):
        put(caller)
        caller.upload_photos(1)
    for _ in range(3):
        end_a_job(alice)
    of_bob = end_a_job(bob)
    announce(api)
    taken = {message.payload["data"]["job_id"] for message in take(api)}
    assert of_bob in taken and len(taken) == 2


def test_a_slow_receiver_holds_up_one_sender(alice: Caller, bob: Caller, api: FastAPI) -> None:
    for caller in (alice, bob):
        put(caller)
        caller.upload_photos(1)
    first, second = end_a_job(alice), end_a_job(alice)
    announce(api)
    (under_way,) = take(api)
    assert under_way.payload["data"]["job_id"] == first
    of_bob = end_a_job(bob)
    announce(api)
    assert [message.payload["data"]["job_id"] for message in take(api)] == [of_bob]
    with api.state.wiring.database.write() as session:
        assert not outbox.has_work(session, utc_now())
        outbox.failed(session, under_way, utc_now(), error="slow", response_status=None)
    assert [message.payload["data"]["job_id"] for message in take(api)] == [second]
    # The first one, tried again, is under way as well: the third waits.
    with api.state.wiring.database.write() as session:
        session.execute(update(WebhookDelivery).where(WebhookDelivery.job_id == second).values(status=DeliveryStatus.DELIVERED))
    end_a_job(alice)
    announce(api)
    with api.state.wiring.database.write() as session:
        session.execute(update(WebhookDelivery).where(WebhookDelivery.job_id == first).values(next_attempt_at=utc_now()))
    assert [message.attempts for message in take(api)] == [2]
    assert take(api) == []


def test_erasing_the_user_removes_webhook_and_deliveries(alice: Caller, service: Caller, api: FastAPI) -> None:
    put(alice)
    service("PUT", "/v1/webhook", json={"url": URL})
    alice.upload_photos(1)
    end_a_job(alice)
    announce(api)
    assert len(rows(api)) == 2
    service("DELETE", f"/v1/users/{alice.user_id}")
    assert rows(api) == [] and take(api, later_seconds=600) == []


def test_old_deliveries_are_forgotten(alice: Caller, api: FastAPI, settings: Settings) -> None:
    put(alice)
    alice.upload_photos(1)
    for _ in range(2):
        end_a_job(alice)
    announce(api)
    (message,) = take(api)
    with api.state.wiring.database.write() as session:
        outbox.delivered(session, message, utc_now(), response_status=200)
        assert outbox.forget(session, utc_now() - timedelta(days=1)) == 0
        assert outbox.forget(session, utc_now() + timedelta(days=1)) == 1  # the other is still to be sent
    assert len(rows(api)) == 1


def test_a_users_webhook_is_nobody_elses(alice: Caller, bob: Caller) -> None:
    put(alice)
    stranger = Caller(bob.client, bob.token, alice.user_id)
    for method, path in (("GET", "webhook"), ("PUT", "webhook"), ("DELETE", "webhook"), ("GET", "webhook/deliveries")):
        answer = stranger(method, path, **({"json": {"url": URL}} if method == "PUT" else {}))
        assert (answer.status_code, answer.json()["code"]) == (404, "user_not_found")
