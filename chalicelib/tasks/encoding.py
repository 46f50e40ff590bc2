"""Carrying out work on local files: decoders in children, results in `out/`, checked."""

from __future__ import annotations

import hashlib
import mmap
import shutil
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from chalicelib.engines.scratch import check_files
from chalicelib.errors import JobError, crashed
from chalicelib.formats import adts, cmaf, mp4_fragments, mp4_movie, playlists
from chalicelib.invocation import Budget
from chalicelib.model.facts import Interest
from chalicelib.model.plan import (
    FIRST_PACKET,
    SOUND_FRAMES,
    Chunk,
    Command,
    Drawn,
    Exact,
    Excerpt,
    Made,
    Parts,
    Pictures,
    Poster,
    Remux,
    Segment,
    Sound,
)
from chalicelib.telemetry import logger

# A frame whose brightness varies less than this, of 255, shows nothing; one between may be half faded in.
_DULL, _VIVID = 12.0, 30.0
# Files that are shipped beside the code.
ASSETS = Path(__file__).parent.parent / "assets"


def draw(work: Pictures, folder: Path, budget: Budget) -> dict[str, Drawn]:
    """What each step makes of the image in `folder`. Raises JobError where none can, Transient."""
    drawn: dict[str, Drawn] = _in_child(
        "draw", dict[str, Drawn], budget, folder / "source", work, ASSETS, folder / "out"
    )
    check_files(folder)
    made = {name: each.name for name, each in drawn.items() if isinstance(each, Made)}
    if drawn.keys() != work.made.keys() or any(
        work.made[step].output != made[step] for step in made
    ):
        raise crashed("image")
    return drawn


def _in_child(job: str, returns: Any, budget: Budget, *args: Any) -> Any:
    from chalicelib.engines import sandbox

    return sandbox.call(
        f"chalicelib.engines.pillow:{job}",
        *args,
        returns=returns,
        seconds=budget.seconds(),
        memory_bytes=budget.memory_bytes,
    )


Fetch = Callable[[Excerpt], None]

# What is kept of the time for drawing a poster of what has been found: far more than that takes.
_DRAWING_SECONDS = 2.0


def poster(work: Poster, folder: Path, budget: Budget, fetch: Fetch) -> Made:
    """Make a film's poster in `folder`, where the source lies, or each candidate's excerpt is put.

    Raises JobError, Transient.
    """
    looks = Budget(lambda: budget.seconds() - _DRAWING_SECONDS, budget.memory_bytes)
    best: tuple[Interest, Path] | None = None
    found_nothing = shows_something = False
    for run in (*work.candidates, *work.otherwise):
        if run in work.otherwise[:-1] and not found_nothing:
            continue
        args = run.args(work.command)
        candidate = folder / args[-1]
        try:
            _run(args, run.excerpt, folder, looks, fetch)
        except JobError as error:  # of packets without their key frame, too
            # What takes too long, or crashes, takes nothing from what is there.
            if best is None and error.code != "conversion_failed":
                raise
        if not candidate.exists():  # it is too late in a very short film, or no key frame follows
            found_nothing = True
            continue
        interest = _in_child("interest", Interest, budget, candidate)
        if best is None or interest > best[0]:
            best = interest, candidate
        if interest.spread > (_DULL if shows_something else _VIVID):
            break
        shows_something |= interest.spread > _DULL
    if best is None:
        raise JobError("source_damaged", "No frame of the video can be decoded.")
    target = folder / "out" / work.output
    made: Made = _in_child("poster", Made, budget, best[1], target)
    check_files(folder)
    return msgspec.structs.replace(made, name=work.output, warning=work.warning)


# What FFmpeg warns of and does not concern a copy's times: streams that are not used, what it finds out.
_HARMLESS = (
    "codec frame size is not set",
    "Guessed Channel Layout",
    "Could not find codec parameters for stream",
    "Consider increasing the value for the",
    "not enough frames to estimate rate",
)


def remux(work: Remux, folder: Path, budget: Budget) -> Path:
    """Copy the film in `folder`; the file. Raises JobError where its frames may not be at their times."""
    from chalicelib.engines import ffmpeg

    def run(args: Command) -> None:
        delivered = ffmpeg.run(
            args, folder=folder, seconds=budget.seconds(), memory_bytes=budget.memory_bytes
        )
        said = delivered.said.splitlines()
        doubts = [line for line in said if not any(harmless in line for harmless in _HARMLESS)]
        if doubts:
            logger.warning("The copy is not to be trusted", stderr=doubts)
            raise JobError("copy_not_exact", "FFmpeg has doubts about its times.")

    run(work.args)
    if work.again:
        frames = folder / SOUND_FRAMES
        changes = frames.stat().st_size and len(adts.kinds(_mapped(frames))) > 1
        frames.unlink()
        if changes:
            logger.info("The sound changes on the way: it is decoded for the copy")
            run(work.again)
    return folder / work.args[-1]


