"""Decoder processes: bounded, ended when they take too long, and with no door back into the service."""

from __future__ import annotations

import errno
import io
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from PIL import Image

from app.decoding.errors import DecoderUnavailable, PhotoRejected
from app.decoding.limits import DecodingLimits
from app.decoding.pictures import opened_photo
from app.decoding.pool import DecoderPool
from app.decoding.process import DecoderProcess
from app.errors import StorageUnavailable
from tests.app.photos import encoded, jpeg, picture

SMALL = DecodingLimits(max_pixels=100_000_000, seconds=60.0, memory_bytes=400 * 1024**2)


@pytest.fixture
def pool() -> Iterator[DecoderPool]:
    opened = DecoderPool(DecodingLimits(10_000_000, 60.0, 1024**3), processes=2)
    yield opened
    opened.close()


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "app.decoding" in child.cmdline()]


def code_of(pool: DecoderPool, data: bytes) -> str | None:
    try:
        pool.inspect(io.BytesIO(data))
    except PhotoRejected as rejection:
        return rejection.code
    return None


def test_many_threads_share_few_processes(pool: DecoderPool) -> None:
    before = len(children())
    with ThreadPoolExecutor(8) as threads:
        facts = list(threads.map(lambda seed: pool.inspect(io.BytesIO(jpeg(seed=seed))), range(40)))
    assert {fact.width for fact in facts} == {64}
    assert len(children()) - before <= 2


def test_a_decoder_that_takes_too_long_is_ended_and_the_next_photo_decoded() -> None:
    pool = DecoderPool(DecodingLimits(10_000_000, 1.0, 1024**3))
    try:
        assert code_of(pool, jpeg()) is None
        (decoder,) = [slot for slot in list(pool._slots.queue) if slot is not None]
        stopped = decoder.pid
        os.kill(stopped, signal.SIGSTOP)
        started = time.monotonic()
        assert code_of(pool, jpeg()) == "decoding_timeout"
        assert time.monotonic() - started >= 1.0
        assert not psutil.pid_exists(stopped)
        assert code_of(pool, jpeg()) is None
    finally:
        pool.close()


def test_a_decoder_that_dies_costs_its_photo_only(pool: DecoderPool) -> None:
    assert code_of(pool, jpeg()) is None
    for decoder in [slot for slot in list(pool._slots.queue) if slot is not None]:
        os.kill(decoder.pid, signal.SIGSEGV)
    codes = [code_of(pool, jpeg(seed=seed)) for seed in range(4)]
    assert codes == ["decoding_crashed", None, None, None]


def test_processor_time_is_bounded_even_without_a_parent_who_waits(tmp_path: Path) -> None:
    decoder = DecoderProcess(DecodingLimits(1000, 60.0, 1024**3))
    try:
        soft, _ = psutil.Process(decoder.pid).rlimit(psutil.RLIMIT_CPU)
        assert soft == psutil.RLIM_INFINITY
        photo = tmp_path / "a.jpg"
        photo.write_bytes(jpeg(16, 16))
        with photo.open("rb") as stream:
            decoder.ask({"task": "inspect"}, [stream.fileno()], 0)
        soft, _ = psutil.Process(decoder.pid).rlimit(psutil.RLIMIT_CPU)
        assert 60 <= soft <= 90
        assert psutil.Process(decoder.pid).rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
        assert psutil.Process(decoder.pid).rlimit(psutil.RLIMIT_CORE) == (0, 0)
    finally:
        decoder.end()


def test_too_much_memory_is_the_files_fault_and_says_so() -> None:
    pool = DecoderPool(SMALL)
    try:
        # 81 million pixels of one colour: 80 kB of file, 324 MB of pixels and as much for each step.
        huge = encoded(Image.new("RGBA", (9000, 9000), "red"), "PNG", compress_level=1)
        with pytest.raises(PhotoRejected) as rejection:
            pool.pixels(io.BytesIO(huge))
        assert rejection.value.code == "decoding_memory"
        assert code_of(pool, jpeg()) is None
    finally:
        pool.close()


def test_a_decoder_knows_nothing_of_the_service(pool: DecoderPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONALSEG_DATABASE_URL", "postgresql://secret")
    assert code_of(pool, jpeg()) is None
    (decoder,) = [slot for slot in list(pool._slots.queue) if slot is not None]
    process = psutil.Process(decoder.pid)
    assert set(process.environ()) <= {"PYTHONPATH", "MALLOC_ARENA_MAX", "LC_ALL", "LC_CTYPE"}
    held = {str(link.readlink()) for link in Path(f"/proc/{decoder.pid}/fd").iterdir()}
    assert all(target == "/dev/null" or target.startswith("socket:") for target in held), held


def test_it_ends_with_whoever_started_it() -> None:
    decoder = DecoderProcess(SMALL)
    process = psutil.Process(decoder.pid)
    decoder._connection.close()
    process.wait(30)
    decoder._process.wait()


def test_a_machine_that_cannot_start_one_is_not_the_photos_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.decoding.process.python_path", lambda: "/nowhere")
    monkeypatch.setattr("sys.executable", "/bin/false")
    pool = DecoderPool(SMALL)
    for _ in range(2):
        with pytest.raises(DecoderUnavailable):
            pool.inspect(io.BytesIO(jpeg()))


def test_closing_ends_every_process_also_the_one_at_work(pool: DecoderPool) -> None:
    before = len(children())
    data = encoded(picture(3000, 3000, seed=1), "PNG")
    work = threading.Thread(target=code_of, args=(pool, data))
    work.start()
    assert code_of(pool, jpeg()) is None
    pool.close()
    work.join()
    assert len(children()) <= before


def test_a_file_that_cannot_be_read_is_not_damaged(pool: DecoderPool) -> None:
    with Path("/proc/self/mem").open("rb", buffering=0) as unreadable, pytest.raises(StorageUnavailable):  # whose first byte is EIO
        pool.pixels(unreadable)
    assert code_of(pool, jpeg()) is None, "the decoder lives"


@pytest.mark.parametrize("labels", [b"", encoded(Image.new("P", (8, 8)), "PNG")], ids=["nothing", "of another size"])
def test_a_mask_that_does_not_fit_its_photo_is_not_the_photos_fault(pool: DecoderPool, labels: bytes) -> None:
    with pytest.raises(PhotoRejected) as caught:
        pool.overlay(io.BytesIO(jpeg()), io.BytesIO(labels))
    assert caught.value.code == "mask_damaged"


class BreakingDisk(io.BytesIO):
    """A file whose disk can break."""

    is_broken = False

    def read(self, size: int | None = -1) -> bytes:
        if self.is_broken:
            raise OSError(errno.EIO, "Input/output error")
        return super().read(size)


def test_a_disk_that_breaks_in_the_middle_of_a_photo_is_not_the_photos_fault() -> None:
    photo = BreakingDisk(jpeg())
    with pytest.raises(OSError, match="Input/output"), opened_photo(photo, 10_000_000) as image:
        photo.is_broken = True
        image.load()
