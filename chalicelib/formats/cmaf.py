"""The CMAF that we write: lengths of groups and segments, packets of audio, times of decoding."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

GROUP_SECONDS = 2
SEGMENT_SECONDS = 6
# Fragment time starts at 1 s, not 0: B-frames and AAC priming are decoded before the first frame is shown,
# baseMediaDecodeTime is unsigned, and FFmpeg's demuxer shifts films with negative composition offsets.
START_SECONDS = 1
# AAC: samples of a packet, samples a second, and the packets that fit in a segment.
PACKET_SAMPLES = 1024
SAMPLE_RATE = 48_000
SEGMENT_PACKETS = SEGMENT_SECONDS * SAMPLE_RATE // PACKET_SAMPLES
# The initialisation of a track, and the numbers of its segments, from 0 on. Names of its files follow that
# of its playlist: "video_init.mp4", "video_00042.m4s".
INIT = "init.mp4"
NUMBER = "%05d"


def segment_name(number: int) -> str:
    """The name of a segment within its track."""
    return f"{NUMBER % number}.m4s"


def decode_times(shown: Sequence[int], timescale: int) -> list[int]:
    """When the frames of a segment are decoded, in ticks of `timescale`; `shown` says when, in coding order.

    The n-th frame is decoded when the n-th in order of presentation is shown, less one delay for all: the
    smallest by which no frame is decoded after it is shown, and at least a packet of audio. The first one is
    decoded a packet of audio before the segment begins, as audio is, whose first packet is the encoder's
    priming: some players align segments by that. Later times before the segment's begin are squeezed
    behind it.
    """
    packet = round(PACKET_SAMPLES * timescale / SAMPLE_RATE)
    order = sorted(shown)
    # No frame may be decoded later than it or a frame coded after it is shown.
    latest = [*accumulate(reversed(shown), min)][::-1]
    delay = max(packet, *(time - last for time, last in zip(order, latest, strict=True)))
    times = [time - delay for time in order]
    start = order[0]
    begin = max(0, start - packet)
    early = max(1, bisect_left(times, start))
    squeezed = [begin + number * (start - begin) // early for number in range(early)]
    return [*squeezed, *times[early:]]


def audio_segments(first: int, packets: int) -> list[tuple[int, int]]:
    """The segments of a part that begins with packet `first`: first packet, and number of packets."""
    end = first + packets
    return [
        (start, min(SEGMENT_PACKETS, end - start)) for start in range(first, end, SEGMENT_PACKETS)
    ]
