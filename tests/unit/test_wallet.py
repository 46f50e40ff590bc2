"""No small file costs much: films that say they are longer than their bytes are refused, or cheap."""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest

from chalicelib.errors import JobError
from chalicelib.formats import mp4_boxes
from chalicelib.model.facts import VideoFacts
from chalicelib.probing.film_limits import check_film
from infra.tools.samples import run_ffmpeg
from testing.attacks import MEDIA_AT, audio_track, movie
from testing.hostile import film, frame, judge, tables
from testing.planned import FILM

pytestmark = pytest.mark.media


def test_twelve_hours_of_one_frame_are_no_film() -> None:
    """10.5 MB that were accepted as 1,801 tasks, and $114."""
    chosen = frame((8192, 4320))
    count = 60 * 43_164
    content = movie(
        size=chosen.size,
        codec=b"avc1",
        entry=chosen.header,
        timescale=60 * 256,
        length=count * 256,
        tables=tables(count, 256, len(chosen.sample), np.full(count, MEDIA_AT)),
        media=chosen.sample,
    )
    assert len(content) < 11_000_000
    assert judge(content).code == "source_damaged"


def of_shared_sound(share: int) -> bytes:
    """Ten frames, and sound whose packets lie on the pictures' bytes, or a part of them."""
    chosen = frame((64, 64))
    size, count = len(chosen.sample), 10
    heard = 64
    each = (size * count + share) // heard
    return movie(
        size=chosen.size,
        codec=b"avc1",
        entry=chosen.header,
        tables=tables(count, 512, size, MEDIA_AT + size * np.arange(count)),
        more=audio_track(
            48_000,
            heard * 1024,
            tables(heard, 1024, np.full(heard, each), MEDIA_AT + each * np.arange(heard)),
        ),
        media=chosen.sample * count + bytes(share),
    )


def test_tracks_that_share_bytes_are_no_film_either() -> None:
    assert judge(of_shared_sound(20_000)).code == "source_damaged"


def fragments(folder: Path, repeats: int) -> bytes:
    """A film of one fragment, and others that have its bytes again, a second later each."""
    path = folder / "fragments.mp4"
    run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=1", "-c:v", "libx264",
        "-movflags", "+frag_keyframe+empty_moov+default_base_moof+skip_trailer", str(path),
    )  # fmt: skip
    content = bytearray(path.read_bytes())
    boxes = {box.kind: box for box in mp4_boxes.boxes(bytes(content))}
    begin, end = boxes[b"moof"].start, boxes[b"moof"].end
    moof = bytes(content[begin:end])
    trun, tfdt = moof.index(b"trun") + 12, moof.index(b"tfdt") + 8
    (offset,) = struct.unpack_from(">i", moof, trun)
    for number in range(1, repeats):
        again = bytearray(moof)
        # From where this fragment begins.
        struct.pack_into(">i", again, trun, begin + offset - len(content))
        struct.pack_into(">Q", again, tfdt, number * 12_800)
        content += again
    return bytes(content)


@pytest.mark.parametrize(("repeats", "code"), [(1, "accepted"), (600, "source_damaged")])
def test_nor_are_fragments_that_do(tmp_path: Path, repeats: int, code: str) -> None:
    assert judge(fragments(tmp_path, repeats)).code == code


def test_a_film_that_was_cut_off_is_taken_as_what_is_left() -> None:
    """Its index speaks of more than its bytes, but no two samples of the same."""
    chosen = frame((64, 64))
    size, count = len(chosen.sample), 100
    content = movie(
        size=chosen.size,
        codec=b"avc1",
        entry=chosen.header,
        tables=tables(count, 512, size, MEDIA_AT + size * np.arange(count)),
        media=chosen.sample * 20,
    )
    assert judge(content).code == "accepted"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"seconds": 43_200.0, "frames": 60 * 43_200, "frame_rate": "60"}, None),
        ({"seconds": 43_200.0, "frames": 60 * 43_200 + 1, "frame_rate": "60"}, "too_many_frames"),
        ({"seconds": 43_200.0, "frames": None, "frame_rate": "61"}, "too_many_frames"),
        ({"width": 3840, "height": 2160, "frames": 60 * 43_200}, None),
        ({"width": 8192, "height": 4320, "frames": 60 * 43_200}, "too_many_frames"),
        ({"width": 8192, "height": 4320, "frames": 60 * 10_000}, None),
        ({"seconds": 43_201.0}, "too_long"),
    ],
)
def test_a_film_has_so_many_frames_and_pixels_at_most(
    change: dict[str, object], code: str | None
) -> None:
    facts: VideoFacts = msgspec.structs.replace(FILM, **change)
    try:
        check_film(facts)
    except JobError as error:
        assert error.code == code
        assert error.detail.endswith(".")
    else:
        assert code is None


def _judge_many(numbers: range) -> Counter[str]:
    return Counter(judge(film(1, number)[1]).code for number in numbers)


def test_no_hostile_index_is_worth_more_than_its_bytes() -> None:
    codes = _judge_many(range(24))
    assert codes["source_damaged"] > 3
    assert codes["accepted"] > 3


@pytest.mark.variants
def test_a_thousand_hostile_indexes() -> None:
    codes = _judge_many(range(1000))
    assert codes["source_damaged"] > 300
    assert codes["accepted"] > 100
