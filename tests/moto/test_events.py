"""Owners are told of their jobs: no event is lost, and each is delivered as Standard Webhooks says."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from chalice.test import Client
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from standardwebhooks.webhooks import Webhook

from app import app
from chalicelib.api import job_lists, uploads, webhooks
from chalicelib.api import jobs as api_jobs
from chalicelib.api.requests import PresignRequest
from chalicelib.api.told import told as told_of
from chalicelib.api.webhooks import WebhookRequest, WebhookView
from chalicelib.errors import Conflict, NotFound, Unprocessable
from chalicelib.invocation import Invocation, Later
from chalicelib.jobs import posting, sweep, telling
from chalicelib.model.event import DELIVERED, GIVEN_UP, SCHEDULE, WAITING
from chalicelib.settings import settings
from chalicelib.store import queues
from testing import rows
from testing.pump import Context, deliver, drain, drop, record_of, take
from testing.receiver import Receiver

pytestmark = pytest.mark.usefixtures("cloud")
Sample = Callable[[str], Path]
BASE = "https://x/api"


@pytest.fixture(autouse=True)
def anywhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SLUICE_WEBHOOK_TARGETS", "any")
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def told(receiver: Receiver, *events: Any, owner: str = "-") -> WebhookView:
    wanted = list(events) or ["job.*"]
    return webhooks.create_webhook(owner, WebhookRequest(receiver.url(), wanted))


def presigned() -> str:
    job_id = uploads.presign("-", PresignRequest("a.jpg", "image/jpeg", ["thumbnail"])).job_id
    assert job_id
    return job_id


def swept() -> None:
    """Let the time come at which the sweep looks at all that waits to be told."""
    rows.make_events_due()
    sweep.sweep(lambda: 60.0)
    drain()


def states(webhook: WebhookView) -> list[str]:
    return [row.state for row in rows.deliveries_of(webhook.id)]


@pytest.mark.media
def test_a_job_is_told_from_its_creation_to_its_deletion(
    receiver: Receiver, sample: Sample
) -> None:
    webhook = told(receiver)
    deliver("intake", drop("a.x", sample("photo.jpg").read_bytes(), pipeline="thumbnail,watermark"))
    drain()
    (job,) = job_lists.list_jobs("-", {"key": "a.x"}, BASE).jobs
    assert sorted(receiver.types()[2:4]) == ["job.output_ready"] * 2
    assert receiver.types() == [
        *("job.created", "job.started", "job.output_ready", "job.output_ready", "job.succeeded"),
    ]
    for headers, body in receiver.got:
        verified = Webhook(webhook.secret).verify(body, headers)
        assert verified["data"]["id"] == job.id
        assert "X-Amz" not in body.decode()
        assert "url" not in json.dumps(verified).replace("input_url", "url").split('"')
    ready = [json.loads(body)["data"]["step"] for _, body in receiver.got[2:4]]
    assert sorted(ready) == ["thumbnail", "watermark"]
    data = json.loads(receiver.got[-1][1])["data"]
    assert (data["status"], data["progress"], len(data["outputs"])) == ("SUCCESS", 100, 2)
    assert data["usage"]["cost_usd"] > 0
    api_jobs.delete_job("-", job.id, {})
    drain()
    assert receiver.types()[5:] == ["job.deleted"]
    assert json.loads(receiver.got[-1][1])["data"]["id"] == job.id
    assert len(set(receiver.ids())) == 6
    assert states(webhook) == [DELIVERED] * 6
    assert not rows.untold()
    assert not rows.count_due_of("webhook#")


@pytest.mark.media
def test_a_job_of_nobody_who_listens_costs_nothing_more(sample: Sample) -> None:
    deliver("intake", drop("a.x", sample("photo.jpg").read_bytes(), pipeline="thumbnail"))
    (job,) = job_lists.list_jobs("-", {"key": "a.x"}, BASE).jobs
    assert take(queues.EVENTS) == []
    drain()
    assert not rows.untold()
    assert "is_told" not in rows.job_item(job.id)


@pytest.mark.media
def test_a_job_that_fails_is_told(receiver: Receiver, sample: Sample) -> None:
    told(receiver, "job.failed")
    deliver("intake", drop("a.x", sample("text.jpg").read_bytes(), pipeline="thumbnail"))
    drain()
    assert receiver.types() == ["job.failed"]
    assert json.loads(receiver.got[0][1])["data"]["error_code"]


def test_only_what_was_asked_for_is_told_and_only_to_the_owner(receiver: Receiver) -> None:
    told(receiver, "job.canceled")
    told(receiver, owner="another")
    job_id = presigned()
    api_jobs.cancel_job("-", job_id, BASE)
    drain()
    assert receiver.types() == ["job.canceled"]
    assert json.loads(receiver.got[0][1])["data"]["status"] == "CANCELED"


def test_the_sweep_tells_what_a_lambda_that_died_did_not(receiver: Receiver) -> None:
    told(receiver)
    job_id = presigned()
    api_jobs.cancel_job("-", job_id, BASE)
    assert len(take(queues.EVENTS)) == 2  # as if they had never been sent
    api_jobs.delete_job("-", job_id, {})
    take(queues.EVENTS)
    drain()
    assert receiver.types() == []
    swept()
    assert receiver.types() == ["job.created", "job.canceled", "job.deleted"]
    swept()
    assert len(receiver.got) == 3


def test_an_event_told_twice_has_one_delivery(receiver: Receiver) -> None:
    webhook = told(receiver)
    presigned()
    (message,) = take(queues.EVENTS)
    for _ in range(2):
        assert deliver("events", message) == []
    drain(times=2)
    assert receiver.types() == ["job.created"]
    assert states(webhook) == [DELIVERED]


def test_a_lambda_that_dies_between_delivery_and_message_loses_nothing(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook = told(receiver)
    presigned()
    (message,) = take(queues.EVENTS)
    with monkeypatch.context() as patched:

        def dies(*_: Any) -> None:
            raise RuntimeError

        patched.setattr(queues, "send_event", dies)
        assert deliver("events", message) == [message]
    assert states(webhook) == [WAITING]
    swept()
    assert receiver.types() == ["job.created"]


@pytest.mark.parametrize("status", [500, 302, 404])
def test_what_is_no_2xx_is_tried_again_by_the_schedule(receiver: Receiver, status: int) -> None:
    webhook = told(receiver)
    receiver.answer = status
    presigned()
    drain()
    (row,) = rows.deliveries_of(webhook.id)
    assert (row.state, row.attempts, row.status_code) == (WAITING, 1, status)
    assert row.error == f"The receiver answered {status}."
    for attempt in range(2, len(SCHEDULE) + 2):
        before = int(time.time())
        swept()
        (row,) = rows.deliveries_of(webhook.id)
        assert row.attempts == attempt
        if attempt <= len(SCHEDULE):
            assert row.next_at >= before + SCHEDULE[attempt - 1]
            is_long = SCHEDULE[attempt - 1] > queues.MOST_DELAY_SECONDS
            assert (row.due_at == row.next_at) == is_long
    assert row.state == GIVEN_UP
    swept()
    assert len(receiver.got) == len(SCHEDULE) + 1
    assert len(set(receiver.ids())) == 1
    assert not rows.count_due_of("webhook#")


def test_a_failed_event_does_not_hold_up_the_next(receiver: Receiver) -> None:
    webhook = told(receiver)
    receiver.answer = 500
    job_id = presigned()
    drain()
    receiver.answer = 200
    api_jobs.cancel_job("-", job_id, BASE)
    drain()
    assert receiver.types() == ["job.created", "job.canceled"]
    swept()
    assert receiver.types() == ["job.created", "job.canceled", "job.created"]
    assert states(webhook) == [DELIVERED] * 2


def test_410_disables_an_endpoint(receiver: Receiver) -> None:
    webhook = told(receiver)
    receiver.answer = 410
    job_id = presigned()
    api_jobs.cancel_job("-", job_id, BASE)
    drain()
    assert receiver.types() == ["job.created"]
    assert "410" in webhooks.get_webhook("-", webhook.id).disabled
    assert states(webhook) == [GIVEN_UP] * 2
    presigned()
    drain()
    assert len(receiver.got) == 1


def test_a_receiver_that_hangs_is_left_and_holds_up_nobody(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posting, "SECONDS", 1)
    slow, other = Receiver(), receiver

    def trickle(handler: Any) -> None:
        """A byte now and then, each in time for a timeout of one read."""
        while not slow.released.wait(0.2):
            try:
                handler.wfile.write(b"H")
            except OSError:
                return

    slow.answer = trickle
    hung, well = told(slow), told(other)
    presigned()
    (message,) = take(queues.EVENTS)
    assert deliver("events", message) == []
    waiting = take(queues.EVENTS)
    assert len(waiting) == 2  # one for each endpoint
    for body in waiting:
        assert deliver("events", body) == []
    slow.close()
    assert other.types() == ["job.created"]
    assert states(well) == [DELIVERED]
    (row,) = rows.deliveries_of(hung.id)
    assert (row.state, row.error) == (WAITING, "There was no answer within 1 s.")


def test_an_attempt_under_way_is_not_made_twice(receiver: Receiver) -> None:
    webhook = told(receiver)
    presigned()
    (message,) = take(queues.EVENTS)
    deliver("events", message)
    (to_send,) = take(queues.EVENTS)
    again: list[BaseException] = []
    record = SQSRecord(record_of(queues.EVENTS, 7, to_send, 1))

    def meanwhile(handler: Any) -> None:
        with pytest.raises(Later) as raised:
            telling.handle(told_of, record, Invocation(Context()))
        again.append(raised.value)
        handler.send_response(204)
        handler.end_headers()

    receiver.answer = meanwhile
    assert deliver("events", to_send) == []
    assert len(again) == 1  # it comes again
    assert deliver("events", to_send) == []
    assert (len(receiver.got), states(webhook)) == (1, [DELIVERED])


@pytest.mark.slow
@pytest.mark.parametrize("count", [10, pytest.param(50, marks=pytest.mark.variants)])
def test_no_event_is_lost_while_the_receiver_is_down_half_of_the_time(
    receiver: Receiver, count: int
) -> None:
    webhook = told(receiver)
    kept: list[tuple[str, str]] = []
    times = [0]

    def now_and_then(handler: Any) -> None:
        times[0] += 1
        is_up = times[0] % 2 == 0
        if is_up:
            headers, body = receiver.got[-1]
            verified = Webhook(webhook.secret).verify(body, headers)
            kept.append((headers["webhook-id"], f"{verified['data']['id']} {verified['type']}"))
        handler.send_response(200 if is_up else 503)
        handler.end_headers()

    receiver.answer = now_and_then
    jobs = [presigned() for _ in range(count)]
    drain()
    for number, job_id in enumerate(jobs):
        api_jobs.cancel_job("-", job_id, BASE)
        if number == count // 2:
            take(queues.EVENTS)  # all messages so far are lost
    drain()
    while WAITING in states(webhook) or rows.untold():
        swept()
    wanted = {f"{job_id} {kind}" for job_id in jobs for kind in ("job.created", "job.canceled")}
    assert {what for _, what in kept} == wanted
    assert len(kept) == len({id_ for id_, _ in kept}) == 2 * count


# ── where webhooks may go ───────────────────────────────────────────────────────────────────────


@pytest.fixture
def public_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_WEBHOOK_TARGETS", "public")
    settings.cache_clear()


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "100.64.0.1", "0.0.0.0"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1", "224.0.0.1"),
        *("2002:7f00:1::", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "::7f00:1", "ff0e::1"),
        *("fd00:ec2::254", "255.255.255.255", "2001:db8::1"),
    ],
)
def test_no_private_address_is_public_in_whatever_form(address: str) -> None:
    assert not posting.is_public(address)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_public_addresses(address: str) -> None:
    assert posting.is_public(address)


@pytest.mark.usefixtures("public_only")
def test_a_name_that_is_private_is_not_sent_to(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = receiver.server.server_port
    answers = [["93.184.216.34", "127.0.0.1"], ["127.0.0.1"]]  # one of two; all

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        assert host == "turns.example"
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
            for address in answers.pop(0)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    for _ in range(2):
        answer = posting.post(f"https://turns.example:{port}/", {}, b"")
        assert answer == (None, "turns.example has an address that is not public.")
    assert not answers
    assert not receiver.got


@pytest.mark.usefixtures("public_only")
def test_the_connection_goes_to_the_address_that_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name is resolved once: what it means at the second look changes nothing."""
    asked: list[str] = []
    connected: list[Any] = []

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        address = "93.184.216.34" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))]

    def connect(_: socket.socket, place: Any) -> None:
        connected.append(place)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket.socket, "connect", connect)
    answer = posting.post("https://turns.example/", {}, b"")
    assert answer == (None, "There is no connection: ConnectionRefusedError.")
    assert (asked, connected) == (["turns.example"], [("93.184.216.34", 443)])


