"""The walls hold against a decoder that was taken over: it reaches its file, and others of its user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.taken_over import PREFIX

# Python may lie where others may not go: a view of the machine in which they may.
_OPEN_WAY = """\
set -e
if [ -n "$1" ]; then
    mount --make-rprivate /
    mkdir -p /mnt && mount --bind "$1" /mnt
    mount -t tmpfs -o mode=755 none "$2"
    mkdir -p "$1" && mount --bind /mnt "$1" && umount /mnt
fi
shift 2
exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
"""


def as_ordinary_user() -> list[str]:
    """How to begin a command so that it is run by a user who is not root."""
    if os.getuid():
        return []
    prefix = Path(sys.executable).resolve().parent.parent
    closed = [each for each in prefix.parents if not each.stat().st_mode & 0o001]
    told = [str(prefix), str(closed[-1])] if closed else ["", ""]
    return ["unshare", "--mount", "sh", "-c", _OPEN_WAY, "sh", *told]


@pytest.fixture(params=["root", "an ordinary user"])
def tried(request: pytest.FixtureRequest) -> dict[str, list[str]]:
    """What two decoders reach, of a worker of this user."""
    if request.param == "root" and os.getuid():
        pytest.skip("only root can be root")
    run = subprocess.run(
        [
            *(as_ordinary_user() if request.param != "root" else ()),
            sys.executable, "-m", "tests.taken_over",
        ],
        env={"AWS_SECRET_ACCESS_KEY": f"{PREFIX}12345678", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    found: dict[str, list[str]] = json.loads(run.stdout.splitlines()[-1])  # behind the log
    return found


# In Lambda there are none: a worker has one task at a time, and nothing of a decoder outlives it.
REMAINS = ["files of other tasks", "folders of other tasks"]


def test_who_takes_a_decoder_over_reaches_no_more_than_files(tried: dict[str, list[str]]) -> None:
    assert tried == {"forked": REMAINS, "FFmpeg": REMAINS}