def encode(
    work: Chunk | Sound,
    command: Command,
    folder: Path,
    budget: Budget,
    on_seconds: Callable[[float], None],
    fetch: Fetch,
) -> Parts:
    """Make a part of a film by its command in `folder`, where the source lies, or its excerpt is put.

    Its segments and its initialisation come to `out/`.
    """
    out = folder / "out"

    def made(args: Command, excerpt: Excerpt | None) -> _Encoded:
        return _read(*_run(args, excerpt, folder, budget, fetch, on_seconds))

    args = work.run.args(command)
    if isinstance(work, Sound):
        parts = _sound(work, made(args, work.run.excerpt), out)
        is_empty = FIRST_PACKET in args and not (folder / FIRST_PACKET).stat().st_size
        return msgspec.structs.replace(parts, warning=_SILENT) if is_empty else parts
    for name in work.extra:
        shutil.copy(ASSETS / name, folder / name)
    return _chunk(work, _encoded(work, args, made), out)


def _encoded(
    work: Chunk, args: Command, made: Callable[[Command, Excerpt | None], _Encoded]
) -> _Encoded:
    """What a run makes of a chunk that is exact, or else the last that has its frames, or any.

    Raises JobError where none makes any.
    """
    runs = [(args, work.run.excerpt)]
    exact = work.exact
    for again in exact.again if exact else ():
        runs.append((("-itsoffset", f"{-again.ahead_us}us", *args), again.excerpt))
    found: _Encoded | None = None
    failed: JobError | None = None
    for run_args, excerpt in runs:
        try:
            latest = made(run_args, excerpt)
        except JobError as error:
            # A run-up that takes too long, or crashes, takes nothing from what is there.
            if found is None and error.code != "conversion_failed":
                raise
            failed = error
            continue
        if exact is None:
            return latest
        has_frames = _has_its_frames(exact, latest)
        if has_frames and not latest.faults:
            return latest
        logger.info("Not exact", faults=latest.faults)
        if found is None or not _has_its_frames(exact, found):
            found = latest
        elif has_frames:
            # Those of a run-up are counted, too, though they are none of the chunk's.
            found = latest._replace(faults=min(latest.faults, found.faults))
    if found is None:
        assert failed
        raise failed
    return found


class _Encoded(NamedTuple):
    """The file that a run has made, and what is in it; in so many frames its decoder found errors."""

    data: mmap.mmap
    header: bytes
    fragments: list[mp4_fragments.Fragment]
    faults: int


class _Ran(NamedTuple):
    """The file that a run makes, if it makes one."""

    path: Path
    faults: int


def _run(
    args: Command,
    excerpt: Excerpt | None,
    folder: Path,
    budget: Budget,
    fetch: Fetch,
    on_seconds: Callable[[float], None] = lambda _: None,
) -> _Ran:
    from chalicelib.engines import ffmpeg

    if excerpt:
        fetch(excerpt)
    delivered = ffmpeg.run(
        args,
        folder=folder,
        seconds=budget.seconds(),
        memory_bytes=budget.memory_bytes,
        on_seconds=on_seconds,
    )
    return _Ran(folder / args[-1], delivered.faults)


def _read(path: Path, faults: int) -> _Encoded:
    data = _mapped(path)
    path.unlink()  # another run is not to write what is mapped
    return _Encoded(data, *mp4_fragments.split(data), faults)


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)


def _has_its_frames(exact: Exact, made: _Encoded) -> bool:
    """Whether frames came out as planned, each at its time."""
    shown = sorted(time for fragment in made.fragments for time in fragment.times)
    return shown == exact.times()[:-1]


def _chunk(work: Chunk, made: _Encoded, out: Path) -> Parts:
    data, header, fragments, faults = made
    if not fragments:
        raise JobError("source_damaged", "No frame of the video can be decoded.")
    codec = mp4_movie.codec_of(header)
    (out / "video_init.mp4").write_bytes(header)
    groups = (
        _planned(work, work.exact, fragments) if work.exact else _by_length(work, header, fragments)
    )
    # How long the last frame lasts, an encoder can only guess.
    end = work.exact.end if work.exact else fragments[-1].shown_until
    ends = [*(inside[0].shown_at for _, inside in groups[1:]), end]
    scale = mp4_movie.timescale_of(header)
    segments = [
        _written(segment, inside, until, data, work.delay, scale, out)
        for (segment, inside), until in zip(groups, ends, strict=True)
    ]
    frames = sum(len(fragment.times) for fragment in fragments)
    return Parts(
        segments=tuple(segments),
        seconds=sum(segment.seconds for segment in segments),
        header=hashlib.sha256(header).hexdigest()[:16],
        frames=frames,
        faults=min(faults, frames),
        codec=codec,
    )


