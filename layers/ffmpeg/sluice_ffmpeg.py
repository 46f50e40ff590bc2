"""Finds this layer's FFmpeg beside this module, for emulators do not unpack layers at /opt.

Some apply no layers: then `bin/` lies in the function, and this module beside the function's own.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import cache
from pathlib import Path


@cache
def path() -> str:
    """Path of the executable; some emulators unpack layers without execute bits, which are set here."""
    here = Path(__file__).resolve().parent
    binary = (here.parent if here.name == "python" else here) / "bin" / "ffmpeg"
    if not os.access(binary, os.X_OK):
        try:
            binary.chmod(0o755)
        except OSError:  # a read-only layer
            binary = executable_copy(binary)
    return str(binary)


def executable_copy(binary: Path) -> Path:
    """Copy the binary to the temporary folder, executable, once and atomically; return the copy's path."""
    folder = Path(tempfile.gettempdir()) / f"sluice-ffmpeg-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    # On a shared machine, another user may own the folder, and the program in it.
    if folder.lstat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to someone else.")
    layer = binary.stat()
    target = folder / f"ffmpeg-{layer.st_size}-{layer.st_mtime_ns}"
    if not target.exists():
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as part:
            with binary.open("rb") as original:
                shutil.copyfileobj(original, part)
            Path(part.name).chmod(0o755)
        Path(part.name).rename(target)
    return target
