"""`personalseg serve`: a deployment until somebody stops it, and what it tells the person who started it."""

from __future__ import annotations

import json
import signal
import sys
from types import FrameType

import typer

from app.client import ClientError
from app.local.deployment import Deployment
from app.local.ground import LocalError
from app.log import configure_logging
from app.page.opening import open_in_browser, signed_in_address
from app.prepare import TOKEN_FILE
from app.settings import Settings


def serve(settings: Settings, *, is_opening: bool = False, as_json: bool = False) -> int:
    """Run the deployment until SIGTERM or Ctrl-C, with the page in the browser where that is asked for; the exit code.

    With `as_json` the standard output holds where it is and nothing else.

    Raises LocalError when it cannot start.
    """
    configure_logging(settings.log_level, as_json=settings.log_json)
    given = settings.model_dump(exclude={"data_dir", "port", "redis_url"})
    deployment = Deployment(settings.data_dir, port=settings.port, **given)

    def stop(_number: int, _frame: FrameType | None) -> None:
        deployment.request_stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        deployment.start()
        typer.echo(json.dumps(_places(deployment)) if as_json else _welcome(deployment))
        _offer_page(deployment, is_opening=is_opening, is_telling=not as_json)
        deployment.wait()
        typer.echo("Stopping …", err=as_json)
    finally:
        deployment.stop()
        for number, handler in before.items():
            signal.signal(number, handler)
    typer.echo("Stopped.", err=as_json)
    return 0


def _places(deployment: Deployment) -> dict[str, str]:
    url, data_dir = deployment.base_url, deployment.data_dir
    return {"url": url, "documentation": f"{url}/docs", "data_dir": str(data_dir), "service_token_file": str(data_dir / TOKEN_FILE)}


def _welcome(deployment: Deployment) -> str:
    token_path = deployment.data_dir / TOKEN_FILE
    url = deployment.base_url
    return (
        f"personalseg listens on {url} (documentation: {url}/docs). Data: {deployment.data_dir}\n"
        f"The service token is in {token_path}. For example, make a user:\n"
        f'  curl -X POST {url}/v1/users -H "Authorization: Bearer $(cat {token_path})" '
        "-H 'Content-Type: application/json' -d '{}'\n"
        "Ctrl-C stops everything."
    )


def _offer_page(deployment: Deployment, *, is_opening: bool, is_telling: bool) -> None:
    # The address signs in: it is for a person's eyes, not for the log of whoever runs this without a terminal.
    if not (is_opening or (is_telling and sys.stdout.isatty())):
        return
    try:
        address = signed_in_address(deployment.base_url, deployment.service_token)
    except ClientError as error:
        raise LocalError(f"The page cannot be opened signed in: {error.detail}") from error
    if not (is_opening and open_in_browser(address, deployment.data_dir)):
        typer.echo(f"The page, signed in: {address}", err=not is_telling)
