"""What the person at the terminal sees: progress bars while the demo works, a table at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from app.client import Job
from app.demo.result import DemoResult
from app.demo.words import duration, percent, plain

TOP_CLASSES = 5


class View:
    """Bars and tables on one console."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def counting(self, title: str, total: int) -> Iterator[Callable[[], None]]:
        """A bar over `total` equal things; call what it yields after each."""
        with self._progress() as progress:
            task = progress.add_task(title, total=total, note=f"0/{total}")
            done = 0

            def advance() -> None:
                nonlocal done
                done += 1
                progress.update(task, completed=done, note=f"{done}/{total}")

            yield advance

    @contextmanager
    def job(self, title: str) -> Iterator[Callable[[Job], None]]:
        """A bar that follows a job; call what it yields with each document."""
        with self._progress() as progress:
            task = progress.add_task(title, total=100, note="starting")

            def follow(job: Job) -> None:
                done = 100.0 if job.status in {"succeeded", "refused"} else job.percent or 0.0
                progress.update(task, completed=done, note=describe(job))

            yield follow

    def _progress(self) -> Progress:
        return Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=32),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}[/]"),
            console=self._console,
        )

    def summary(self, result: DemoResult, out: Path) -> None:
        """The table at the end, and where the results are."""
        table = Table(title=f"personalseg demo: {escape(result.source)}", show_header=False, title_justify="left")
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in _facts(result):
            table.add_row(name, escape(value))
        table.add_section()
        for step in result.steps:
            table.add_row(plain(step.name), duration(step.seconds))
            if step.name == "adaptation":
                for stage in result.stages:
                    table.add_row(f"  [not bold dim]{escape(plain(stage.name))}[/]", f"[dim]{duration(stage.seconds)}[/]")
        table.add_row("In all", f"[bold]{duration(result.seconds)}[/]")
        self._console.print(table)
        for problem in result.problems:
            self._console.print(f"[bold red]![/] {escape(problem)}", highlight=False)
        for entry in result.rejected:
            self._console.print(f"[yellow]-[/] {escape(entry.path)}: {escape(entry.reason)} [dim]({entry.code})[/]", highlight=False)
        self._console.print(f"Masks, overlays and the report: {escape(str(out / 'report.html'))}", highlight=False, soft_wrap=True)


def describe(job: Job) -> str:
    """A job's state in a few words."""
    if job.ended:
        return job.status
    if job.status == "queued":
        return f"waiting, number {job.queue_position} in the queue" if job.queue_position else "waiting for a worker"
    parts = [plain(job.stage) if job.stage else "working"]
    if job.step is not None and job.steps:
        parts.append(f"{job.step}/{job.steps}")
    if job.eta_seconds is not None:
        parts.append(f"about {duration(job.eta_seconds)} left")
    return " · ".join(parts)


def _facts(result: DemoResult) -> Iterator[tuple[str, str]]:
    yield "Photos", f"{len(result.photos)} segmented, {len(result.rejected)} not taken"
    yield "Groups", str(result.group_count())
    kept = "No adaptation; the masks are those of the base."
    yield "Verdict", kept if result.verdict is None else result.verdict.sentence
    yield "Pixels changed", percent(result.changed_share)
    top = [entry for entry in result.area_shares("personal") if entry.id != 0][:TOP_CLASSES]
    yield "Top classes", ", ".join(f"{entry.name} {percent(entry.share)}" for entry in top) or "background only"
