"""Reports as lists show them: the database leaves `groups` out, which name every photo of the gallery and are nearly all of a report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import JSON, Select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session, defer
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from app.tables import Job, PersonalModel

Reporting = TypeVar("Reporting", Job, PersonalModel)


class _WithoutGroups(FunctionElement[Any]):
    """A column of reports, each without its `groups`; null stays null."""

    type = JSON()
    inherit_cache = True


@compiles(_WithoutGroups, "sqlite")
def _on_sqlite(element: _WithoutGroups, compiler: SQLCompiler, **options: Any) -> str:
    report = compiler.process(element.clauses, **options)
    # Early builds wrote NaN where a training had diverged: no JSON to SQLite, which would answer nothing at all.
    return f"CASE WHEN json_valid({report}) THEN json_remove({report}, '$.groups') ELSE {report} END"


@compiles(_WithoutGroups, "postgresql")
def _on_postgresql(element: _WithoutGroups, compiler: SQLCompiler, **options: Any) -> str:
    return f"(CAST({compiler.process(element.clauses, **options)} AS JSONB) - 'groups')"


def with_short_reports(session: Session, statement: Select[Reporting], table: type[Reporting]) -> Sequence[Reporting]:
    """The rows of a `select(table)`, whose `report` comes without `groups`: to be shown, not to be changed."""
    found = session.execute(statement.options(defer(table.report)).add_columns(_WithoutGroups(table.report))).all()
    for row, report in found:
        set_committed_value(row, "report", report)
    return [row for row, _ in found]
