"""Fetching weights from a real (local) HTTP server: whatever it answers, a clear error or whole weights, and never half a file."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import pickle
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from models.bases import errors, fetch
from models.bases.info import BaseInfo
from models.bases.registry import find_base, load_entry
from models.bases.weights import stored_names
from tests.models import weights_server as servers
from tests.models.weights_server import FILE, WeightsServer, checkpoint_of, entry, weights_server

AT_ONCE = (0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def body() -> bytes:
    return checkpoint_of()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server(body: bytes) -> Iterator[WeightsServer]:
    with weights_server(body) as running:
        yield running


@pytest.fixture
def info(body: bytes, server: WeightsServer) -> BaseInfo:
    return entry(body, server.root)


def kept(folder: Path) -> list[str]:
    """All files but the locks, which hold nothing."""
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return sorted(name for name in names if not name.endswith(".lock"))


def test_a_good_file_is_converted_recorded_and_loads_strictly(info: BaseInfo, body: bytes, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    folder = tmp_path / "new" / "weights"
    assert not fetch.is_present(info, folder)
    receipt = fetch.fetch(info, folder, on_bytes=lambda done, total: seen.append((done, total)))
    assert fetch.is_present(info, folder)
    assert kept(folder) == sorted([receipt.file, f"{info.name}.json"])
    assert receipt.source_sha256 == hashlib.sha256(body).hexdigest()
    assert receipt.sha256 == hashlib.sha256((folder / receipt.file).read_bytes()).hexdigest()
    assert receipt.byte_size < 0.6 * len(body)
    assert seen[-1] == (len(body), len(body))

    base = load_entry(info, torch.device("cpu"), folder)
    assert base.info.sha256 == receipt.source_sha256
    original = torch.load(io.BytesIO(body), weights_only=True)
    for name, value in stored_names(base.segmenter).items():
        torch.testing.assert_close(value, original[name.removeprefix("base.network.")], rtol=1e-3, atol=1e-4)
    kernel = "base.network.classifier.cbr.0.weight"
    assert torch.equal(stored_names(base.segmenter)[kernel], original["classifier.cbr.0.weight"].half().float())


def test_a_second_fetch_asks_nobody(info: BaseInfo, server: WeightsServer, tmp_path: Path) -> None:
    first = fetch.fetch(info, tmp_path)
    assert fetch.fetch(info, tmp_path) == first
    assert server.paths == [f"/models/{FILE}"]


def test_a_mirror_takes_the_place_of_the_publisher(body: bytes, server: WeightsServer, tmp_path: Path) -> None:
    fetch.fetch(entry(body, "http://127.0.0.1:1/nobody"), tmp_path, mirror=f"{server.root}/mirror/", retry_delays=())
    assert server.paths == [f"/models/mirror/{FILE}"]


@pytest.mark.parametrize(
    ("answer", "error", "says", "requests"),
    [
        (servers.another_file, errors.WrongFile, "sha256", 1),
        (servers.a_page, errors.WrongFile, "26 bytes", 1),
        (servers.too_long, errors.WrongFile, "more than", 1),
        (servers.cut_off, errors.CutOff, "cut off after", 4),
        (servers.cut_off_without_a_length, errors.CutOff, "cut off after", 4),
        (servers.status(404), errors.Refused, "answered 404 Not Found", 1),
        (servers.status(403), errors.Refused, "answered 403", 1),
        (servers.status(500), errors.Refused, "answered 500", 4),
        (servers.status(503), errors.Refused, "answered 503", 4),
    ],
)
def test_a_bad_answer_is_one_sentence_and_leaves_nothing(
    info: BaseInfo, server: WeightsServer, tmp_path: Path, answer: servers.Answer, error: type[Exception], says: str, requests: int
) -> None:
    server.answers = [answer]
    with pytest.raises(error, match=says) as caught:
        fetch.fetch(info, tmp_path, retry_delays=AT_ONCE)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)
    assert kept(tmp_path) == []
    assert len(server.paths) == requests
    assert not fetch.is_present(info, tmp_path)


@pytest.mark.parametrize("first", [servers.status(500), servers.status(429), servers.cut_off])
def test_what_passes_is_tried_again(info: BaseInfo, server: WeightsServer, tmp_path: Path, first: servers.Answer) -> None:
    server.answers = [first, servers.good]
    fetch.fetch(info, tmp_path, retry_delays=AT_ONCE)
    assert len(server.paths) == 2
    load_entry(info, torch.device("cpu"), tmp_path)


@pytest.mark.parametrize("root", ["http://127.0.0.1:{port}", "http://no-such-host.invalid"])
def test_an_unreachable_server(body: bytes, tmp_path: Path, root: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(errors.Unreachable, match="cannot be reached"):
        fetch.fetch(entry(body, root.format(port=port)), tmp_path, retry_delays=AT_ONCE)
    assert kept(tmp_path) == []


@pytest.mark.parametrize("root", ["ftp://127.0.0.1", "/a/folder", "http://127.0.0.1:none"])
def test_what_is_no_address_is_not_tried_again(body: bytes, tmp_path: Path, root: str) -> None:
    with pytest.raises(errors.FetchError, match="Correct the mirror"):
        fetch.fetch(entry(body, root), tmp_path, retry_delays=(3600.0,))
    assert kept(tmp_path) == []


def test_no_message_shows_a_password(body: bytes, server: WeightsServer, tmp_path: Path) -> None:
    server.answers = [servers.status(404)]
    with pytest.raises(errors.Refused) as caught:
        fetch.fetch(entry(body, server.root.replace("://", "://user:secret@")), tmp_path)
    assert "secret" not in str(caught.value) and "127.0.0.1" in str(caught.value)


class Stop(Exception):
    pass


def test_it_breaks_off_when_told_and_leaves_nothing(info: BaseInfo, tmp_path: Path) -> None:
    def stop_halfway(done: int, total: int) -> None:
        if done > total / 2 > 0:
            raise Stop

    with pytest.raises(Stop):
        fetch.fetch(info, tmp_path, on_bytes=stop_halfway)
    assert kept(tmp_path) == []


def test_it_does_not_wait_for_a_retry_when_told_to_stop(info: BaseInfo, server: WeightsServer, tmp_path: Path) -> None:
    server.answers = [servers.status(503)]

    def stop_in_the_pause(done: int, total: int) -> None:
        if server.paths:
            raise Stop

    with pytest.raises(Stop):
        fetch.fetch(info, tmp_path, on_bytes=stop_in_the_pause, retry_delays=(3600.0,))


def test_a_folder_that_cannot_be_written(info: BaseInfo, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(errors.CannotStore, match="could not be stored"):
        fetch.fetch(info, tmp_path / "file" / "weights")


@pytest.mark.parametrize("what", ["another architecture", "a missing tensor", "an object", "no pickle", "not finite"])
def test_the_right_file_that_does_not_fit(server: WeightsServer, tmp_path: Path, body: bytes, what: str) -> None:
    state = torch.load(io.BytesIO(body), weights_only=True)
    file = io.BytesIO()
    if what == "another architecture":
        torch.save({"weight": torch.zeros(3)}, file)
    elif what == "a missing tensor":
        state.pop("classifier.cbr.0.weight")
        torch.save(state, file)
    elif what == "an object":
        pickle.dump(Path(), file)
    elif what == "not finite":
        state["classifier.cbr.0.weight"][0] = float("nan")
        torch.save(state, file)
    else:
        file.write(b"weights" * 100)
    server.body = file.getvalue()
    with pytest.raises(errors.UnfitCheckpoint, match="does not fit"):
        fetch.fetch(entry(server.body, server.root), tmp_path)
    assert kept(tmp_path) == []


def _fetch_in_a_process(info_parts: tuple[bytes, str], folder: Path, results: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    try:
        results.put(fetch.fetch(entry(*info_parts), folder).sha256)
    except Exception as error:
        results.put(repr(error))


def test_two_processes_at_once_fetch_it_once(body: bytes, server: WeightsServer, tmp_path: Path) -> None:
    server.answers = [servers.slow]
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    children = [context.Process(target=_fetch_in_a_process, args=((body, server.root), tmp_path, results)) for _ in range(2)]
    for child in children:
        child.start()
    found = [results.get(timeout=120) for _ in children]
    for child in children:
        child.join(timeout=30)
    assert found[0] == found[1] and len(found[0]) == 64, found
    assert len(server.paths) == 1
    assert len(kept(tmp_path)) == 2


def test_what_a_killed_process_left_is_swept(info: BaseInfo, tmp_path: Path) -> None:
    for name in (f".{FILE}~abc.part", f".{info.name}~abc.part"):
        (tmp_path / name).write_bytes(b"half")
    fetch.fetch(info, tmp_path)
    assert [name for name in kept(tmp_path) if name.endswith(".part")] == []


def test_damaged_weights_are_refused_at_every_load_and_fetched_again_by_command(
    info: BaseInfo, server: WeightsServer, tmp_path: Path
) -> None:
    path = tmp_path / fetch.fetch(info, tmp_path).file
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(errors.Damaged, match=f"personalseg bases fetch {info.name}"):
        load_entry(info, torch.device("cpu"), tmp_path)
    fetch.fetch(info, tmp_path)
    assert len(server.paths) == 2
    load_entry(info, torch.device("cpu"), tmp_path)


def test_weights_of_another_checkpoint_count_as_absent(info: BaseInfo, tmp_path: Path) -> None:
    fetch.fetch(info, tmp_path)
    assert not fetch.is_present(find_base(info.name), tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "x"}'])
def test_an_unreadable_receipt_is_damage(info: BaseInfo, tmp_path: Path, text: str) -> None:
    (tmp_path / f"{info.name}.json").write_text(text)
    with pytest.raises(errors.Damaged, match="receipt"):
        fetch.is_present(info, tmp_path)
    fetch.fetch(info, tmp_path)
    assert json.loads((tmp_path / f"{info.name}.json").read_text())["name"] == info.name


def test_a_base_to_be_trained_says_so_and_takes_an_installed_file(tmp_path: Path) -> None:
    info = find_base("pspnet_resnet50")
    with pytest.raises(errors.NotTrained, match="train_base --base pspnet_resnet50"):
        fetch.ensure(info, tmp_path)
    with pytest.raises(errors.NotTrained):
        load_entry(info, torch.device("cpu"), tmp_path)
