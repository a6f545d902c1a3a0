"""`personalseg bases …`: the base models and their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from app.cli.console import AsJson, WeightsDir, stop
from app.setting_errors import BAD_SETTING, setting_sentence

bases = typer.Typer(help="The base models and their weights.", no_args_is_help=True)

BaseName = Annotated[str, typer.Argument(help="A base model's name; `personalseg bases list` shows them.")]


@bases.command("list")
def list_bases(folder: WeightsDir = None, as_json: AsJson = False) -> None:
    """Every base model: where its weights are, its context, its scores.

    Examples:

      personalseg bases list

      personalseg bases list --json | jq -r ".bases[].name"
    """
    _run_bases(["list"], folder, as_json)


@bases.command("fetch")
def fetch_base(
    name: BaseName,
    mirror: Annotated[
        str | None, typer.Option(help="URL of a folder that holds the publisher's file.", show_default="the publisher's")
    ] = None,
    folder: WeightsDir = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a base's weights now, so that no job has to wait for them.

    Examples:

      personalseg bases fetch deeplabv3_resnet50

      personalseg bases fetch deeplabv3_resnet50 --mirror https://mirror.example/weights
    """
    _run_bases(["fetch", name, *(["--mirror", mirror] if mirror is not None else [])], folder, as_json)


@bases.command("install")
def install_base(
    name: BaseName,
    file: Annotated[Path, typer.Argument(help="The .safetensors file that `python -m models.train_base` wrote.")],
    folder: WeightsDir = None,
    as_json: AsJson = False,
) -> None:
    """Take weights that you have trained for a base that has none.

    Example:

      personalseg bases install pspnet_resnet50 runs/pspnet.safetensors
    """
    _run_bases(["install", name, str(file)], folder, as_json)


def _run_bases(arguments: list[str], folder: Path | None, as_json: bool) -> NoReturn:
    from app.bases import run_bases
    from app.method_process import WorkerExtraMissing
    from app.settings import Settings

    options = [*(["--dir", str(folder)] if folder is not None else []), *(["--json"] if as_json else [])]
    try:
        raise typer.Exit(run_bases([*arguments, *options], Settings()))
    except BAD_SETTING as error:
        stop(setting_sentence(error), code="bad_setting", as_json=as_json)
    except WorkerExtraMissing as error:
        stop(str(error), code="worker_extra_missing", as_json=as_json)
