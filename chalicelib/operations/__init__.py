"""What a pipeline can ask for: operations with their parameters, and presets, which are names for some.

A new operation is a module beside this one, and its name in `OPERATIONS`. `pipelines.py` reads
pipelines, `recipes.py` the recipes of `recipes.toml`.
"""

from __future__ import annotations

from chalicelib.operations.audio import Audio
from chalicelib.operations.hls import Hls
from chalicelib.operations.image import Image
from chalicelib.operations.mp4 import Mp4
from chalicelib.operations.poster import Poster
from chalicelib.operations.preview import Preview
from chalicelib.operations.storyboard import Storyboard
from chalicelib.planning.operation import Operation, Step

OPERATIONS: tuple[type[Operation], ...] = (
    Image,
    Poster,
    Mp4,
    Hls,
    Storyboard,
    Preview,
    Audio,
)

# The keys of their files end as they did before there were operations.
PRESETS: tuple[Step, ...] = (
    Step("thumbnail", "thumbnail", "thumb", {"image": Image(box=512), "video": Poster(box=512)}),
    Step(
        "watermark",
        "watermark",
        "wm",
        {
            "image": Image(quality=90, watermark=True),
            "video": Mp4(height="source", watermark=True),
        },
    ),
    Step(
        "transcode_720p",
        "transcode_720p",
        "720p",
        {"video": Mp4(height=720), "animation": Mp4(height=720)},
    ),
    Step("hls_720p", "hls_720p", "hls", {"video": Hls(ladder=(720,))}),
)
