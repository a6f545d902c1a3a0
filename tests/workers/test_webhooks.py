"""Sending webhooks to a real server: signature, addresses, redirects, time, retries."""

from __future__ import annotations

import json
import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

import anyio
import pytest
import trustme
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from app import jobs
from app.settings import Settings
from app.tables import DeliveryStatus, Job, User, Webhook, WebhookDelivery
from app.webhooks import outbox
from app.webhooks.outbox import Outgoing
from tests.workers.conftest import add_photo, add_segmentation, photograph
from tests.workers.test_process import until as while_it_runs
from tests.workers.test_process import worker_process
from workers import webhooks
from workers.webhooks import forget_old, send, send_due
from workers.workshop import Workshop

BOTH_DATABASES = True
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def say(handler: BaseHTTPRequestHandler, status: int) -> None:
    """An answer without a body."""
    handler.send_response(status)
    handler.end_headers()


@dataclass
class Receiver:
    """A real HTTP server that keeps what it is sent."""

    answer: Callable[[BaseHTTPRequestHandler], None] = lambda handler: say(handler, 204)
    tls: ssl.SSLContext | None = None
    received: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def __enter__(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.received.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                receiver.answer(self)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if self.tls is not None:
            self.server.socket = self.tls.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def open_workshop(workshop: Workshop) -> Workshop:
    """A deployment that lets webhooks go next door."""
    return replace(workshop, settings=workshop.settings.model_copy(update={"webhook_allow_private": True, "webhook_timeout_seconds": 5.0}))


@pytest.fixture
def ended_job(open_workshop: Workshop, user_id: str) -> str:
    """A job that has just been cancelled."""
    photo = add_photo(open_workshop, user_id, photograph("chelsea.png"))
    job_id = add_segmentation(open_workshop, user_id, [photo])
    with open_workshop.database.write() as session:
        jobs.request_cancel(session, session.get_one(Job, job_id))
    return job_id


def end_another(workshop: Workshop, user_id: str) -> str:
    """A job without photos, cancelled at once."""
    job_id = add_segmentation(workshop, user_id, [])
    with workshop.database.write() as session:
        jobs.request_cancel(session, session.get_one(Job, job_id))
    return job_id


def add_webhook(workshop: Workshop, user_id: str, url: str) -> None:
    with workshop.database.write() as session:
        session.add(Webhook(owner=user_id, user_id=user_id, url=url, secret=SECRET))


def the_delivery(workshop: Workshop) -> WebhookDelivery:
    with workshop.database.read() as session:
        return session.scalars(select(WebhookDelivery)).one()


def make_due(workshop: Workshop) -> None:
    with workshop.database.write() as session:
        session.execute(update(WebhookDelivery).values(next_attempt_at=WebhookDelivery.created_at))


def outgoing(url: str) -> Outgoing:
    return Outgoing("0190-id", url, SECRET, {"type": "x", "data": {"größe": 1}}, 1)


def attempt(settings: Settings, url: str, verify: ssl.SSLContext | bool = True) -> webhooks.Answer:
    return anyio.run(partial(send, settings, outgoing(url), verify=verify))


def test_the_end_of_a_job_arrives_signed(open_workshop: Workshop, user_id: str, ended_job: str, receiver: Receiver) -> None:
    add_webhook(open_workshop, user_id, f"http://localhost:{receiver.port}/hook?a=1")
    assert send_due(open_workshop) == 1 and send_due(open_workshop) == 0
    ((path, headers, body),) = receiver.received
    assert (path, headers["host"], headers["content-type"]) == ("/hook?a=1", f"localhost:{receiver.port}", "application/json")
    payload = Verifier(SECRET).verify(body, headers)
    assert (payload["type"], payload["data"]["job_id"]) == ("segmentation.cancelled", ended_job)
    with pytest.raises(WebhookVerificationError):
        Verifier(SECRET).verify(body.replace(b"cancelled", b"succeeded"), headers)
    with pytest.raises(WebhookVerificationError):
        Verifier("whsec_" + "A" * 32).verify(body, headers)
    delivery = the_delivery(open_workshop)
    assert (delivery.status, delivery.attempts, delivery.response_status) == (DeliveryStatus.DELIVERED, 1, 204)
    assert delivery.delivered_at is not None and headers["webhook-id"] == delivery.id


def test_what_fails_is_tried_again_with_the_same_id(open_workshop: Workshop, user_id: str, ended_job: str, receiver: Receiver) -> None:
    statuses = iter([500, 204])
    receiver.answer = lambda handler: say(handler, next(statuses))
    add_webhook(open_workshop, user_id, f"http://127.0.0.1:{receiver.port}/")
    assert send_due(open_workshop) == 1
    delivery = the_delivery(open_workshop)
    assert (delivery.status, delivery.response_status, delivery.error) == (DeliveryStatus.PENDING, 500, "The receiver answered 500.")
    assert send_due(open_workshop) == 0  # not yet
    make_due(open_workshop)
    assert send_due(open_workshop) == 1
    assert the_delivery(open_workshop).status == DeliveryStatus.DELIVERED
    first, second = (headers["webhook-id"] for _, headers, _ in receiver.received)
    assert first == second
    assert forget_old(open_workshop) == 0


def test_a_receiver_that_is_gone_is_not_asked_again(open_workshop: Workshop, user_id: str, ended_job: str, receiver: Receiver) -> None:
    receiver.answer = lambda handler: say(handler, 410)
    add_webhook(open_workshop, user_id, f"http://127.0.0.1:{receiver.port}/")
    send_due(open_workshop)
    assert the_delivery(open_workshop).status == DeliveryStatus.FAILED


def test_a_receiver_that_hangs_holds_up_nobody_else(open_workshop: Workshop, user_id: str, ended_job: str, receiver: Receiver) -> None:
    """Another user's job ends while it hangs: that is told in the next round, not after all that the first user is to be told."""
    backlog = [ended_job, *(end_another(open_workshop, user_id) for _ in range(4))]
    impatient = replace(open_workshop, settings=open_workshop.settings.model_copy(update={"webhook_timeout_seconds": 0.5}))
    hung, asked, order = threading.Event(), threading.Event(), []

    def hang(_handler: BaseHTTPRequestHandler) -> None:
        order.append("hangs")
        asked.set()
        hung.wait(60)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        order.append("answers")
        say(handler, 204)

    receiver.answer = hang
    with Receiver(answer) as other:
        add_webhook(impatient, user_id, f"http://127.0.0.1:{receiver.port}/")
        with impatient.database.write() as session:
            neighbour = User()
            session.add(neighbour)
        add_webhook(impatient, neighbour.id, f"http://127.0.0.1:{other.port}/")
        sending = threading.Thread(target=send_due, args=(impatient,))
        sending.start()
        assert asked.wait(60)
        end_another(impatient, neighbour.id)
        sending.join(60)
        hung.set()
    with open_workshop.database.read() as session:
        attempts = session.scalars(select(WebhookDelivery.attempts)).all()
    assert attempts == [1] * (len(backlog) + 1)
    assert "answers" in order[:4]


@dataclass
class Doorman:
    """Lets the receiver answer when it is told to; counts who waits with it."""

    most_at_once: int = 0
    inside: int = 0
    permits: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        with self.lock:
            self.inside += 1
            self.most_at_once = max(self.most_at_once, self.inside)
        self.permits.acquire(timeout=60)
        with self.lock:
            self.inside -= 1
        say(handler, 204)


@contextmanager
def sending(workshop: Workshop) -> Iterator[threading.Thread]:
    """`send_due` in a thread of its own, to its end."""
    thread = threading.Thread(target=send_due, args=(workshop,))
    thread.start()
    try:
        yield thread
    finally:
        thread.join(60)
    assert not thread.is_alive()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def add_neighbour(workshop: Workshop, port: int, ended_jobs: int = 1) -> str:
    """Another user with a webhook, who is to be told of so many ends."""
    with workshop.database.write() as session:
        neighbour = User()
        session.add(neighbour)
    add_webhook(workshop, neighbour.id, f"http://127.0.0.1:{port}/{neighbour.id}")
    for _ in range(ended_jobs):
        end_another(workshop, neighbour.id)
    return neighbour.id


def deliveries(workshop: Workshop, status: DeliveryStatus, user_id: str | None = None) -> int:
    """How many deliveries stand so that somebody has begun to send."""
    with workshop.database.read() as session:
        rows = session.scalars(select(WebhookDelivery).where(WebhookDelivery.status == status, WebhookDelivery.attempts > 0)).all()
    return sum(user_id in (None, row.user_id) for row in rows)


def are_told(workshop: Workshop, user_id: str, count: int) -> bool:
    return deliveries(workshop, DeliveryStatus.DELIVERED, user_id) == count


@pytest.fixture
def patient(open_workshop: Workshop) -> Workshop:
    """A deployment that waits for receivers for longer than a test does."""
    return replace(open_workshop, settings=open_workshop.settings.model_copy(update={"webhook_timeout_seconds": 60.0}))


def test_who_answers_is_told_everything_while_another_hangs(patient: Workshop, user_id: str, ended_job: str, receiver: Receiver) -> None:
    """Each answer is written as it comes, and one message at a time goes to one webhook."""
    hangs, answers = Doorman(), Doorman()
    receiver.answer = hangs
    add_webhook(patient, user_id, f"http://127.0.0.1:{receiver.port}/")
    end_another(patient, user_id)
    with Receiver(answers) as other:
        neighbour = add_neighbour(patient, other.port, ended_jobs=4)
        with sending(patient):
            until(lambda: hangs.inside == 1)
            for told in range(1, 5):
                until(lambda: answers.inside == 1)
                answers.permits.release()
                until(partial(are_told, patient, neighbour, told))
            assert hangs.inside == 1 and are_told(patient, user_id, 0)
            # What ends meanwhile is told, too, though nobody answers.
            end_another(patient, neighbour)
            until(lambda: answers.inside == 1)
            hangs.permits.release(2)
            answers.permits.release()
    assert are_told(patient, user_id, 2) and are_told(patient, neighbour, 5)
    assert (hangs.most_at_once, answers.most_at_once) == (1, 1)


def test_a_bounded_number_is_waited_for_at_once(patient: Workshop, receiver: Receiver) -> None:
    hangs = Doorman()
    receiver.answer = hangs
    for _ in range(18):
        add_neighbour(patient, receiver.port)
    with sending(patient):
        until(lambda: hangs.inside == 16)
        assert deliveries(patient, DeliveryStatus.PENDING) == 16
        hangs.permits.release()
        until(lambda: deliveries(patient, DeliveryStatus.DELIVERED) == 1)
        until(lambda: deliveries(patient, DeliveryStatus.PENDING) == 16)
        hangs.permits.release(17)
    assert deliveries(patient, DeliveryStatus.DELIVERED) == 18
    assert hangs.most_at_once <= 16


def test_who_is_to_stop_takes_nothing_more_and_writes_what_is_answered(
    patient: Workshop, user_id: str, ended_job: str, receiver: Receiver
) -> None:
    hangs = Doorman()
    receiver.answer = hangs
    add_webhook(patient, user_id, f"http://127.0.0.1:{receiver.port}/")
    end_another(patient, user_id)
    with sending(patient):
        until(lambda: hangs.inside == 1)
        patient.stopping.set()
        hangs.permits.release(2)
    assert deliveries(patient, DeliveryStatus.DELIVERED) == 1 and len(receiver.received) == 1


def test_a_worker_ends_though_a_receiver_hangs(patient: Workshop, user_id: str, ended_job: str, receiver: Receiver) -> None:
    """What it has not answered is sent again by another worker, later."""
    hangs = Doorman()
    receiver.answer = hangs
    add_webhook(patient, user_id, f"http://127.0.0.1:{receiver.port}/")
    with worker_process(patient, webhook_allow_private=True, webhook_timeout_seconds=600) as process:
        while_it_runs(lambda: hangs.inside == 1, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(45) == 0
    hangs.permits.release()
    assert the_delivery(patient).status == DeliveryStatus.PENDING


def test_a_database_that_is_away_leaves_messages_to_be_sent_again(
    patient: Workshop, user_id: str, ended_job: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error comes out as it is, for the loop around to log, though another receiver is being waited for."""

    def away(*_arguments: object, **_options: object) -> None:
        raise OperationalError("UPDATE", None, Exception("server closed the connection"))

    hangs = Doorman()
    add_webhook(patient, user_id, f"http://127.0.0.1:{receiver.port}/")
    with Receiver(hangs) as other:
        add_neighbour(patient, other.port)
        with monkeypatch.context() as patched, pytest.raises(OperationalError):
            patched.setattr(outbox, "delivered", away)
            send_due(patient)
        hangs.permits.release(2)
        assert deliveries(patient, DeliveryStatus.PENDING) == 2
        make_due(patient)
        assert send_due(patient) == 2
    assert deliveries(patient, DeliveryStatus.DELIVERED) == 2


def test_what_was_answered_is_written_whatever_comes_after(
    open_workshop: Workshop, user_id: str, ended_job: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_a_ring(*_arguments: object, **_options: object) -> None:
        raise OperationalError("UPDATE", None, Exception("deadlock detected"))

    add_webhook(open_workshop, user_id, f"http://127.0.0.1:{receiver.port}/")

    def answer(handler: BaseHTTPRequestHandler) -> None:
        end_another(open_workshop, user_id)
        monkeypatch.setattr(outbox, "announce", in_a_ring)
        say(handler, 204)

    receiver.answer = answer
    with pytest.raises(OperationalError):
        send_due(open_workshop)
    assert the_delivery(open_workshop).status == DeliveryStatus.DELIVERED


def test_a_redirect_is_not_followed(open_workshop: Workshop, receiver: Receiver) -> None:
    with Receiver() as elsewhere:

        def redirect(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(307)
            handler.send_header("Location", f"http://127.0.0.1:{elsewhere.port}/")
            handler.end_headers()

        receiver.answer = redirect
        answer = attempt(open_workshop.settings, f"http://127.0.0.1:{receiver.port}/")
        assert answer == webhooks.Answer(307, "Redirects are not followed.")
        assert elsewhere.received == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433"])
def test_a_private_address_is_never_called(workshop: Workshop, receiver: Receiver, host: str) -> None:
    answer = attempt(workshop.settings, f"http://{host}:{receiver.port}/")
    assert answer.status is None and answer.error == "The webhook's host has an address that is not public."
    assert receiver.received == []


def test_one_private_address_among_public_ones_is_enough_to_refuse(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks.anyio, "getaddrinfo", resolver([["1.1.1.1", "10.0.0.1"]]))
    assert "not public" in (attempt(workshop.settings, "https://two-faced.example/").error or "")


def test_the_address_that_was_checked_is_the_one_that_is_called(
    workshop: Workshop, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: a name that is public when it is checked and private a moment later."""
    answers = [["203.0.113.1"], ["127.0.0.1"]]  # one that nobody has, then ours
    monkeypatch.setattr(webhooks, "is_public", lambda address: address != "127.0.0.1")
    monkeypatch.setattr(webhooks.anyio, "getaddrinfo", resolver(answers))
    settings = workshop.settings.model_copy(update={"webhook_timeout_seconds": 1.0})
    answer = attempt(settings, f"http://rebinding.example:{receiver.port}/")
    assert answer.status is None and receiver.received == []
    assert len(answers) == 1, "the name was looked up once"


def resolver(answers: list[list[str]]) -> object:
    async def getaddrinfo(_host: str, port: int, **_options: object) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", (address, port)) for address in answers.pop(0)]

    return getaddrinfo


def test_https_is_checked_against_the_name_not_the_address(open_workshop: Workshop) -> None:
    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    for name, is_right in (("localhost", True), ("somebody-else.example", False)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        with Receiver(tls=context) as secure:
            url = f"https://localhost:{secure.port}/"
            assert (attempt(open_workshop.settings, url, trusting).status == 204) is is_right
            assert len(secure.received) == is_right
            assert attempt(open_workshop.settings, url).status is None  # unknown authority


def test_a_certificate_that_nobody_vouches_for_gets_no_message(open_workshop: Workshop, user_id: str, ended_job: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with Receiver(tls=context) as secure:
        add_webhook(open_workshop, user_id, f"https://localhost:{secure.port}/")
        assert send_due(open_workshop) == 1
        delivery = the_delivery(open_workshop)
        assert (delivery.status, delivery.attempts, delivery.response_status) == (DeliveryStatus.PENDING, 1, None)
        assert "CERTIFICATE_VERIFY_FAILED" in (delivery.error or "")
        assert secure.received == []


def test_the_proxy_of_the_environment_is_not_used(
    open_workshop: Workshop, user_id: str, ended_job: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would choose the address itself, after ours was checked."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with Receiver() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        add_webhook(open_workshop, user_id, f"http://127.0.0.1:{receiver.port}/hook")
        assert send_due(open_workshop) == 1
        assert [path for path, _, _ in receiver.received] == ["/hook"]
        assert proxy.received == []


def test_a_receiver_that_trickles_is_left_alone_in_time(open_workshop: Workshop, receiver: Receiver) -> None:
    stop = threading.Event()

    def trickle(handler: BaseHTTPRequestHandler) -> None:
        while not stop.wait(0.1):
            handler.wfile.write(b"H")
            handler.wfile.flush()

    receiver.answer = trickle
    settings = open_workshop.settings.model_copy(update={"webhook_timeout_seconds": 0.5})
    started = time.monotonic()
    answer = attempt(settings, f"http://127.0.0.1:{receiver.port}/")
    stop.set()
    assert answer == webhooks.Answer(None, "No answer within 0.5 s.")
    assert time.monotonic() - started < 30  # by each read's own timeout it would never end


def test_nobody_there_is_told_in_words(open_workshop: Workshop) -> None:
    with Receiver() as closed:
        port = closed.port
    answer = attempt(open_workshop.settings, f"http://127.0.0.1:{port}/")
    assert answer.status is None and (answer.error or "").startswith("Could not be reached: ConnectError")
    assert (attempt(open_workshop.settings, "http://no-such-name.invalid/").error or "").startswith("Could not be reached")


def test_an_endless_answer_is_not_read(open_workshop: Workshop, receiver: Receiver) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"x" * 65536)
        except OSError:
            return

    receiver.answer = endless
    assert attempt(open_workshop.settings, f"http://127.0.0.1:{receiver.port}/") == webhooks.Answer(200, None)


def test_the_body_is_what_was_signed(open_workshop: Workshop, receiver: Receiver) -> None:
    attempt(open_workshop.settings, f"http://127.0.0.1:{receiver.port}/")
    ((_, headers, body),) = receiver.received
    assert Verifier(SECRET).verify(body, headers) == json.loads(body) == {"type": "x", "data": {"größe": 1}}
