"""`personalseg jobs …`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from app.cli.console import AsJson
from app.cli.operations.console import operating, show, show_list
from app.cli.operations.users import Limit

jobs = typer.Typer(help="Jobs of all users: list, show, cancel, requeue. Acts on the database of the settings.", no_args_is_help=True)


# Written out, because the tables take a second to import, and `--help` must answer at once; a test compares them.
class Kind(StrEnum):
    """What a job does."""

    ADAPTATION = "adaptation"
    SEGMENTATION = "segmentation"


class Status(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"


JobId = Annotated[str, typer.Argument(help="The job's id.")]


@jobs.command("list")
def list_jobs(
    user: Annotated[str | None, typer.Option("--user", help="The user's id or external id.")] = None,
    kind: Annotated[Kind | None, typer.Option(help="Only of this kind.")] = None,
    status: Annotated[Status | None, typer.Option(help="Only in this state.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """The newest jobs.

    Examples:

      personalseg jobs list --status failed --limit 20

      personalseg jobs list --user ada --kind adaptation --json
    """
    from app.operations import service

    with operating(as_json=as_json) as operator:
        found = service.list_jobs(operator, user=user, kind=kind, status=status, limit=limit)
        show_list(found, ("id", "kind", "status", "stage", "percent", "attempt", "error_code", "created_at"), as_json=as_json)


@jobs.command("show")
def show_job(job: JobId, as_json: AsJson = False) -> None:
    """Everything that a job's row says: lease, attempts, timeline, the request that made it.

    Example:

      personalseg jobs show 01a20534-609c-772b-a03a-ba428229f622 --json
    """
    from app.operations import service

    with operating(as_json=as_json) as operator:
        show(service.show_job(operator, job), as_json=as_json)


@jobs.command("cancel")
def cancel_job(job: JobId, as_json: AsJson = False) -> None:
    """Cancel a queued job at once; ask the worker of a running one to stop.

    Example:

      personalseg jobs cancel 01a20534-609c-772b-a03a-ba428229f622
    """
    from app.operations import service

    with operating(as_json=as_json) as operator:
        show(service.cancel_job(operator, job), as_json=as_json)


@jobs.command("requeue")
def requeue_job(job: JobId, as_json: AsJson = False) -> None:
    """Queue a failed, refused or cancelled job again, with all its attempts; masks that are there are reused.

    Example:

      personalseg jobs requeue 01a20534-609c-772b-a03a-ba428229f622
    """
    from app.operations import service

    with operating(as_json=as_json) as operator:
        show(service.requeue_job(operator, job), as_json=as_json)
