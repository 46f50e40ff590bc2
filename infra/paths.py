"""Where the project keeps what it makes: all of it under .local/, which is never committed."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / ".local"
