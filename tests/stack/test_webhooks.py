"""A receiver is told by the deployed Lambdas, each with its own rights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook

from sluice.client import Client, until
from testing.receiver import Receiver

pytestmark = [pytest.mark.stack, pytest.mark.media]
Sample = Callable[[str], Path]
# Nothing takes as long on any machine, in seconds: what does will never come.
PATIENCE = 600


def test_a_receiver_is_told_from_creation_to_deletion(client: Client, sample: Sample) -> None:
    receiver = Receiver()
    made = client.post("/webhooks/", {"url": receiver.url(), "events": ["job.*"]})
    assert made.status_code == 201
    webhook = made.json()
    address = f"{client.stack.api_url}/webhooks/{webhook['id']}/"
    try:
        assert "secret" not in client.http.get(address).json()
        job = client.wait(client.upload(sample("photo.jpg"), "thumbnail"))
        assert job["status"] == "SUCCESS"
        of_job = ("job.created", "job.started", "job.output_ready", "job.succeeded")
        until(lambda: set(of_job) <= set(receiver.types()), PATIENCE)
        client.delete(job["id"])
        until(lambda: "job.deleted" in receiver.types(), PATIENCE)
        first = dict(zip(receiver.ids(), receiver.types(), strict=True))
        assert tuple(first.values()) == (*of_job, "job.deleted")
        for headers, body in receiver.got:
            told = Webhook(webhook["secret"]).verify(body, headers)
            assert told["data"]["id"] == job["id"]
    finally:
        assert client.http.delete(address).status_code == 204
        receiver.close()
    assert client.http.get(address).status_code == 404
