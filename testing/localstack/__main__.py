"""`make test-localstack`: deploy the stack to a real LocalStack, use it, update it and delete it."""

from __future__ import annotations

import io
import json
import shutil
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from infra.deploying.account import Account
from infra.deploying.build import Build, build
from infra.deploying.deploy import delete
from infra.local import cloud
from infra.local.demo import probe_film, probe_picture
from infra.paths import LOCAL
from infra.tools.samples import sample
from sluice.client import Client, Job, until
from testing.localstack.cloud import running

_STAGE = "local"
_JOB_SECONDS = 300
_SAMPLES = LOCAL / "samples"


def main() -> None:
    with _timed("All of it"), running() as url:
        _try(Account(url, "us-east-1", "test", "test"))


def _try(account: Account) -> None:
    folder = LOCAL / "run" / "localstack"
    with _timed("Deployment, with keys for the API"):
        built = build(_STAGE, auth="api_key")
        stack = cloud.put_stack(built, account, folder)
    with Client(stack) as client:
        assert (
            client.http.get(f"{stack.api_url}/jobs/", headers={"x-api-key": ""}).status_code == 403
        )
        with _timed("Image"):
            _image(client)
        with _timed("Form"):
            _form(client)
        with _timed("Drop"):
            _drop(client)
        with _timed("Film, with HLS"):
            film = _film(client)
        with _timed("Estimate"):
            _estimate(client, film)
    with _timed("Update, to links that live shorter"):
        stack = cloud.put_stack(_another(built, folder), account, folder)
    with Client(stack) as client, _timed("The film of before, and an image"):
        assert "X-Amz-Expires=1800&" in client.job(film)["input_url"]
        _image(client)
    with _timed("Deletion"):
        delete(_STAGE, account)
    assert _left(account) == {}


def _another(built: Build, folder: Path) -> Build:
    """A build with other code and another setting, but equal routes: LocalStack cannot update an API."""
    changed = folder / "changed"
    shutil.copytree(built.folder, changed)
    template = json.loads((changed / "sam.json").read_text())
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            variables = resource["Properties"]["Environment"]["Variables"]
            variables["SLUICE_DOWNLOAD_URL_SECONDS"] = "1800"
    (changed / "sam.json").write_text(json.dumps(template))
    with zipfile.ZipFile(changed / "deployment.zip", "a") as code:
        code.writestr("CHANGED", "")
    return replace(built, folder=changed)


def _image(client: Client) -> None:
    job = _succeeded(client, client.upload(sample("photo.jpg", _SAMPLES), "thumbnail", "watermark"))
    assert _probe(client, job) == {"thumbnail": "512 × 384", "watermark": "1600 × 1200"}


def _form(client: Client) -> None:
    photo = sample("photo.jpg", _SAMPLES).read_bytes()
    sent = client.http.post(
        f"{client.stack.api_url}/jobs/upload/",
        files={"file": ("photo.jpg", photo, "image/jpeg")},
        data={"pipeline": "thumbnail"},
    )
    job = _succeeded(client, sent.raise_for_status().json()["job_id"])
    assert _probe(client, job) == {"thumbnail": "512 × 384"}


def _drop(client: Client) -> None:
    """Its job is for operators, which a key is not: its output is looked for where it lies."""
    s3, bucket = client.aws("s3"), client.stack.output_bucket

    def marked() -> set[str]:
        listed = s3.list_objects_v2(Bucket=bucket, Prefix="outputs/").get("Contents", ())
        return {each["Key"] for each in listed if each["Key"].endswith("_photo_wm.jpg")}

    before = marked()
    client.drop(sample("photo.jpg", _SAMPLES), "inbox/photo.jpg", pipeline="watermark")
    (key,) = until(lambda: marked() - before, _JOB_SECONDS)
    with Image.open(s3.get_object(Bucket=bucket, Key=key)["Body"]) as image:
        assert image.size == (1600, 1200)
    assert client.jobs_of("inbox/photo.jpg") == []


def _film(client: Client) -> str:
    steps = ("thumbnail", "watermark", "transcode_720p", "hls_720p")
    job = _succeeded(client, client.upload(sample("plain.mp4", _SAMPLES), *steps))
    film = "1280 × 720, 3.00 s, with sound"
    assert _probe(client, job) == {
        "thumbnail": "512 × 288",
        "watermark": film,
        "transcode_720p": film,
        "hls_720p": film,
    }
    return str(job["id"])


def _estimate(client: Client, film: str) -> None:
    source = client.job(film)["input_url"].partition("?")[0].rpartition("/uploads/")[2]
    body = {"key": f"uploads/{source}", "pipeline": ["hls_720p"]}
    estimate = client.post("/jobs/estimate/", body).raise_for_status().json()
    assert estimate["usage"]["cost_usd"] > 0


def _succeeded(client: Client, job_id: str) -> Job:
    job = client.wait(job_id, _JOB_SECONDS)
    assert job["status"] == "SUCCESS", job
    return job


def _probe(client: Client, job: Job) -> dict[str, str]:
    """Download and decode each output. Returns a description of each."""
    probed = {}
    for output in job["outputs"]:
        if output["type"] == "hls_720p":  # players get only its URL
            probed["hls_720p"] = probe_film(output["url"])
        else:
            content = client.http.get(output["url"]).raise_for_status().content
            is_film = output["content_type"].startswith("video/")
            probed[output["type"]] = (
                probe_film(io.BytesIO(content)) if is_film else probe_picture(content)
            )
    return probed


def _left(account: Account) -> dict[str, list[str]]:
    """Names of the stack's resources that still exist, by kind."""
    session: Any = account.session()

    def names(service: str, operation: str, field: str, key: str) -> list[str]:
        client = session.client(service, endpoint_url=account.endpoint_url)
        return [
            entry[key] if key else entry for entry in getattr(client, operation)().get(field, [])
        ]

    existing = {
        "functions": names("lambda", "list_functions", "Functions", "FunctionName"),
        "buckets": names("s3", "list_buckets", "Buckets", "Name"),
        "tables": names("dynamodb", "list_tables", "TableNames", ""),
        "queues": names("sqs", "list_queues", "QueueUrls", ""),
        "secrets": names("secretsmanager", "list_secrets", "SecretList", "Name"),
        "APIs": names("apigateway", "get_rest_apis", "items", "name"),
    }
    return {
        kind: ours
        for kind, found in existing.items()
        if (ours := [name for name in found if "sluice-local" in name])
    }


@contextmanager
def _timed(what: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
