"""Where this layer's FFmpeg is: the layer finds itself, since emulators do not unpack it at /opt.

Some apply no layers at all; then it lies in the function, and its `python/` beside the function's modules.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import cache
from pathlib import Path


@cache
def path() -> str:
    """The binary, executable: some emulators unpack layers without their execute bits."""
    here = Path(__file__).resolve().parent
    binary = (here.parent if here.name == "python" else here) / "bin" / "ffmpeg"
    if not os.access(binary, os.X_OK):
        try:
            binary.chmod(0o755)
        except OSError:  # a read-only layer
            binary = _copy(binary)
    return str(binary)


def _copy(binary: Path) -> Path:
    """An executable copy in the temporary folder, made once, and never half."""
    folder = Path(tempfile.gettempdir()) / f"sluice-ffmpeg-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    # On a shared machine, someone else may have put a program of theirs there.
    if folder.lstat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to someone else.")
    layer = binary.stat()
    target = folder / f"ffmpeg-{layer.st_size}-{layer.st_mtime_ns}"
    if not target.exists():
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as part:
            with binary.open("rb") as whole:
                shutil.copyfileobj(whole, part)
            Path(part.name).chmod(0o755)
        Path(part.name).rename(target)
    return target