def test_where_an_address_takes_no_connection_the_next_one_does(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    def resolve(*_: Any, **__: Any) -> list[Any]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port))
            for port in (free_port, receiver.server.server_port)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert posting.post("http://some.example/", {}, b"") == (200, "")


@pytest.mark.usefixtures("public_only")
def test_plain_http_is_not_sent_to(receiver: Receiver) -> None:
    assert posting.post(receiver.url(), {}, b"").error == "Webhooks go to https alone."
    assert not receiver.got


def certificate_of(name: str, folder: Path) -> Path:
    """A certificate that signs itself, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = folder / f"{name}.pem"
    path.write_bytes(made.public_bytes(pem) + key.private_bytes(pem, *private))
    return path


def test_tls_is_verified_against_the_name(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = certificate_of("right.example", tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    receiver.server.socket = context.wrap_socket(receiver.server.socket, server_side=True)
    port = receiver.server.server_port
    local = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [local])
    refused = posting.Answer(None, "There is no connection: SSLCertVerificationError.")
    assert posting.post(f"https://right.example:{port}/", {}, b"") == refused  # signed by nobody
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    assert posting.post(f"https://wrong.example:{port}/", {}, b"") == refused
    assert not receiver.got
    assert posting.post(f"https://right.example:{port}/a?b=c", {}, b"x") == (200, "")
    (headers, body), *_ = receiver.got
    assert (headers["host"], body) == (f"right.example:{port}", b"x")


def test_what_is_no_server_of_http_is_an_answer_not_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        thread = Thread(target=lambda: server.accept()[0].close())
        thread.start()
        answer = posting.post(f"http://127.0.0.1:{port}/", {}, b"")
        thread.join()
        assert answer.status is None
        assert answer.error
        thread = Thread(target=lambda: server.accept()[0].close())
        thread.start()
        assert posting.post(f"https://127.0.0.1:{port}/", {}, b"").error
        thread.join()


# ── the calls ───────────────────────────────────────────────────────────────────────────────────


def test_an_endpoint_is_its_owners_and_its_secret_is_told_once(receiver: Receiver) -> None:
    made = told(receiver, "job.failed", "job.failed")
    assert made.secret.startswith("whsec_")
    assert made.events == ["job.failed"]
    shown = webhooks.get_webhook("-", made.id)
    assert shown.secret == ""
    assert webhooks.list_webhooks("-").webhooks == [shown]
    assert made.secret.removeprefix("whsec_") not in str(rows.item("webhooks#-", "endpoints"))
    for call in (webhooks.get_webhook, webhooks.delete_webhook):
        with pytest.raises(NotFound):
            call("another", made.id)
    assert webhooks.list_webhooks("another").webhooks == []
    webhooks.delete_webhook("-", made.id)
    with pytest.raises(NotFound):
        webhooks.delete_webhook("-", made.id)
    assert webhooks.list_webhooks("-").webhooks == []


def test_what_waits_for_a_deleted_endpoint_is_given_up(receiver: Receiver) -> None:
    made = told(receiver)
    presigned()
    deliver("events", *take(queues.EVENTS))
    webhooks.delete_webhook("-", made.id)
    drain()
    assert not receiver.got
    assert states(made) == [GIVEN_UP]


def test_deliveries_are_listed_and_replayed(receiver: Receiver) -> None:
    made = told(receiver)
    job_id = presigned()
    drain()
    receiver.answer = 500
    api_jobs.cancel_job("-", job_id, BASE)
    drain()
    first = webhooks.list_deliveries("-", made.id, {"limit": "1"})
    assert first.next_cursor
    rest = webhooks.list_deliveries("-", made.id, {"cursor": first.next_cursor})
    assert rest.next_cursor is None
    (failed,), (delivered,) = first.deliveries, rest.deliveries
    assert (failed.type, failed.state, failed.attempts) == ("job.canceled", WAITING, 1)
    assert (failed.status_code, failed.error) == (500, "The receiver answered 500.")
    assert failed.next_at and failed.tried_at
    assert (delivered.type, delivered.state, delivered.status_code) == (
        *("job.created", DELIVERED, 200),
    )
    assert (delivered.next_at, delivered.error, delivered.job_id) == (None, "", job_id)
    receiver.answer = 200
    for delivery in (delivered, failed):
        webhooks.replay_delivery("-", made.id, delivery.id)
        drain()
    types = ["job.created", "job.canceled"]
    assert receiver.types() == types * 2
    assert receiver.ids()[:2] == receiver.ids()[2:] == [delivered.event_id, failed.event_id]
    assert receiver.got[0][1] == receiver.got[2][1]
    assert states(made) == [DELIVERED] * 2
    for unknown in ("Zm9v", "Zm9vI2Jhcg", "", "ü"):
        with pytest.raises(NotFound):
            webhooks.replay_delivery("-", made.id, unknown)
    with pytest.raises(NotFound):
        webhooks.replay_delivery("another", made.id, delivered.id)
    receiver.answer = 410
    presigned()
    drain()
    with pytest.raises(Conflict, match="no more"):
        webhooks.replay_delivery("-", made.id, delivered.id)


def test_an_owner_has_at_most_ten(receiver: Receiver) -> None:
    made = [told(receiver) for _ in range(10)]
    assert len({each.secret for each in made}) == 10
    with pytest.raises(Conflict, match="10 endpoints"):
        told(receiver)
    told(receiver, owner="another")
    webhooks.delete_webhook("-", made[0].id)
    told(receiver)


@pytest.mark.usefixtures("public_only")
@pytest.mark.parametrize(
    "url",
    [
        "https://c9q\\>|F$?'",
        "https://a,b/",
        "https://a.example/%zz",
        "https://[::::]/",
        "https://a.example/#part",
        *("http://shop.example/", "ftp://shop.example/", "https://", "https:///x", "shop.example"),
        *(
            "https://u:p@shop.example/",
            "https://shop.example:99999/",
            "https://[::1]/",
            "https://[x/",
        ),
        *("https://127.0.0.1/", "https://localhost/", "https://169.254.169.254/latest"),
    ],
)
def test_what_is_no_public_https_is_refused(url: str) -> None:
    with pytest.raises(Unprocessable, match="`url`"):
        webhooks.create_webhook("-", WebhookRequest(url, ["job.*"]))


def test_the_routes(receiver: Receiver) -> None:
    with Client(app) as client:

        def call(method: str, path: str, body: object = None) -> tuple[int, Any]:
            answer = getattr(client.http, method)(
                path, body=b"" if body is None else json.dumps(body).encode()
            )
            return answer.status_code, answer.json_body if answer.body else None

        status, made = call("post", "/webhooks", {"url": receiver.url(), "events": ["job.*"]})
        assert (status, made["events"]) == (201, ["job.*"])
        assert call("get", f"/webhooks/{made['id']}")[1]["url"] == receiver.url()
        assert len(call("get", "/webhooks")[1]["webhooks"]) == 1
        some = {"url": receiver.url(), "events": ["job.failed", "job.deleted"]}
        assert call("post", "/webhooks", some)[1]["events"] == some["events"]
        listed = call("get", f"/webhooks/{made['id']}/deliveries?limit=5")
        assert listed == (200, {"deliveries": [], "next_cursor": None})
        replay = f"/webhooks/{made['id']}/deliveries/Zm9v/replay"
        assert call("post", replay)[0] == 404
        for wrong in (
            {"url": receiver.url(), "events": []},
            {"url": receiver.url(), "events": ["job.finished"]},
            {"url": receiver.url()},
            {"url": "https://ü.example/", "events": ["job.*"]},
        ):
            assert call("post", "/webhooks", wrong)[0] == 400
        assert call("delete", f"/webhooks/{made['id']}") == (204, None)
        assert call("get", f"/webhooks/{made['id']}")[1]["code"] == "webhook_not_found"
