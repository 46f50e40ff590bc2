"""The call that players make: playlists, also of growing films, MPDs, storyboards, and redirects."""

from __future__ import annotations

import re
import time
from typing import NamedTuple

from chalicelib.api.descriptions import JOB_ID, Answer, CallDescription, described, parameter
from chalicelib.api.hls_tokens import Grant, tokens
from chalicelib.errors import Gone, NotFound
from chalicelib.formats import playlists
from chalicelib.model.plan import CAPTIONS, GENERATION, SOUND
from chalicelib.model.step import CANCELED, DELETED, STARTED
from chalicelib.model.work import Captions, Hls
from chalicelib.store import jobs, objects, plans, progress, tasks
from chalicelib.store.objects import Link
from chalicelib.telemetry import logger

HLS_FILE = re.compile(r"[a-z0-9_]{1,64}\.(m3u8|mpd|m4s|mp4|vtt|json|jpg)")
# A signature ends early where the credentials that made it do: clients ask for a new address by then.
_REDIRECT_SECONDS = 300


class HlsFile(NamedTuple):
    """The text of a playlist; or the signed address of a media file, to which a player is sent."""

    content_type: str
    max_age: int  # seconds that a client may keep it; 0 where it changes
    playlist: str = ""
    address: str = ""


def hls_file(job_id: str, token: str, name: str) -> HlsFile:
    """The file of this name in the folder that the token opens. Raises Forbidden, NotFound, Gone."""
    grant = tokens().check(token, job_id)
    logger.append_keys(job_id=job_id)
    if not HLS_FILE.fullmatch(name):
        raise _no_such_file()
    key = f"{grant.folder}/{name}"
    content_type = objects.CONTENT_TYPES[name[name.rindex(".") :]]
    if not name.endswith(objects.TEXTS):
        # Clients keep a redirect: it must not lead to an object that does not exist yet.
        if not objects.has_output(key):
            raise _missing(job_id)
        link = objects.output_link(key, until=grant.expires_at)
        max_age = min(_REDIRECT_SECONDS, _seconds_until_end(link))
        return HlsFile(content_type, max_age, address=link.url)
    stored = objects.read_object(key)
    growing = _growing_playlist(job_id, grant.folder, name) if stored is None else None
    if growing:
        return HlsFile(content_type, 0, playlist=growing)
    # The job may have ended since the first look, and stored the playlist.
    stored = stored or objects.read_object(key)
    if stored is None:
        raise _missing(job_id)
    return HlsFile(content_type, _seconds_until_end(grant), playlist=stored.decode())


def _seconds_until_end(granted: Link | Grant) -> int:
    return max(0, int(granted.expires_at - time.time()))


def _missing(job_id: str) -> Gone | NotFound:
    """Why a file is not there: a player must not wait for what nobody makes."""
    job = jobs.get(job_id)
    if job and job.status == DELETED:
        return Gone("job_deleted", "The job was deleted.")
    if job and job.status == CANCELED:
        return Gone("job_canceled", "The job was canceled before this stream was complete.")
    return _no_such_file()


def _no_such_file() -> NotFound:
    return NotFound("file_not_found", "There is no such file in this rendition.")


def _growing_playlist(job_id: str, folder: str, name: str) -> str | None:
    """The playlist of the segments that exist so far; None where the job is not at work on it."""
    track = name.removesuffix(".m3u8")
    job, ended = progress.ended_of_job(job_id)
    if job is None or job.status != STARTED:
        return None
    if job.generation != GENERATION:  # another version's, until intake has planned it again
        return None
    plan = plans.recall_plan(job)
    packagings = (task for task in plan.tasks if isinstance(task.work, Hls))
    task = next((task for task in packagings if task.destination == f"{folder}/"), None)
    if task is None:  # the folder is that of a plan that another one has replaced
        return None
    assert isinstance(task.work, Hls)
    video, audio = plan.parts(task)
    if track == playlists.MASTER:
        if not plan.beginning(task) <= set(ended):
            return None
        first = tasks.encoded_parts(job_id, [video[0].id])[video[0].id]
        codecs = {name: encoded.codec for name, encoded in first.tracks.items()}
        return playlists.growing_master(task.work, codecs)
    if track in (caption.playlist for caption in task.work.captions):
        captions = plan.task(CAPTIONS)
        assert isinstance(captions.work, Captions)
        if captions.id not in ended:
            return None
        return playlists.captions(track, captions.work.seconds, complete=False)
    # All rungs have the same segments.
    shown = next((rung for rung in task.work.rungs if rung.playlist == track), task.work.rungs[0])
    heard = next((sound for sound in task.work.sounds if sound.playlist == track), None)
    if heard is None and track != shown.playlist:
        return None
    unplanned = [
        part.id
        for part in (*video, *audio)
        if part.id in ended and not playlists.is_planned(part.work)
    ]
    sound = heard.track if heard else SOUND
    names = {part.id: shown.rendition for part in video} | {part.id: sound for part in audio}
    encoded = tasks.encoded_parts(job_id, unplanned)
    made = {task_id: each.tracks[names[task_id]] for task_id, each in encoded.items()}
    segments = playlists.so_far(video, audio, ended, made)[
        playlists.AUDIO if heard else playlists.VIDEO
    ]
    longest = 0.0 if heard else playlists.longest(video)
    return playlists.media(track, segments, longest, complete=False)


_TOKEN = "WyJkN2I4ZjRiZiIsIm91dHB1dHMvMWY3ZmI4YTIiLDE3NjQ0NDMxMTNd.c2lnbmF0dXJl"

DESCRIPTIONS = {
    "hls_file": CallDescription(
        "hlsFile",
        "Streams",
        "A playlist, an MPD, a storyboard's layout, or the way to a file",
        "The `url` and the `dash_url` of an output lead here. The token in it stands for itself, for six "
        "hours or twice the film.",
        {
            "200": Answer(
                "A playlist (RFC 8216), an MPD (ISO/IEC 23009-1), captions, or a storyboard's layout",
                content={
                    "application/vnd.apple.mpegurl": {
                        "schema": {"type": "string"},
                        "example": "#EXTM3U\n",
                    },
                    "application/dash+xml": {
                        "schema": {"type": "string"},
                        "example": "<MPD/>\n",
                    },
                    "text/vtt": {"schema": {"type": "string"}, "example": "WEBVTT\n"},
                    "application/json": {
                        "schema": {"type": "object"},
                        "example": {"duration": 60.0, "sheets": ["storyboard_1.jpg"]},
                    },
                },
            ),
            "302": Answer(
                "Where the segment or the sheet is",
                headers={
                    "Location": {
                        "description": "A link that needs no credentials.",
                        "schema": {"type": "string", "format": "uri"},
                    }
                },
            ),
        },
        ("403", "404", "410"),
        parameters=(
            JOB_ID,
            parameter("token", "path", described("What the link allows.", _TOKEN, type="string")),
            parameter(
                "name",
                "path",
                described("A file of the output.", "master.m3u8", type="string"),
            ),
        ),
        needs_credentials=False,
    ),
}
