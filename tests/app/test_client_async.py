"""The awaited client, against the real application; and what a mask is good for in a notebook."""

from __future__ import annotations

import inspect
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image as Picture

from app.client import AsyncClient, Client, GalleryEmpty, Mask, MaskNotReady
from app.client.documents import MaskClass
from tests.app import hand_worker
from tests.app.conftest import Caller
from tests.app.photos import encoded, jpeg, mask_png, picture


@asynccontextmanager
async def client_of(api: FastAPI, caller: Caller) -> AsyncIterator[AsyncClient]:
    async def no_sleep(seconds: float) -> None:
        await anyio.sleep(0)

    transport = httpx.ASGITransport(app=api)
    async with AsyncClient("http://testserver", caller.token, user_id=caller.user_id, transport=transport, sleep=no_sleep) as client:
        yield client


def test_both_clients_have_the_same_surface() -> None:
    def surface(kind: type) -> dict[str, list[str]]:
        found = inspect.getmembers(kind, lambda member: inspect.isfunction(member) or inspect.ismethod(member))
        return {name.replace("aclose", "close"): list(inspect.signature(call).parameters) for name, call in found if name[0] != "_"}

    assert surface(AsyncClient) == surface(Client)


def test_a_user_s_day(api: FastAPI, alice: Caller, tmp_path: Path) -> None:
    async def day() -> None:
        async with client_of(api, alice) as client:
            with pytest.raises(GalleryEmpty):
                await client.adapt()
            for index in range(3):
                (tmp_path / f"{index}.jpg").write_bytes(jpeg(64, 48, seed=index))
            results = await client.upload(tmp_path)
            assert [result.status for result in results] == ["stored"] * 3
            assert [image.id async for image in client.iter_images()] == [result.image_id for result in results]

            job = await client.segment(model="base", adapt="never")
            assert job.status == "queued"
            await anyio.to_thread.run_sync(hand_worker.segment, api, job.id)
            seen = []
            job = await client.wait(job, lambda now: seen.append(now.status))
            assert seen == ["succeeded"]
            assert [document.status async for document in client.follow(job)] == []  # it has ended
            fresh = job.model_copy(update={"status": "queued"})
            (last,) = [document async for document in client.follow(fresh)]
            assert last.status == "succeeded" and last.item_counts is not None and last.item_counts.done == 3
            assert [item.status for item in last.items] == ["done"] * 3

            image = (await client.images())[0]
            mask = await client.open_mask(image.id)
            assert mask.model_version == 0 and mask.labels.shape == (image.height, image.width) == (48, 64)
            assert (mask.labels[0] == 0).all() and (mask.labels[1:] == hand_worker.LABEL).all()
            assert mask.where("person").sum() == 47 * 64 and not mask.where("cat").any()
            exported = await client.export(tmp_path / "masks.zip", format="voc")
            assert exported.read_bytes()[:2] == b"PK"
            assert not (tmp_path / "masks.zip.part").exists()
            (tmp_path / "late.jpg").write_bytes(jpeg(seed=9))
            (late,) = await client.upload(tmp_path / "late.jpg")
            with pytest.raises(MaskNotReady):
                await client.mask(str(late.image_id))

    anyio.run(day)


def a_mask() -> Mask:
    gradient = np.linspace(0, 255, 64 * 48).reshape(48, 64).astype(np.uint8)
    return Mask(
        image_id="i",
        model_version=3,
        base="espnetv2",
        classes=(MaskClass(id=0, name="background", area_share=0.25), MaskClass(id=15, name="<b>person</b>", area_share=0.75)),
        labels_png=mask_png(64, 48, label=15, background_rows=12),
        confidence_png=encoded(Picture.fromarray(gradient), "PNG"),
        preview=encoded(picture(32, 24), "JPEG"),
    )


def test_a_mask_as_arrays() -> None:
    mask = a_mask()
    assert (mask.labels.dtype, mask.labels.shape) == (np.uint8, (48, 64))
    assert (mask.confidence.dtype, mask.confidence.shape) == (np.float32, (48, 64))
    assert mask.confidence.min() == 0 and mask.confidence.max() == 1
    assert np.array_equal(np.rint(mask.confidence * 255), np.linspace(0, 255, 64 * 48).reshape(48, 64).astype(np.uint8))


def test_an_overlay_shows_the_background_as_it_is() -> None:
    mask = a_mask()
    photo = np.asarray(Picture.open(io.BytesIO(mask.preview)))
    shown = np.asarray(mask.overlay(opacity=0.5))
    assert np.array_equal(shown[:6], photo[:6])
    color = np.array(mask.color_of(15))
    assert np.abs(shown[6:].astype(int) - (photo[6:].astype(int) + color) / 2).max() <= 1


def test_a_notebook_shows_it_and_trusts_no_name() -> None:
    html = a_mask()._repr_html_()
    assert "personal model 3" in html and "75.0%" in html
    assert "<b>" not in html and "&lt;b&gt;person" in html
    assert 'src="data:image/png;base64,' in html
