"""Triggers that note every change of a job's status, so that the checks need not trust the code they check."""

from __future__ import annotations

from app.db import Database

_COLUMNS = "job_id VARCHAR(36), old VARCHAR(16), new VARCHAR(16), attempt INTEGER"
_SQLITE = """
CREATE TRIGGER audit_jobs AFTER UPDATE OF status ON jobs WHEN OLD.status <> NEW.status
BEGIN INSERT INTO audit (job_id, old, new, attempt) VALUES (NEW.id, OLD.status, NEW.status, NEW.attempt); END
"""
_POSTGRESQL = (
    """
CREATE FUNCTION audit_job() RETURNS trigger AS $$
BEGIN INSERT INTO audit (job_id, old, new, attempt) VALUES (NEW.id, OLD.status, NEW.status, NEW.attempt); RETURN NULL; END
$$ LANGUAGE plpgsql
""",
    "CREATE TRIGGER audit_jobs AFTER UPDATE ON jobs FOR EACH ROW WHEN (OLD.status <> NEW.status) EXECUTE FUNCTION audit_job()",
)


def install_audit(database: Database) -> None:
    """Note every change of status from here on."""
    is_sqlite = database.engine.dialect.name == "sqlite"
    number, triggers = ("INTEGER", (_SQLITE,)) if is_sqlite else ("SERIAL", _POSTGRESQL)
    with database.write() as session:
        for statement in (f"CREATE TABLE audit (number {number} PRIMARY KEY, {_COLUMNS})", *triggers):
            session.connection().exec_driver_sql(statement)


def changes_of(database: Database, job_id: str) -> list[tuple[str, str, int]]:
    """(status before, status after, attempt) of every change of one job, in their order."""
    with database.read() as session:
        rows = session.connection().exec_driver_sql(f"SELECT old, new, attempt FROM audit WHERE job_id = '{job_id}' ORDER BY number").all()
    return [(row.old, row.new, row.attempt) for row in rows]
