"""A film whose frames show their numbers as blocks at the upper edge, one per bit, for a page to read.

It has captions, of which a page tells when they are shown, and two tracks of sound, each with its tone.
"""

from __future__ import annotations

from pathlib import Path

from infra.tools.samples import run_ffmpeg

# Frames per second: so few that a busy machine shows each of them.
RATE = 5
_BLOCKS = 16
TONES = (440, 1320)  # of the tracks of sound


def cues(seconds: int) -> dict[str, tuple[float, float]]:
    """The captions of a film of `seconds`: when each text begins and ends, in seconds.

    The first comes late: by then a player on a busy machine has loaded them, too.
    """
    return {f"From {at}.4 on": (at + 0.4, at + 2.0) for at in range(seconds // 2, seconds - 2, 3)}


def make(path: Path, seconds: int) -> None:
    """Write a film of `seconds`, with audio, captions, and a key frame every two seconds."""
    captions = path.with_suffix(".srt")
    texts = cues(seconds)
    captions.write_text(
        "\n".join(
            f"{number}\n00:00:{begin:06.3f} --> 00:00:{end:06.3f}\n{text}\n".replace(".", ",", 2)
            for number, (text, (begin, end)) in enumerate(texts.items(), 1)
        )
    )
    width, height = 320, 180
    bit = f"mod(floor(N/pow(2,floor(X/{width // _BLOCKS}))),2)"
    # Below each block is its inverse; each of both rows is 2/15 of the height, in grey.
    row = height * 2 // 15
    run_ffmpeg(
        "-f", "lavfi", "-i", f"testsrc2=size={width}x{height}:rate={RATE}:duration={seconds}",
        *(
            option
            for tone in TONES
            for option in ("-f", "lavfi", "-i", f"sine={tone}:sample_rate=48000:duration={seconds}")
        ),
        *(("-i", str(captions)) if texts else ()),
        "-map", "0:v", "-map", "1:a", "-map", "2:a", *(("-map", "3:s") if texts else ()),
        "-vf", f"geq=lum='if(lt(Y,{2 * row}),if(eq({bit},lt(Y,{row})),235,16),lum(X,Y))'"
        f":cb='if(lt(Y,{row}),128,cb(X,Y))':cr='if(lt(Y,{row}),128,cr(X,Y))',format=yuv420p",
        "-c:v", "libx264", "-preset", "ultrafast", "-crf", "20",
        "-g", str(2 * RATE), "-keyint_min", str(2 * RATE), "-sc_threshold", "0",
        "-c:a", "aac", "-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=deu",
        "-c:s", "mov_text", "-metadata:s:s:0", "language=eng",
        str(path),
    )  # fmt: skip
