"""`personalseg doctor`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from app.cli.console import EXIT_FAILED, AsJson, print_json
from app.cli.operations.console import operating


def doctor(as_json: AsJson = False) -> None:
    """Look at database, Redis, storage, workers and disk: a line each, and what to do where one is not well. Exit code 1 then.

    Examples:

      personalseg doctor

      personalseg doctor --json || notify-the-operator
    """
    from app.operations.doctor import examine

    with operating(as_json=as_json, checked=False) as operator:
        findings = examine(operator)
    well = all(finding.ok for finding in findings)
    if as_json:
        print_json({"well": well, "findings": [asdict(finding) for finding in findings]})
    for finding in () if as_json else findings:
        typer.echo(
            f"{'ok ' if finding.ok else 'BAD'}  {finding.name.ljust(8)}  {finding.detail}"
            + (f". {finding.advice}" if finding.advice else "")
        )
    raise typer.Exit(0 if well else EXIT_FAILED)
