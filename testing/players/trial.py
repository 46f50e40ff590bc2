"""Play a film in a browser's players while it is encoded, or after, and read each shown frame's number.

The API, its playlists and its redirects are the stack's own. The trial only controls when a part of the film
is encoded: it takes the tasks from their queue and calls their Lambda.
"""

from __future__ import annotations

import functools
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from infra.local import cloud
from sluice.client import Client, until
from testing.players.film import RATE, TONES, cues

FOLDER = Path(__file__).parent
_AGAIN = "again"
LADDER = (180, 144)  # lines; the first is the film's own
PLAYERS = ("hls", "videojs", "shaka", "native")
# Of a complete film's MPD: the page's player of each.
DASH_PLAYERS = {"dashjs": "dashjs", "shaka_dash": "shaka"}
CAPTIONED = ("hls", "videojs", "shaka")  # the others show no captions
BROWSER = Path("/usr/bin/chromium")
# Play without a user's gesture; and without Chromium's sandbox, which root, the user of CI, does not have.
_FLAGS = ("--autoplay-policy=no-user-gesture-required", "--no-sandbox")
# Seconds that a player may be ahead of the clock: the delay of a busy page's look.
_SLACK = 0.6
# How often a queue would deliver a message.
_MOST_RECEIVES = 3


@dataclass(frozen=True)
class Seen:
    """The frames that a page has shown: (number, film's time, clock's time) in order; seconds."""

    frames: list[tuple[int, float, float]]
    errors: list[str]
    ended: bool
    appended: dict[
        str, list[float]
    ]  # decode time of the first sample of each append, by track; seconds
    heights: list[int]  # of the frames, as rungs were switched
    # When each text of the captions begins and ends by the film, and the frames with which it was seen.
    cues: dict[str, tuple[float, float, list[int]]]
    tones: list[int]  # hertz, in the order in which they were heard

    @property
    def numbers(self) -> list[int]:
        return [number for number, _, _ in self.frames]

    @property
    def jumps(self) -> list[tuple[int, int]]:
        """Pairs of frames between which the film advanced more than the clock."""
        pairs = zip(self.frames, self.frames[1:], strict=False)
        return [
            (one[0], other[0])
            for one, other in pairs
            if other[0] <= one[0] or other[1] - one[1] > other[2] - one[2] + _SLACK
        ]

    @property
    def apart(self) -> float:
        """Seconds by which one track is decoded before the other, at the player's timestamp offsets."""
        starts = [times[0] for times in self.appended.values() if times]
        return max(starts) - min(starts) if starts else 0.0


class Stage:
    """A job whose parts are encoded on demand."""

    def __init__(self, client: Client, film: Path) -> None:
        self._client = client
        self._lambda = client.aws("lambda")
        self._function = f"sluice-{client.stack.stage}-encode"
        self._sqs = client.aws("sqs")
        self._queue = self._sqs.get_queue_url(QueueName=self._function)["QueueUrl"]
        self._mapping = self._lambda.list_event_source_mappings(FunctionName=self._function)[
            "EventSourceMappings"
        ][0]["UUID"]
        self._lambda.update_event_source_mapping(UUID=self._mapping, Enabled=False)
        self.job_id = client.upload(film, {"make": "hls", "ladder": list(LADDER)})
        until(lambda: client.job(self.job_id)["steps"], 60)
        taken: dict[str, str] = {}

        def take() -> bool:
            answer = self._sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10)
            for message in answer.get("Messages", ()):
                body = json.loads(message["Body"])
                taken[body["task_id"]] = message["Body"]
                self._sqs.delete_message(
                    QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"]
                )
            return not answer.get("Messages") and bool(taken)

        until(take, 30)
        sound = [body for task, body in sorted(taken.items()) if task.startswith("sound")]
        pictures = [
            body
            for task, body in sorted(taken.items(), key=lambda item: int(item[0].split(".")[1]))
            if not task.startswith("sound")
        ]
        self._first, self._rest = [pictures[0], *sound], pictures[1:]

    def begin(self) -> str:
        """Encode the first video part and the audio. Returns the URL of the film, which is listed then."""
        self._encode(self._first)
        (output,) = until(lambda: self._client.job(self.job_id)["outputs"], 30)
        assert not output["complete"]
        return str(output["url"])

    def go_on(self) -> bool:
        """Encode the next part of the video. Returns False if it was the last."""
        self._encode([self._rest.pop(0)])
        return bool(self._rest)

    def finish(self) -> None:
        """Wait for the job's end, then let the queue start its Lambda again."""
        assert self._client.wait(self.job_id)["status"] == "SUCCESS"
        self._lambda.update_event_source_mapping(UUID=self._mapping, Enabled=True)

    def _encode(self, bodies: Sequence[str]) -> None:
        for number, body in enumerate(bodies):
            record: dict[str, Any] = {
                "messageId": str(number),
                "receiptHandle": "of a message that is deleted",
                "body": body,
                "attributes": {
                    "ApproximateReceiveCount": "1",
                    "SentTimestamp": str(int(time.time() * 1000)),
                },
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:us-east-1:000000000000:{self._function}",
                "awsRegion": "us-east-1",
            }
            for receives in range(1, _MOST_RECEIVES + 1):
                record["attributes"]["ApproximateReceiveCount"] = str(receives)
                answer = self._lambda.invoke(
                    FunctionName=self._function, Payload=json.dumps({"Records": [record]})
                )
                told = json.loads(answer["Payload"].read())
                if told.get("batchItemFailures") == []:
                    break
            else:
                raise RuntimeError(f"A part of the film was not encoded: {told}")


