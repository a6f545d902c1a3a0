"""SIGKILL of the API during uploads and requests. Recovery: from the kill until it answers again."""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress

import httpx

from app.client import Client
from tests.faults.deployment import Deployment, await_true
from tests.faults.marks import on_both_when_long
from tests.faults.work import BUDGET_SECONDS, Start, Times, Work

RETRIES = 20


@on_both_when_long
def test_the_api_killed_while_it_is_asked(service: Deployment, start: Start, times: Times) -> None:
    work = start("SIGKILL of the API", service)
    moments = random.Random(11)
    for round_number in range(times(5, 1)):
        patient = service.new_user(RETRIES)
        asking = threading.Thread(target=ask, args=(work, patient, f"round-{round_number}"))
        asking.start()
        time.sleep(moments.uniform(0, 0.6))
        service.kill("api")
        killed = time.monotonic()
        await_true(lambda: answers(service), 120)
        work.line.recovered(time.monotonic() - killed)
        asking.join(180)
        assert not asking.is_alive()
        assert len(list(patient.jobs("adaptation"))) == 1, "one key, one job"
        assert len(patient.images()) == len(work.photos)
    assert len(work.accepted) == 2 * times(5, 1)
    work.examine()


def ask(work: Work, user: Client, key: str) -> None:
    """What a caller does who repeats each request until it is answered, with one key."""
    user.upload(work.photos)
    work.took(user.adapt(budget_seconds=BUDGET_SECONDS, idempotency_key=key))
    work.took(user.segment("all", model="base", adapt="never", idempotency_key=key))


def answers(service: Deployment) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{service.base_url}/healthz", trust_env=False).status_code == httpx.codes.OK
    return False
