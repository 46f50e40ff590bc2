"""The project's folder, and .local/ in it, which holds everything that is made and is never committed."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / ".local"
