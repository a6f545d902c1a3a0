"""What a worker's job cannot reach; and what comes between while it closes."""

from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy import select

from app.personal_models import service as versions
from app.tables import Image, JobStatus, PersonalModel, User
from app.tenancy import ForeignAccess, acting_for
from models import Personalization, PersonalizeConfig, Verdict
from tests.workers.conftest import BASE, add_adaptation, add_photo, job_of
from workers.adaptation import AdaptationPlan, StoredFile, _save_success
from workers.lease import hold
from workers.workshop import Workshop

BOTH_DATABASES = True


def a_version(user_id: str, version: int, *, active: bool) -> PersonalModel:
    return PersonalModel(
        user_id=user_id, version=version, base=BASE, blob_key=f"k{version}", sha256="s", byte_size=1, report={}, active=active
    )


def test_rows_of_others_are_behind_the_wall(workshop: Workshop, user_id: str) -> None:
    with workshop.database.write() as session:
        user = User()
        session.add(user)
    stranger = user.id
    add_photo(workshop, stranger, b"secret", store=False)
    with acting_for(user_id), workshop.database.read() as session:
        assert session.scalars(select(Image)).all() == []
    with pytest.raises(ForeignAccess), acting_for(user_id), workshop.database.write() as session:
        session.add(a_version(stranger, 1, active=True))


def test_an_older_version_put_in_use_meanwhile_costs_no_training(workshop: Workshop, user_id: str) -> None:
    with workshop.database.write() as session:
        session.add_all([a_version(user_id, 1, active=False), a_version(user_id, 2, active=True)])
    job_id = add_adaptation(workshop, user_id)
    kept, gone = add_photo(workshop, user_id, b"kept", store=False), "01890000-0000-7000-8000-000000000000"
    result = Personalization(None, Verdict(True, "accepted", "Kept."), {kept: 3, gone: 1}, {})
    plan = AdaptationPlan(user_id, BASE, PersonalizeConfig(), [])
    with hold(workshop.database, workshop.settings, job_id, "here", threading.Event()) as held:
        assert held is not None
        closing = threading.Thread(target=_save_success, args=(held, plan, result, StoredFile(3, "k3", "s", 1)))
        with workshop.database.write() as session:
            versions._activate(session, user_id, 1)
            closing.start()
            time.sleep(0.4)  # it stands at the row that this transaction holds
        closing.join(30)
    assert job_of(workshop, job_id).status == JobStatus.SUCCEEDED
    with workshop.database.read() as session:
        assert session.scalars(select(PersonalModel.version).where(PersonalModel.active)).all() == [3]
        assert session.get_one(Image, kept).group_index == 3
