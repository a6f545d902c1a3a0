"""Bars on the standard error, so that the standard output holds results alone; none with `--json` or without a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from app.client.documents import Job
from app.demo.view import describe


@contextmanager
def counting(title: str, total: int, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A bar over `total` things; call what it yields with how many more are done."""
    with _progress(MofNCompleteColumn(), quiet=quiet) as progress:
        task = progress.add_task(title, total=total, note="")
        yield lambda more: progress.advance(task, more)


@contextmanager
def following(title: str, *, quiet: bool = False) -> Iterator[Callable[[Job], None]]:
    """A bar that follows a job; call what it yields with each document."""
    with _progress(TaskProgressColumn(), quiet=quiet) as progress:
        task = progress.add_task(title, total=100, note="starting")

        def follow(job: Job) -> None:
            done = 100.0 if job.status in {"succeeded", "refused"} else job.percent or 0.0
            progress.update(task, completed=done, note=describe(job))

        yield follow


def _progress(share: MofNCompleteColumn | TaskProgressColumn, *, quiet: bool) -> Progress:
    console = Console(stderr=True)
    return Progress(
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description:<16}"),
        BarColumn(bar_width=32),
        share,
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[note]}[/]"),
        console=console,
        disable=quiet or not console.is_terminal,
    )
