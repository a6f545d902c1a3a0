"""Whose turn it is, on both databases."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import select, update

from app import jobs, turns
from app.clock import utc_now
from app.db import Database
from app.jobs import Lease
from app.tables import Job, JobKind, JobStatus, User

BOTH_DATABASES = True
KIND = JobKind.SEGMENTATION


def make_user(database: Database) -> str:
    with database.write() as session:
        user = User()
        session.add(user)
    return user.id


def make_jobs(database: Database, user_id: str, count: int = 1) -> list[str]:
    made = [Job(user_id=user_id, kind=KIND, request={}, base="espnetv2") for _ in range(count)]
    with database.write() as session:
        session.add_all(made)
    return [job.id for job in made]


def next_job(database: Database) -> str | None:
    with database.read() as session:
        return next(iter(turns.next_jobs(session, KIND)), None)


def take(database: Database, owner: str = "one") -> Lease | None:
    """What `workers.tasks.run_next` does; None when nothing waits."""
    while (job_id := next_job(database)) is not None:
        with database.write() as session:
            lease = jobs.claim(session, job_id, owner, 30.0)
        if lease is not None:
            return lease
    return None


def must_take(database: Database, owner: str = "one") -> Lease:
    lease = take(database, owner)
    assert lease is not None
    return lease


def finish(database: Database, lease: Lease) -> None:
    with database.write() as session:
        jobs.succeed(session, lease)


def positions(database: Database, job_ids: list[str]) -> list[int | None]:
    with database.read() as session:
        found = [session.get_one(Job, job_id) for job_id in job_ids]
        return [turns.Places(session, job.user_id, KIND).of(job) for job in found]


def test_a_thousand_jobs_of_one_user_delay_anothers_first_by_none_but_the_running_one(database: Database) -> None:
    ann, bea = make_user(database), make_user(database)
    make_jobs(database, ann, 1000)
    going_on = must_take(database)
    (first_of_bea,) = make_jobs(database, bea)
    assert positions(database, [first_of_bea]) == [1]
    finish(database, going_on)
    assert next_job(database) == first_of_bea


def test_two_workers_serve_two_users_at_once(database: Database) -> None:
    ann, bea = make_user(database), make_user(database)
    of_ann = make_jobs(database, ann, 3)
    (of_bea,) = make_jobs(database, bea)
    assert must_take(database, "one").job_id == of_ann[0]
    assert must_take(database, "two").job_id == of_bea


def test_free_workers_that_ask_at_once_are_given_what_they_would_take_one_after_another(database: Database) -> None:
    ann, bea, cid = (make_user(database) for _ in range(3))
    of_cid = make_jobs(database, cid, 2)
    must_take(database)
    of_ann, of_bea = make_jobs(database, ann, 3), make_jobs(database, bea, 1)
    with database.read() as session:
        given = turns.next_jobs(session, KIND, 5)
    assert given == [of_ann[0], of_bea[0], of_cid[1], of_ann[1]], "two of each of three users make five"
    taken = [must_take(database, str(place)).job_id for place in range(4)]
    assert taken == given
    with database.read() as session:
        assert turns.next_jobs(session, KIND) == [of_ann[2]]


def test_users_take_turns_and_each_users_oldest_goes_first(database: Database) -> None:
    users = [make_user(database) for _ in range(3)]
    lines = {user: make_jobs(database, user, count) for user, count in zip(users, (4, 1, 2), strict=True)}
    order = []
    while (lease := take(database)) is not None:
        order.append(lease.job_id)
        finish(database, lease)
    ann, bea, cleo = (lines[user] for user in users)
    assert order == [ann[0], bea[0], cleo[0], ann[1], cleo[1], ann[2], ann[3]]


def test_the_position_tells_the_order_in_which_the_jobs_are_taken(database: Database) -> None:
    users = [make_user(database) for _ in range(3)]
    everything = [job_id for user, count in zip(users, (4, 1, 3), strict=True) for job_id in make_jobs(database, user, count)]
    going_on = must_take(database)
    waiting = [job_id for job_id in everything if job_id != going_on.job_id]
    told = dict(zip(waiting, positions(database, waiting), strict=True))
    finish(database, going_on)
    taken = []
    while (lease := take(database)) is not None:
        taken.append(lease.job_id)
        finish(database, lease)
    assert [told[job_id] for job_id in taken] == list(range(1, len(taken) + 1))


def test_newcomers_do_not_starve_who_waits(database: Database) -> None:
    """A new user every turn: the old one's second job is still taken after all who came before it."""
    ann = make_user(database)
    first, second = make_jobs(database, ann, 2)
    lease = must_take(database)
    assert lease.job_id == first
    for _ in range(2):
        make_jobs(database, make_user(database))
    finish(database, lease)
    taken = []
    for _ in range(3):
        make_jobs(database, make_user(database))
        lease = must_take(database)
        taken.append(lease.job_id)
        finish(database, lease)
    assert taken[2] == second


