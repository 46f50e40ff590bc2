"""The operation `hls`: a film as HTTP Live Streaming, and DASH, in CMAF segments, audio and video apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from chalicelib.formats.languages import TAG, canonical
from chalicelib.model.facts import AudioTrack, VideoFacts
from chalicelib.model.work import Hls as HlsWork
from chalicelib.operations.mp4 import ChosenCodec, MostFps, MostKbps, ShortSide
from chalicelib.planning import audio, captions, filters, ladders
from chalicelib.planning.ladders import Wanted
from chalicelib.planning.operation import Operation, Packaging, PlanSettings
from chalicelib.planning.sounds import sounds

EXAMPLE_SIDECAR = "uploads/957c949f_film.en.srt"
_MOST_KEY_BYTES = 1024  # of S3


class Rung(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One rendition of a ladder."""

    height: Annotated[
        ShortSide, Meta(description="Of the shorter side, in pixels.", examples=[1080])
    ]
    codec: ChosenCodec = "h264"
    max_fps: MostFps = None
    max_kbps: MostKbps = None


class Hls(Operation, frozen=True, kw_only=True, tag="hls"):
    """A film to be streamed, which plays while it is encoded."""

    kinds = ("video",)

    ladder: Annotated[
        Literal["auto"] | Annotated[tuple[ShortSide | Rung, ...], Meta(min_length=1, max_length=8)],
        Meta(
            description="The renditions between which a player chooses. `auto`: 1080, 720, 480, 360 and 234 "
            "lines, as far as the film has them. Else each one's shorter side in pixels, or an object.",
            examples=[[1080, 720, 480]],
        ),
    ] = "auto"
    dash: Annotated[
        bool,
        Meta(
            description="Whether players of DASH find the complete film, too, in the same segments: the "
            "output then has a `dash_url`, which leads to an MPD."
        ),
    ] = False
    audio: Annotated[
        Literal["all", "first"],
        Meta(
            description="The film's tracks of sound between which a viewer can choose: all, or the first."
        ),
    ] = "all"
    captions: Annotated[
        Annotated[dict[str, str], Meta(min_length=1, max_length=16)] | None,
        Meta(
            description="Files of captions, SRT or WebVTT, by their languages (BCP 47): keys in the upload "
            "bucket. A film's own tracks of text become captions by themselves; a file takes the place of "
            "those in its language.",
            examples=[{"en": EXAMPLE_SIDECAR}],
            extra_json_schema={"propertyNames": {"pattern": f"^{TAG}$"}},
        ),
    ] = None

    def faults(self) -> Iterator[tuple[str, str]]:
        yield from _language_faults(self.captions or {})
        wanted = [] if self.ladder == "auto" else list(map(_wanted, self.ladder))
        for number, rung in enumerate(wanted):
            if rung in wanted[:number]:
                yield f"ladder/{number}", "This rung is there already; once is enough."

    def sidecars(self) -> tuple[str, ...]:
        return tuple((self.captions or {}).values())

    def _tracks(self, facts: VideoFacts) -> Sequence[AudioTrack]:
        most = audio.most_tracks(facts) if facts.index is None else len(facts.audio)
        return facts.audio[: 1 if self.audio == "first" else most]

    def _unheard(self, facts: VideoFacts, tracks: int) -> str:
        left_out = facts.sounds_left_out + len(facts.audio) - tracks
        if self.audio == "first" or not left_out:
            return ""
        return f"Tracks of sound that cannot be taken are left out: {left_out}."

    def plan(self, stem: str, facts: VideoFacts, settings: PlanSettings) -> Packaging:
        wanted = (
            ladders.automatic(facts) if self.ladder == "auto" else list(map(_wanted, self.ladder))
        )
        renditions = ladders.renditions(facts, wanted)
        left_out = ladders.left_out(facts, wanted) if len(wanted) > 1 else ""
        heard = sounds(self._tracks(facts))
        captioned = captions.choose(facts, self.captions or {}, settings)
        work = HlsWork(
            tuple(ladders.rungs(facts, renditions, audio.BITS_PER_SECOND if facts.audio else 0)),
            facts.seconds,
            sounds=heard,
            only_useful=self.ladder == "auto",
            dash=self.dash,
            warning=" ".join(
                filter(
                    None,
                    (
                        left_out,
                        filters.warning(facts),
                        captioned.warning,
                        self._unheard(facts, len(heard)),
                    ),
                )
            ),
            captions=captioned.tracks,
        )
        return Packaging(tuple(renditions), work, f"{stem}/", captioned.work)


def _language_faults(sidecars: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    seen = dict[str, str]()
    for given, key in sidecars.items():
        place = f"captions/{given.replace('~', '~0').replace('/', '~1')}"
        language = canonical(given)
        if language is None:
            yield (
                place,
                f"{given[:100]!r} is no language of BCP 47, like 'en', 'pt-BR' or 'zh-Hant'.",
            )
        elif language in seen:
            yield place, f"This is the language of {seen[language]!r}; once is enough."
        elif not 0 < len(key.encode(errors="replace")) <= _MOST_KEY_BYTES:
            yield place, "It is the key of a file in the upload bucket."
        else:
            seen[language] = given


def _wanted(rung: int | Rung) -> Wanted:
    if isinstance(rung, int):
        return Wanted(rung)
    return Wanted(rung.height, rung.codec, rung.max_fps, rung.max_kbps)
