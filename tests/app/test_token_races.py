"""Two requests on one user's tokens at the same moment: whichever comes second sees what the first has done."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from app import auth
from app.operations import service as operations
from app.operations.service import Operator
from app.settings import Settings
from app.storage import open_storage
from tests.app.conftest import Caller, TestClient

BOTH_DATABASES = True


class Gate:
    """Stands where a new token is made, in the middle of a transaction: the first to come waits until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        make = auth.create_token

        def guarded(*arguments: Any, **options: Any) -> Any:
            made = make(*arguments, **options)
            if not self.reached.is_set():
                self.reached.set()
                self.opened.wait(10)
            return made

        monkeypatch.setattr(auth, "create_token", guarded)

    def pass_through(self, first: Callable[[], httpx.Response], second: Callable[[], Any]) -> tuple[httpx.Response, Any]:
        """`second` begins while `first` stands in its transaction; what both gave."""
        given: dict[str, Any] = {}
        threads = [threading.Thread(target=lambda n=name, w=work: given.update({n: w()})) for name, work in (("1", first), ("2", second))]
        threads[0].start()
        assert self.reached.wait(10)
        threads[1].start()
        threads[1].join(0.5)  # long enough for a request that waits for nobody
        self.opened.set()
        for thread in threads:
            thread.join(30)
        return given["1"], given["2"]


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def id_of_token(caller: Caller) -> str:
    return str(caller("GET", "tokens").json()["items"][0]["id"])


def test_a_token_that_is_revoked_while_it_is_rotated_is_revoked(alice: Caller, service: Caller, gate: Gate) -> None:
    token_id, by_service = id_of_token(alice), Caller(service.client, service.token, alice.user_id)
    rotated, revoked = gate.pass_through(
        lambda: alice("POST", f"tokens/{token_id}/rotate", json={"grace_seconds": 86400}),
        lambda: by_service("DELETE", f"tokens/{token_id}"),
    )
    assert (rotated.status_code, revoked.status_code) == (201, 204)
    assert alice("GET", "images").status_code == 401


def test_the_operator_s_word_is_not_undone_by_a_rotation(alice: Caller, api: TestClient, settings: Settings, gate: Gate) -> None:
    operator = Operator(settings, api.state.wiring.database, open_storage(settings))  # type: ignore[attr-defined]
    token_id = id_of_token(alice)
    gate.pass_through(
        lambda: alice("POST", f"tokens/{token_id}/rotate", json={"grace_seconds": 86400}),
        lambda: operations.revoke_token(operator, token_id),
    )
    assert alice("GET", "images").status_code == 401


def test_of_two_rotations_one_is_refused(alice: Caller, gate: Gate) -> None:
    token_id = id_of_token(alice)

    def rotate() -> httpx.Response:
        return alice("POST", f"tokens/{token_id}/rotate", json={"grace_seconds": 60})

    first, second = gate.pass_through(rotate, rotate)
    assert (first.status_code, second.status_code, second.json()["code"]) == (201, 409, "token_not_valid")


def test_of_two_that_revoke_the_others_one_stays(alice: Caller, service: Caller, gate: Gate) -> None:
    by_service = Caller(service.client, service.token, alice.user_id)

    def renew() -> httpx.Response:
        return by_service("POST", "tokens", json={"revoke_others": True})

    made = [answer.json()["token"] for answer in gate.pass_through(renew, renew)]
    assert [Caller(alice.client, token, alice.user_id)("GET", "images").status_code for token in made] == [401, 200]