def test_a_job_that_gives_way_goes_on_after_those_who_waited_and_counts_no_attempt(database: Database) -> None:
    ann, bea = make_user(database), make_user(database)
    long, short_of_ann = make_jobs(database, ann, 2)
    lease = must_take(database)
    (of_bea,) = make_jobs(database, bea)
    with database.write() as session:
        assert turns.somebody_waits(session, KIND)
        jobs.yield_turn(session, lease)
    taken = []
    while (lease := take(database)) is not None:
        taken.append(lease.job_id)
        finish(database, lease)
    assert taken == [of_bea, short_of_ann, long]
    with database.read() as session:
        job = session.get_one(Job, long)
        assert (job.status, job.attempt) == (JobStatus.SUCCEEDED, 1)
        assert not turns.somebody_waits(session, KIND)


def test_the_kinds_have_lines_of_their_own(database: Database) -> None:
    user = make_user(database)
    (segmentation,) = make_jobs(database, user)
    with database.write() as session:
        adaptation = Job(user_id=user, kind=JobKind.ADAPTATION, request={}, base="espnetv2")
        session.add(adaptation)
        session.flush()
        assert turns.next_jobs(session, JobKind.ADAPTATION) == [adaptation.id]
        assert turns.next_jobs(session, KIND) == [segmentation]


def test_an_abandoned_job_is_taken_again_and_its_dead_worker_counts_as_none(database: Database) -> None:
    user = make_user(database)
    (job_id,) = make_jobs(database, user)
    must_take(database)
    assert next_job(database) is None
    with database.write() as session:
        assert jobs.expire_leases_of(session, "one") == 1
    assert next_job(database) == job_id


@pytest.mark.parametrize("count", [60])
def test_two_workers_take_every_job_once(database: Database, count: int) -> None:
    users = [make_user(database) for _ in range(5)]
    made = {job_id for user in users for job_id in make_jobs(database, user, count // len(users))}
    start = threading.Barrier(2)
    taken: dict[str, list[str]] = {"one": [], "two": []}

    def work(owner: str) -> None:
        start.wait()
        while (lease := take(database, owner)) is not None:
            taken[owner].append(lease.job_id)
            finish(database, lease)

    threads = [threading.Thread(target=work, args=(owner,)) for owner in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = taken["one"] + taken["two"]
    assert len(everything) == len(set(everything)) == count and set(everything) == made
    with database.read() as session:
        assert set(session.scalars(select(Job.attempt))) == {1}
        assert set(session.scalars(select(Job.status))) == {JobStatus.SUCCEEDED}


def test_a_user_with_many_ended_jobs_waits_like_anybody(database: Database) -> None:
    ann, bea = make_user(database), make_user(database)
    make_jobs(database, ann, 20)
    with database.write() as session:
        session.execute(update(Job).values(status=JobStatus.SUCCEEDED, finished_at=utc_now(), served_at=utc_now()))
    (of_ann,) = make_jobs(database, ann)
    (of_bea,) = make_jobs(database, bea)
    assert positions(database, [of_ann, of_bea]) == [1, 2]
    assert next_job(database) == of_ann
