"""Where this layer's FFmpeg is: the layer finds itself, since emulators do not unpack it at /opt."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from functools import cache
from pathlib import Path


@cache
def path() -> str:
    """The binary, executable: some emulators unpack layers without their execute bits."""
    binary = Path(__file__).resolve().parent.parent / "bin" / "ffmpeg"
    if os.access(binary, os.X_OK):
        return str(binary)
    try:
        binary.chmod(binary.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    except OSError:
        return str(_copy(binary))
    return str(binary)


def _copy(binary: Path) -> Path:
    """An executable copy in the temporary folder, made once, and never half."""
    target = Path(tempfile.gettempdir()) / "sluice-ffmpeg"
    if not target.exists():
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as part:
            with binary.open("rb") as whole:
                shutil.copyfileobj(whole, part)
            Path(part.name).chmod(0o755)
        Path(part.name).rename(target)
    return target
