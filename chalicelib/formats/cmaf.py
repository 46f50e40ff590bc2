"""What our streams are like: lengths of groups and segments, packets of sound, when they are decoded."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

GROUP_SECONDS = 2
SEGMENT_SECONDS = 6
# Fragments count from here, so that what is decoded before the first frame is shown has a time, too: a time
# cannot be negative, and offsets from it are read by FFmpeg's players as if they could not either.
START_SECONDS = 1
# AAC packets of so many samples, at so many a second; as many in a segment as fit in six seconds.
PACKET_SAMPLES = 1024
SAMPLE_RATE = 48_000
SEGMENT_PACKETS = SEGMENT_SECONDS * SAMPLE_RATE // PACKET_SAMPLES


def decoded_as_sound(times: Sequence[int], start: int, timescale: int) -> list[int]:
    """When frames of a segment that is shown from `start` on are decoded, instead of at `times`.

    The first is as early as sound is, whose first packet is the encoder's own: some players align segments by
    that. Others before `start` follow it closely; none is decoded after it is shown.
    """
    begin = max(0, start - round(PACKET_SAMPLES * timescale / SAMPLE_RATE))
    early = max(1, bisect_left(times, start))
    squeezed = [begin + number * (start - begin) // early for number in range(early)]
    return [*squeezed, *times[early:]]


def sound_segments(first: int, packets: int) -> list[tuple[int, int]]:
    """Segments of a part that begins with packet `first`: first packet and number."""
    end = first + packets
    return [
        (start, min(SEGMENT_PACKETS, end - start)) for start in range(first, end, SEGMENT_PACKETS)
    ]