def _written(
    segment: Segment,
    inside: Sequence[mp4_fragments.Fragment],
    until: int,
    data: mmap.mmap,
    delay: int,
    timescale: int,
    out: Path,
) -> Segment:
    coded = [time for fragment in inside for time in fragment.times]
    # Decoded in the order in which they are shown, so much earlier that each is there in time; where frames
    # last longer than that, as early as what is coded behind them.
    latest = [*accumulate(reversed(coded), min)][::-1]
    times = [min(time - delay, last) for time, last in zip(sorted(coded), latest, strict=True)]
    decoded = cmaf.decoded_as_sound(times, inside[0].shown_at, timescale)
    decoded.append(decoded[-1] + until - max(coded))
    firsts = accumulate((len(fragment.times) for fragment in inside), initial=0)
    content = b"".join(
        mp4_fragments.fragment(
            number,
            fragment.times,
            decoded[first : first + len(fragment.times) + 1],
            fragment.keys,
            mp4_fragments.samples_of(data, fragment),
        )
        for number, (fragment, first) in enumerate(zip(inside, firsts, strict=False), 1)
    )
    (out / segment.name).write_bytes(content)
    return msgspec.structs.replace(segment, size=len(content))


Grouped = list[tuple[Segment, list[mp4_fragments.Fragment]]]


def _planned(work: Chunk, exact: Exact, fragments: Sequence[mp4_fragments.Fragment]) -> Grouped:
    """The segments as planned. Raises JobError where frames came out that are none of the source's."""
    if not {time for fragment in fragments for time in fragment.times} <= set(exact.times()[:-1]):
        raise JobError(
            "chunk_not_exact", "A part of the video came out with other frames than it has."
        )
    groups: Grouped = [(segment, []) for segment in playlists.of_chunk(work, exact)]
    for fragment in fragments:
        number = bisect_right(exact.starts, fragment.shown_at) - 1
        groups[max(0, number)][1].append(fragment)
    if not all(inside for _, inside in groups):
        raise JobError("source_damaged", "Seconds of the video cannot be decoded: it is damaged.")
    return groups


def _by_length(work: Chunk, header: bytes, fragments: Sequence[mp4_fragments.Fragment]) -> Grouped:
    """Segments of at most six seconds, as the fragments allow."""
    scale = mp4_movie.timescale_of(header)
    ends = [fragment.shown_at for fragment in fragments[1:]] + [fragments[-1].shown_until]
    groups: list[tuple[int, list[mp4_fragments.Fragment]]] = []
    for fragment, end in zip(fragments, ends, strict=True):
        begun = groups[-1][1][0].shown_at if groups else 0
        if groups and end - begun <= cmaf.SEGMENT_SECONDS * scale:
            groups[-1] = end, [*groups[-1][1], fragment]
        else:
            groups.append((end, [fragment]))
    return [
        (
            Segment(f"{work.prefix}{number}.m4s", round((end - inside[0].shown_at) / scale, 6)),
            inside,
        )
        for number, (end, inside) in enumerate(groups)
    ]


_SILENT = "The sound track of the film is empty: there is silence instead."
# By how much sound may be longer than its container says: a packet or two, and what comes of rounding.
_ROOM = 0.01
_ROOM_SECONDS = 2.0


def _sound(work: Sound, made: _Encoded, out: Path) -> Parts:
    data, header, fragments, _ = made
    packets = [data[fragment.data : fragment.end] for fragment in fragments]
    _check_length(work, len(packets) * cmaf.PACKET_SAMPLES / cmaf.SAMPLE_RATE)
    packets = packets[work.skip :]
    if work.packets is not None:
        packets = packets[: work.packets]
    if not packets or len(packets) < (work.packets or 0):
        raise JobError("source_damaged", "The sound cannot be decoded: it is damaged.")
    (out / "audio_init.mp4").write_bytes(header)

    segments = []
    for segment, (first, count) in zip(
        playlists.of_sound(work, len(packets)),
        cmaf.sound_segments(work.first, len(packets)),
        strict=True,
    ):
        chosen = packets[first - work.first : first - work.first + count]
        # The first packet of all is the encoder's own: what it decodes to comes before the start.
        begin = cmaf.START_SECONDS * cmaf.SAMPLE_RATE + (first - 1) * cmaf.PACKET_SAMPLES
        *times, end = (begin + number * cmaf.PACKET_SAMPLES for number in range(count + 1))
        fragment = mp4_fragments.fragment(1, times, [*times, end], [True] * count, chosen)
        (out / segment.name).write_bytes(fragment)
        segments.append(msgspec.structs.replace(segment, size=len(fragment)))
    return Parts(
        segments=tuple(segments),
        seconds=sum(segment.seconds for segment in segments),
        header=hashlib.sha256(header).hexdigest()[:16],
    )


def _check_length(work: Sound, seconds: float) -> None:
    most = work.most_seconds
    if most is not None and seconds > most + max(_ROOM_SECONDS, _ROOM * most):
        raise JobError(
            "sound_not_exact", f"The sound came out {seconds:.0f} s long, instead of {most:.0f} s."
        )
