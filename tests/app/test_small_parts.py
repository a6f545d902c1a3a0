"""Ids, cursors, run lengths, the expected shapes of small things."""

from __future__ import annotations

import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest
from PIL import Image

from app.errors import MalformedCursor
from app.ids import new_id
from app.local import Deployment
from app.masks.rle import compress, encode_classes
from app.pagination import decode_cursor, encode_cursor
from app.settings import Settings


def test_ids_are_uuid7_grow_and_never_repeat() -> None:
    ids = [new_id() for _ in range(5000)]
    assert ids == sorted(set(ids))
    parsed = uuid.UUID(ids[0])
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)


def test_ids_of_many_threads_never_repeat() -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda _: new_id(), range(4000)))
    assert len(set(ids)) == 4000


def test_a_cursor_carries_an_id() -> None:
    last = new_id()
    assert decode_cursor(encode_cursor(last)) == last
    assert decode_cursor(None) == ""


@pytest.mark.parametrize("cursor", ["", "x", "!!!!", "AAAA", "A" * 5000, "é", "AAAAAAAAAAAAAAAAAAAAAAA=", "\0"])
def test_a_cursor_that_we_did_not_make_is_refused(cursor: str) -> None:
    with pytest.raises(MalformedCursor):
        decode_cursor(cursor)


def decoded(text: str) -> list[int]:
    """COCO's compressed counts, read back by an independent reading of the format."""
    counts: list[int] = []
    position = 0
    while position < len(text):
        value, shift, more = 0, 0, True
        while more:
            code = ord(text[position]) - 48
            value |= (code & 31) << shift
            more = bool(code & 32)
            position, shift = position + 1, shift + 5
            if not more and code & 16:
                value |= -1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
    return counts


def test_run_lengths_are_cocos() -> None:
    # pycocotools gives "03" for counts [0, 3] and "12203" … worked out by hand: 1→'1', 2→'2', 2→'2'.
    assert compress([0, 3]) == "03"
    assert compress([1, 2, 2]) == "122"
    # 40 = 01000 + 1·32: low five bits 8 with "more" (8 + 32 + 48 = 'X'), then 1 ('1').
    assert compress([40]) == "X1"
    counts = [0, 5, 1000, 3, 7, 70000, 1, 1, 999999]
    assert decoded(compress(counts)) == counts


def test_classes_are_encoded_down_the_columns() -> None:
    # 2 rows × 3 columns:  0 1 1
    #                      0 0 1   → columns: 0 0 | 1 0 | 1 1
    labels = Image.frombytes("L", (3, 2), bytes([0, 1, 1, 0, 0, 1]))
    encoded = encode_classes(labels, [0, 1])
    assert decoded(encoded[1]) == [2, 1, 1, 2]
    assert decoded(encoded[0]) == [0, 2, 1, 1, 2]


def test_random_masks_come_back_from_their_run_lengths() -> None:
    random = Random(3)
    for _ in range(20):
        width, height = random.randrange(1, 40), random.randrange(1, 40)
        values = bytes(random.choice((0, 0, 0, 7)) for _ in range(width * height))
        counts = decoded(encode_classes(Image.frombytes("L", (width, height), values), [7])[7])
        flat = [index % 2 == 1 for index, count in enumerate(counts) for _ in range(count)]
        expected = [values[row * width + column] == 7 for column in range(width) for row in range(height)]
        assert flat == expected


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 1


def test_importing_the_api_brings_no_torch_and_no_numpy() -> None:
    code = "import app.main, sys; assert not {'torch', 'numpy', 'models', 'workers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("host", "asked"), [("::", "[::1]"), ("0.0.0.0", "127.0.0.1"), ("", "127.0.0.1"), ("::1", "[::1]"), ("10.0.0.7", "10.0.0.7")]
)
def test_a_deployment_is_asked_where_it_listens(tmp_path: Path, host: str, asked: str) -> None:
    assert Deployment(tmp_path, port=8123, host=host).base_url == f"http://{asked}:8123"
