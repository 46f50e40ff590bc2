"""One FFmpeg filter graph for all renditions of a film: what is alike for several is filtered once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chalicelib.model.facts import VideoFacts, fps
from chalicelib.planning import filters, frame_rates
from chalicelib.planning.operation import Rendition


def graph(facts: VideoFacts, renditions: Sequence[Rendition], trim: str) -> str:
    """The filters from a decoded frame to `[name]` of each rendition.

    `trim` is a filter that selects frames by time; "" for all. Raises JobError where no filter can read the
    colours.
    """
    shapes = _grouped(
        renditions,
        lambda each: (frame_rates.step_of(facts, each.max_fps), each.width, each.height),
    )
    frames = [f"frames{number}" for number in range(len(shapes))]
    chains = [f"[0:{facts.video_stream}]{_split(filters.in_common(facts, trim), frames)}"]
    for label, ((step, width, height), shaped) in zip(frames, shapes.items(), strict=True):
        marks = _grouped(shaped, lambda each: each.mark)
        bases = [f"{label}_{number}" for number in range(len(marks))]
        sized = filters.to_size(facts, width, height, trim, filled=True)
        if step > 1:
            kept = _selection(facts, step)
            # After the times are right; frames that are dropped need no scaling.
            sized = f"{sized},{kept}" if filters.keeps_one_graph(facts) else f"{kept},{sized}"
        chains.append(f"[{label}]{_split(sized, bases)}")
        for base, (mark, marked) in zip(bases, marks.items(), strict=True):
            before = f"{filters.overlay(mark, width, height, base)}," if mark else f"[{base}]"
            chains.append(before + _split("format=yuv420p", [each.name for each in marked]))
    return ";".join(chains)


def _selection(facts: VideoFacts, step: int) -> str:
    """The filter that keeps every `step`-th frame: of a chunk by the index, else by the frame rate."""
    if facts.index is None:
        return frame_rates.selection((step - 0.5) / fps(facts), "0")
    scale = facts.index.timescale
    # Half a tick less than the least: times are whole ticks.
    least = (frame_rates.least_ticks(facts, scale, step) - 0.5) / scale
    return frame_rates.selection(least, "{counted_from}")


def _grouped[K](
    renditions: Sequence[Rendition], key: Callable[[Rendition], K]
) -> dict[K, list[Rendition]]:
    groups: dict[K, list[Rendition]] = {}
    for rendition in renditions:
        groups.setdefault(key(rendition), []).append(rendition)
    return groups


def _split(before: str, labels: Sequence[str]) -> str:
    """The filters `before`, whose frames go to each of `labels`."""
    split = f"split={len(labels)}{''.join(f'[{label}]' for label in labels)}"
    return f"{before},{split}" if before else split
