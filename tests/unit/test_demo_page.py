"""The page of `make demo`: whole without a cloud, whatever a file is called."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from infra.local import demo_page
from infra.local.demo_page import SavedOutput, ShownJob


def test_the_page_shows_files_that_are_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / 'a "b" <c>'
    folder.mkdir()
    files = [folder / name for name in ("thumb 1.jpg", "720p.mp4", "master.m3u8")]
    for file in files:
        file.write_bytes(b"x")
    outputs = [
        SavedOutput({"type": "t", "size": 1, "content_type": "image/jpeg"}, "1 × 1", file)
        for file in files
    ]
    job = {"filename": "<film>.mp4", "status": "SUCCESS", "encoding": "", "usage": None}
    page = demo_page.write([ShownJob(job, files[1], outputs)], tmp_path)
    text = page.read_text()
    shown = re.findall(r'<(?:img|video) src="([^"]+)"', text)
    assert [page.parent / unquote(src) for src in shown] == [files[1], *files]
    assert "<film>" not in text
