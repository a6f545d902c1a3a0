"""The Python client of the REST API, over httpx. Imports no torch, and numpy only where a mask is taken as an array.

    from app.client import Client

    me = Client.logged_in()                                      # after `personalseg login`
    me.upload("photos")                                          # a folder, or any iterable of paths
    me.wait(me.adapt(), on_progress=lambda job: print(job.stage, job.percent))
    me.segment_all()                                             # adapts first where that is due, waits for the end
    me.open_mask(me.images()[0].id)                              # shows itself in a notebook; .labels is a numpy array

A back end holds a service token: `Client(url, token)`, `client.for_user(client.create_user("ann"))`.
`AsyncClient` is the same surface, awaited (`async for` where a method iterates). Errors: `app.client.errors`.
"""

from __future__ import annotations

from app.client._async.client import AsyncClient
from app.client._sync.client import Client
from app.client.documents import (
    ENDED,
    BaseInfo,
    Caller,
    Check,
    ClassInfo,
    Delivery,
    Document,
    Erasure,
    ExportFormat,
    GallerySegmentation,
    Image,
    Item,
    ItemCounts,
    Job,
    JobKind,
    JsonObject,
    MaskClass,
    MaskFormat,
    ModelChoice,
    PersonalModel,
    Quota,
    Quotas,
    Readiness,
    Span,
    Token,
    UploadResult,
    User,
    UserSettings,
    Webhook,
)
from app.client.errors import (
    ApiError,
    BadAnswer,
    BadLogin,
    ClientError,
    Conflict,
    ConnectionFailed,
    GalleryEmpty,
    GalleryTooSmall,
    IdempotencyConflict,
    InvalidRequest,
    JobFailed,
    MaskNotReady,
    NotAuthorized,
    NotFound,
    NotInTime,
    NotLoggedIn,
    NoUser,
    QuotaExceeded,
    RateLimited,
    ServerFailed,
    TooLarge,
    WaitTimedOut,
)
from app.client.mask import Mask

__all__ = [
    "ENDED",
    "ApiError",
    "AsyncClient",
    "BadAnswer",
    "BadLogin",
    "BaseInfo",
    "Caller",
    "Check",
    "ClassInfo",
    "Client",
    "ClientError",
    "Conflict",
    "ConnectionFailed",
    "Delivery",
    "Document",
    "Erasure",
    "ExportFormat",
    "GalleryEmpty",
    "GallerySegmentation",
    "GalleryTooSmall",
    "IdempotencyConflict",
    "Image",
    "InvalidRequest",
    "Item",
    "ItemCounts",
    "Job",
    "JobFailed",
    "JobKind",
    "JsonObject",
    "Mask",
    "MaskClass",
    "MaskFormat",
    "MaskNotReady",
    "ModelChoice",
    "NoUser",
    "NotAuthorized",
    "NotFound",
    "NotInTime",
    "NotLoggedIn",
    "PersonalModel",
    "Quota",
    "QuotaExceeded",
    "Quotas",
    "RateLimited",
    "Readiness",
    "ServerFailed",
    "Span",
    "Token",
    "TooLarge",
    "UploadResult",
    "User",
    "UserSettings",
    "WaitTimedOut",
    "Webhook",
]