@contextmanager
def _pages() -> Iterator[str]:
    """Serve the page and the players. Yields their URL."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(FOLDER))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/page.html"
        finally:
            server.shutdown()
            thread.join()


class Viewers:
    """Players of one film, each in its own browser with its own cache, which is enabled."""

    def __init__(self, browser: Browser, page: str) -> None:
        self._browser = browser
        self._page = page
        self._open: dict[str, Page] = {}

    def open(self, name: str, url: str, player: str) -> None:
        context: BrowserContext = self._browser.new_context(viewport={"width": 720, "height": 420})
        page = self._open[name] = context.new_page()
        page.goto(f"{self._page}?{urlencode({'player': player, 'url': url})}")

    def seen(self, player: str) -> Seen:
        told = self._open[player].evaluate("window.seen")
        return Seen(
            [tuple(frame) for frame in told["frames"]],
            told["errors"],
            told["ended"],
            {track: each["starts"] for track, each in told["appended"].items()},
            told["heights"],
            {text: (*times, frames) for text, (times, frames) in told["cues"].items()},
            told["tones"],
        )

    def look_again(self, player: str, missing: Sequence[int], offset: float) -> list[int]:
        """Seek to frames that a busy machine has not shown. Returns those that exist."""
        look = "([number, at, rate]) => window.lookFor(number, at, rate)"
        page = self._open[player]
        found = {
            number: page.evaluate(look, [number, offset + (number + 0.5) / RATE, RATE])
            for number in missing
        }
        return [number for number in missing if found[number][-1][0] == number]

    def reloaded(self, player: str) -> float:
        """Load a page again, and let it pause. Returns the seconds of the film that it lists."""
        page = self._open[player]
        page.reload()
        page.wait_for_function(
            "video.seekable.length && video.seekable.end(0) && video.currentTime"
        )
        return float(page.evaluate("video.pause(), video.seekable.end(0)"))

    def picture(self, player: str, path: Path) -> None:
        self._open[player].screenshot(path=str(path))


@contextmanager
def viewers() -> Iterator[Viewers]:
    with _pages() as page, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(BROWSER), args=list(_FLAGS))
        try:
            yield Viewers(browser, page)
        finally:
            browser.close()


@dataclass(frozen=True)
class Verdict:
    """The verdict on one player. `shown` and `sought` are numbers of frames."""

    shown: int
    sought: int
    faults: list[str]
    seen: Seen


def judge(viewers: Viewers, player: str, frames: int) -> Verdict:
    """Judge whether a player has shown the whole film from its first frame on, and nothing else."""
    seen = viewers.seen(player)
    numbers = seen.numbers
    faults = [f"error: {error}" for error in seen.errors]
    if not seen.ended:
        faults.append("it has not ended")
    if not numbers or numbers[0] > 2:
        faults.append(f"it begins with {numbers[:3]}")
    faults += [f"it jumps from {one} to {other}" for one, other in seen.jumps]
    if seen.apart > 0.002:
        faults.append(f"pictures and sound are placed {1000 * seen.apart:.0f} ms apart")
    if player != "native" and set(seen.heights) != set(LADDER):
        faults.append(f"it has shown rungs of {seen.heights} lines only")
    missing = sorted(set(range(frames)) - set(numbers))
    # The time of the film's first frame on the clock, by the frames that were read with the least delay.
    delays = sorted(at - number / RATE for number, at, _ in seen.frames) or [0.0]
    # Tones that are heard for a moment, as a track is changed, are those of neither.
    heard = [tone for tone in seen.tones if min(abs(tone - each) for each in TONES) <= 20]
    if player == "hls" and [tone for tone, _ in groupby(heard)] != list(TONES):
        faults.append(f"its tracks of sound were heard as {seen.tones} Hz")
    offset = delays[len(delays) // 10]
    # A player that shows nothing would be asked for minutes.
    sought = viewers.look_again(player, missing, offset) if numbers else []
    if numbers and player in CAPTIONED:
        # A busy player may come to have a caption after the caption's time.
        late = [at for text, at in _middles(frames).items() if text not in seen.cues]
        viewers.look_again(player, late, offset)
        faults += _wrong_cues(viewers.seen(player), frames, offset)
    if gone := sorted(set(missing) - set(sought)):
        faults.append(f"frames are nowhere: {gone}")
    return Verdict(len(set(numbers)), len(sought), faults, seen)


def _middles(frames: int) -> dict[str, int]:
    """The frame in the middle of each caption's time."""
    return {
        text: int((begin + end) / 2 * RATE) for text, (begin, end) in cues(frames // RATE).items()
    }


def _wrong_cues(seen: Seen, frames: int, offset: float) -> Iterator[str]:
    """What is wrong with the captions; `offset` is the time of the film's first frame on the clock."""
    for text, (begin, end) in cues(frames // RATE).items():
        if text not in seen.cues:
            yield f"the caption {text!r} was not shown"
            continue
        begins, ends, shown = seen.cues[text]
        if max(abs(begins - offset - begin), abs(ends - offset - end)) > 1 / RATE:
            yield f"the caption {text!r} is from {begins - offset:.2f} to {ends - offset:.2f}"
        if any(not begin - _SLACK < number / RATE < end + _SLACK for number in shown):
            yield f"the caption {text!r} was shown with the frames {shown}"


def _until_shown(watching: Viewers, player: str) -> None:
    def shown() -> bool:
        seen = watching.seen(player)
        return bool(seen.numbers or seen.errors)

    until(shown, 90)


def run(
    client: Client,
    film: Path,
    seconds: int,
    players: Sequence[str] = PLAYERS,
    pictures: Path | None = None,
    tell: Callable[[str], Any] = lambda _: None,
) -> dict[str, Verdict]:
    """Encode a film of `seconds` part by part while each player plays it. Returns a verdict on each."""
    cloud.warm(client.stack)
    stage = Stage(client, film)
    url = stage.begin()
    with viewers() as watching:
        for player in players:
            watching.open(player, url, player)
        watching.open(_AGAIN, url, "hls")
        listed = []

        def reload() -> None:
            """Load another page again; it must list all encoded parts."""
            text = client.http.get(urljoin(url, f"{LADDER[0]}p.m3u8")).text
            there = sum(float(line[8:-1]) for line in text.splitlines() if line[:8] == "#EXTINF:")
            found = watching.reloaded(_AGAIN)
            tell(f"Listed are {there:.1f} s; a page that is loaded anew has {found:.1f} s.")
            assert abs(found - there) < 0.5
            listed.append(there)

        for player in players:
            _until_shown(watching, player)
        reload()
        more = True
        while more:
            # Encode more before any page has shown all that exists.
            more = stage.go_on()
            reload()
            if more:
                time.sleep(3)
        stage.finish()
        reload()
        assert listed == sorted(listed)
        return _verdicts(watching, players, seconds, pictures)


def run_complete(
    client: Client,
    film: Path,
    seconds: int,
    players: Sequence[str] = tuple(DASH_PLAYERS),
    pictures: Path | None = None,
) -> dict[str, Verdict]:
    """Encode a film of `seconds`, then play its MPD in each player. Returns a verdict on each."""
    step = {"make": "hls", "ladder": list(LADDER), "dash": True}
    (output,) = client.wait(client.upload(film, step))["outputs"]
    with viewers() as watching:
        for player in players:
            watching.open(player, output["dash_url"], DASH_PLAYERS[player])
        return _verdicts(watching, players, seconds, pictures)


def _verdicts(
    watching: Viewers, players: Sequence[str], seconds: int, pictures: Path | None
) -> dict[str, Verdict]:
    """Let players come to the end of a film that is complete, and judge them."""
    deadline = time.monotonic() + 4 * seconds + 30
    waiting = list(players)
    while waiting and time.monotonic() < deadline:
        time.sleep(0.5)
        waiting = [p for p in waiting if not (watching.seen(p).ended or watching.seen(p).errors)]
    if pictures:
        for player in players:
            watching.picture(player, pictures / f"{player}.png")
    return {player: judge(watching, player, seconds * RATE) for player in players}
