"""The CMAF that we write: lengths of groups and segments, packets of audio, times of decoding."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

GROUP_SECONDS = 2
SEGMENT_SECONDS = 6
# Fragment time starts at 1 s, not 0: B-frames and AAC priming are decoded before the first frame is shown,
# baseMediaDecodeTime is unsigned, and FFmpeg's demuxer shifts films with negative composition offsets.
START_SECONDS = 1
# AAC: samples of a packet, samples a second, and the packets that fit in a segment.
PACKET_SAMPLES = 1024
SAMPLE_RATE = 48_000
SEGMENT_PACKETS = SEGMENT_SECONDS * SAMPLE_RATE // PACKET_SAMPLES


def decoded_as_audio(times: Sequence[int], start: int, timescale: int) -> list[int]:
    """Times of decoding, in ticks, for the frames of a segment that is shown from `start` on.

    They replace `times`. The first frame is decoded a packet of audio before `start`, as audio is, whose
    first packet is the encoder's priming: some players align segments by that. Later times before `start`
    are squeezed behind it. No frame is decoded after it is shown.
    """
    begin = max(0, start - round(PACKET_SAMPLES * timescale / SAMPLE_RATE))
    early = max(1, bisect_left(times, start))
    squeezed = [begin + number * (start - begin) // early for number in range(early)]
    return [*squeezed, *times[early:]]


def audio_segments(first: int, packets: int) -> list[tuple[int, int]]:
    """The segments of a part that begins with packet `first`: first packet, and number of packets."""
    end = first + packets
    return [
        (start, min(SEGMENT_PACKETS, end - start)) for start in range(first, end, SEGMENT_PACKETS)
    ]
