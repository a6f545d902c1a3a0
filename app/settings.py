"""Every setting of the service: one frozen object, read from `PERSONALSEG_…` environment variables."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from app.decoding.limits import DecodingLimits

MEBIBYTE = 1024 * 1024
REDIS_FILE = "redis-url"
"""In the data folder while `personalseg serve` runs: where its Redis listens."""
# Where Docker and Kubernetes put a secret's file.
_SECRETS_DIR = "/run/secrets"


def _default_database_url(fields: dict[str, Any]) -> str:
    return f"sqlite:///{Path(fields['data_dir']).absolute() / 'personalseg.sqlite3'}"


def _default_storage_url(fields: dict[str, Any]) -> str:
    return f"file://{Path(fields['data_dir']).absolute() / 'blobs'}"


class Settings(BaseSettings):
    """The service's settings; the unit is in the name. The table of docs/settings.md is made from the descriptions."""

    # What is not usable may be a URL with its password: it must not stand in a traceback, nor in the log that keeps it.
    model_config = SettingsConfigDict(env_prefix="PERSONALSEG_", frozen=True, extra="ignore", hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given in the code, then the environment, then files such as `/run/secrets/personalseg_database_url`."""
        named = os.environ.get("PERSONALSEG_SECRETS_DIR")
        folder = Path(named or _SECRETS_DIR)
        if named and not folder.is_dir():  # going on without them could mean another database
            raise SettingsError(f"PERSONALSEG_SECRETS_DIR names the folder {named}, which is not there")
        files = (SecretsSettingsSource(settings_cls, folder),) if folder.is_dir() else ()
        return init_settings, env_settings, *files

    data_dir: Path = Field(Path("./data"), description="Folder of the database, the blobs and the service token.")
    database_url: str = Field(
        default_factory=_default_database_url,
        pattern=r"^(sqlite|postgresql)(\+\w+)?://",
        description="SQLAlchemy URL; `sqlite:///…` or `postgresql+psycopg://…`. Default: SQLite in the data folder.",
    )
    request_threads: int = Field(
        8,
        ge=1,
        description="Requests that one API process works on at the same moment; more do not help, since Python runs one at a time.",
    )
    database_connections: int = Field(20, ge=1, description="Connections that one process keeps open to the database.")
    database_extra_connections: int = Field(
        20,
        ge=0,
        description="Further ones that it opens for a moment; over all processes they must stay below PostgreSQL's `max_connections`.",
    )
    storage_url: str = Field(
        default_factory=_default_storage_url,
        pattern=r"^(file|s3)://.+",
        description="Blob store: `file:///folder` or `s3://bucket/prefix`. Default: `blobs/` in the data folder.",
    )
    storage_endpoint_url: str | None = Field(
        None,
        description="Where the bucket is served, for a store that is not Amazon's. Default: what `AWS_ENDPOINT_URL` says, else Amazon.",
    )
    storage_key_id: str | None = Field(None, description="Access key of the bucket. Default: what AWS's own tools would take.")
    storage_secret: str | None = Field(None, description="Secret of that access key.")
    storage_redirect_seconds: int = Field(
        0,
        ge=0,
        le=3600,
        description="Photos and masks come from the bucket itself, by a redirect to an address good for so long; 0: through the API. "
        "Whoever sends `X-No-Redirect: 1` is answered by the API.",
    )
    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        pattern=r"^(rediss?|unix)://.+",
        description="Redis of the queue: `redis://…`, or `unix:///path` for a socket. `personalseg serve` brings its own and does not ask.",
    )
    host: str = Field("127.0.0.1", description="Address that the API listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port that the API listens on.")
    log_level: str = Field(
        "INFO",
        pattern=r"(?i)^(debug|info|warning|error|critical)$",
        description="Least severe level that is logged, `DEBUG` to `CRITICAL`.",
    )
    log_json: bool = Field(False, description="Log one JSON object per line instead of text for people.")

    metrics_token: str | None = Field(
        None, min_length=16, description="Token with which Prometheus may read `/metrics`; a service token may too, nobody else."
    )
    worker_metrics_host: str = Field("127.0.0.1", description="Address of a worker's own `/metrics`, which asks for no token.")
    worker_metrics_port: int = Field(
        0, ge=0, le=65535, description="Port of a worker's own `/metrics`, in `personalseg serve` of the first one; 0 is none."
    )

    auth_failures_per_minute: int = Field(
        30, ge=1, description="Wrong tokens from one address after which the answer is 429; right ones pass."
    )
    trusted_proxies: int = Field(
        0, ge=0, le=8, description="Reverse proxies in front whose X-Forwarded-For is believed; 0 ignores the header."
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Origins whose pages may call the API, with commas between them or as a JSON list; by default none."
    )
    hsts_seconds: int = Field(0, ge=0, description="Strict-Transport-Security max-age, for a deployment behind HTTPS; 0 sends none.")
    max_json_bytes: int = Field(MEBIBYTE, gt=0, description="Largest request body, apart from uploaded photos.")

    default_base: str = Field("espnetv2", description="Base model used while no worker has registered a default one.")
    weights_dir: Path | None = Field(None, description="Folder of fetched base weights. Default: in the cache folder of the worker's user.")
    weights_mirror: str | None = Field(None, description="URL of a folder to fetch base weights from, instead of their publishers'.")
    source_dir: Path | None = Field(
        None,
        description="Labelled source photos (VOC layout) for step 1, alignment. Default: adaptations do without, and lose nothing "
        "by it on the mean (docs/method.md, With source photos). `python -m models.source check DIR` reads every file of it.",
    )
    lease_seconds: float = Field(30.0, gt=0, le=600, description="A worker that is silent for this long loses its job.")
    heartbeat_seconds: float = Field(5.0, gt=0, description="How often a worker says that it is alive.")
    sweep_seconds: float = Field(5.0, gt=0, description="How often a worker looks for waiting jobs whose message in Redis was lost.")
    worker_fresh_seconds: float = Field(30.0, gt=0, description="A worker heard from within this time counts as alive.")
    segmentation_turn_seconds: float = Field(5.0, gt=0, description="After this long a segmentation gives way to jobs that wait.")
    unfinished_file_seconds: float = Field(
        3600.0, gt=0, description="Half-written files of killed processes are removed at this age; longer than any upload or write takes."
    )
    storage_sweep_hours: float = Field(
        6.0, gt=0, le=8760, description="How often one of the workers looks through the whole blob store for what no row speaks of."
    )
    device: str = Field("auto", description="Where the workers compute: `auto`, `cpu`, `cuda`, `cuda:1`, …")
    worker_max_rss_bytes: int = Field(
        4096 * MEBIBYTE, gt=0, description="A worker that holds more memory than this after a job ends, to be started again."
    )
    model_cache_bytes: int = Field(512 * MEBIBYTE, gt=0, description="Memory of one worker for the personal models that it used last.")

    adaptation_budget_seconds: float = Field(240.0, gt=0, allow_inf_nan=False, description="Wall-clock budget of one adaptation.")
    max_adaptation_budget_seconds: float = Field(
        3600.0, gt=0, allow_inf_nan=False, description="Largest budget that a request, or `personalseg personalize`, may ask for."
    )
    min_gallery_images: int = Field(2, ge=1, description="Fewest photos with which an adaptation may start.")
    auto_adapt_quiet_seconds: float = Field(
        30.0, gt=0, description="Seconds without an upload before a user with `auto_adapt` is adapted to."
    )
    stale_gallery_share: float = Field(0.2, gt=0, le=1, description="Share of newer photos at which `adapt: auto` adapts again.")

    webhook_allow_private: bool = Field(
        False, description="Webhooks may go to private addresses and over plain http: for receivers next door."
    )
    webhook_timeout_seconds: float = Field(10.0, gt=0, description="How long a webhook's receiver may take to answer.")
    webhook_keep_days: float = Field(30.0, gt=0, description="How long past webhook deliveries can be looked up.")

    max_upload_file_bytes: int = Field(64 * MEBIBYTE, gt=0, description="Largest photo file.")
    max_image_pixels: int = Field(100_000_000, gt=0, le=178_000_000, description="Most pixels of a photo, checked before it is decoded.")
    max_batch_files: int = Field(10_000, gt=0, description="Most files of one upload request.")
    max_upload_bytes: int = Field(64 * 1024 * MEBIBYTE, gt=0, description="Largest body of one upload request.")
    max_archive_bytes: int = Field(
        2048 * MEBIBYTE, gt=0, description="Largest uploaded zip file, packed and unpacked; it is kept on the disk meanwhile."
    )
    max_uploads_under_way: int = Field(
        16,
        gt=0,
        description="Requests with photos that one user may be sending to one API process; past it: 429. Each keeps a file on the disk.",
    )
    quota_images: int = Field(100_000, ge=0, description="Photos that one user may store, unless set for the user.")
    quota_bytes: int = Field(200 * 1024 * MEBIBYTE, ge=0, description="Bytes of photos that one user may store, unless set for the user.")
    quota_adaptation_seconds: float = Field(
        14_400.0, ge=0, description="Seconds of adaptation of one user within 24 hours, unless set for the user."
    )
    max_segmentation_images: int = Field(10_000, gt=0, description="Most photos of one segmentation job.")
    max_unfinished_segmentations: int = Field(
        1000, gt=0, description="Segmentations that one user may have queued or running; past it a new one is refused (429)."
    )
    max_listed_photos: int = Field(
        200_000,
        gt=0,
        description="Photos that one user's segmentations may list together. The oldest that have ended give way: of their photos the "
        "counts stay. Past it, by those that have not ended: 429.",
    )
    listed_photos_keep_days: float = Field(
        90.0, gt=0, description="How long after its end a segmentation lists its photos; then it has their counts alone. The masks stay."
    )
    decoding_processes: int = Field(2, ge=1, description="Photos that the API decodes at the same time, each in a process of its own.")
    decoding_seconds: float = Field(20.0, gt=0, description="Longest decoding of one photo; then its process is ended.")
    decoding_memory_bytes: int = Field(2048 * MEBIBYTE, ge=256 * MEBIBYTE, description="Address space of a process that decodes photos.")
    max_decodings_waiting: int = Field(
        256,
        gt=0,
        description="Photos and masks of one user that may wait for their turn to be decoded at one API process; past it: 429. "
        "Turns go round among the users who wait.",
    )
    max_rle_pixels: int = Field(25_000_000, gt=0, description="Most pixels of a mask given as `rle`.")

    max_wait_seconds: float = Field(30.0, gt=0, description="Longest `wait` of a segmentation request.")
    segment_wait_seconds: float = Field(25.0, gt=0, description="How long `POST /segment` waits before it answers 504.")
    idempotency_hours: float = Field(24.0, gt=0, description="How long an Idempotency-Key is remembered.")
    events_interval_seconds: float = Field(0.25, ge=0.25, description="Shortest time between two server-sent events.")
    max_event_streams: int = Field(
        100, gt=0, description="Jobs that one user may follow by server-sent events at one API process; past it: 429, and polling goes on."
    )
    max_exports_under_way: int = Field(
        4, gt=0, description="Exports that one user may have under way at one API process; past it: 429. Each holds a list of the photos."
    )
    events_heartbeat_seconds: float = Field(15.0, gt=0, description="Silence after which an event stream says it lives.")

    @field_validator("data_dir", "weights_dir", "source_dir")
    @classmethod
    def _at_home(cls, given: Path | None) -> Path | None:
        """`~` is the user's folder, also where no shell has seen it (systemd, env files)."""
        try:
            return given and given.expanduser()
        except RuntimeError as error:
            raise ValueError("there is no such user's folder") from error

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _listed(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        if given.lstrip().startswith("["):
            return json.loads(given)  # a ValueError: pydantic tells of it
        return [part.strip() for part in given.split(",") if part.strip()]

    def decoding_limits(self) -> DecodingLimits:
        """What one decoding may take, in the API and in the workers alike."""
        return DecodingLimits(self.max_image_pixels, self.decoding_seconds, self.decoding_memory_bytes)
