"""A client of the API, as a user would write one. The demo, benchmarks and end-to-end tests use it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx

from sluice import uploads
from sluice.stack import Stack

ENDED = ("SUCCESS", "FAILURE", "CANCELED")
Job = dict[str, Any]


class Client:
    """Calls the API of a stack, and S3 with the credentials of the stack's description."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        headers = {"x-api-key": stack.api_key} if stack.api_key else {}
        # The first call starts a Lambda, which takes long on a busy laptop.
        self.http = httpx.Client(timeout=300, headers=headers, trust_env=False)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def aws(self, service: str) -> Any:
        """A boto3 client of the stack's cloud."""
        session = boto3.Session(
            self.stack.access_key_id, self.stack.secret_access_key, region_name=self.stack.region
        )
        return session.client(service, endpoint_url=self.stack.aws_endpoint_url)  # type: ignore[call-overload]

    def get(self, path: str, **parameters: str) -> httpx.Response:
        return self.http.get(self.stack.api_url + path, params=parameters or None)

    def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        return self.http.post(self.stack.api_url + path, json=body, headers=headers)

    def upload(self, path: Path, *pipeline: Any, resume: Path | None = None) -> str:
        """Upload a file, above 100 MB in parts. Returns the id of the job that the upload starts.

        With `resume`, a file that is written meanwhile, an upload in parts goes on where an earlier call for
        the same file was broken off.
        """
        size = path.stat().st_size
        about = {"filename": path.name, "pipeline": list(pipeline), "size": size}
        if size <= uploads.MOST_PUT_BYTES:
            return uploads.put(self.http, self.sign, path, about)
        return uploads.send_in_parts(self.http, self.sign, path, about, resume)

    def sign(self, request: dict[str, Any]) -> dict[str, Any]:
        """Have a request of an upload to S3 signed."""
        signed: dict[str, Any] = self.post("/uploads/sign/", request).raise_for_status().json()
        return signed

    def drop(self, path: Path, key: str, **metadata: str) -> None:
        """Put a file into the upload bucket, as `aws s3 cp` does; `metadata` becomes the object's own."""
        extra = {"Metadata": metadata} if metadata else {}
        self.aws("s3").upload_file(str(path), self.stack.upload_bucket, key, ExtraArgs=extra)

    def job(self, job_id: str) -> Job:
        job: Job = self.get(f"/jobs/{job_id}/").raise_for_status().json()
        return job

    def cancel(self, job_id: str) -> Job:
        job: Job = self.post(f"/jobs/{job_id}/cancel/").raise_for_status().json()
        return job

    def retry(self, job_id: str, **what: str) -> str:
        """Have a job tried again; the id of the job that does. `what` is the body of the call."""
        answer = self.post(f"/jobs/{job_id}/retry/", what).raise_for_status()
        return str(answer.json()["job_id"])

    def delete(self, job_id: str, **flags: str) -> None:
        """Delete a job; `flags` are parameters of the call, like cancel="true"."""
        path = f"{self.stack.api_url}/jobs/{job_id}/"
        self.http.delete(path, params=flags or None).raise_for_status()

    def jobs_of(self, key: str) -> list[Job]:
        jobs: list[Job] = self.get("/jobs/", key=key).raise_for_status().json()["jobs"]
        return jobs

    def follow(self, job_id: str, seconds: float = 600, pause: float = 0.1) -> Iterator[Job]:
        """Yield the job every `pause` seconds until it has ended. Raises TimeoutError after `seconds`."""
        deadline = time.monotonic() + seconds
        job: Job = {}
        etag = ""
        while time.monotonic() < deadline:
            url = f"{self.stack.api_url}/jobs/{job_id}/"
            answer = self.http.get(url, headers={"If-None-Match": etag} if etag else None)
            if answer.status_code != httpx.codes.NOT_MODIFIED:
                job = answer.raise_for_status().json()
                etag = answer.headers["ETag"]
            yield job
            if job["status"] in ENDED:
                return
            time.sleep(pause)
        raise TimeoutError(f"The job {job_id} has not ended after {seconds} s: {job}")

    def wait(self, job_id: str, seconds: float = 600, pause: float = 0.1) -> Job:
        """Return the job once it has ended. Raises TimeoutError."""
        *_, last = self.follow(job_id, seconds, pause)
        return last

    def wait_for_drop(self, key: str, seconds: float = 600) -> Job:
        """Return the job of a dropped file once it has ended. Raises TimeoutError."""
        (job,) = until(lambda: self.jobs_of(key), seconds)
        return self.wait(job["id"], seconds)


def until[T](look: Callable[[], T], seconds: float) -> T:
    """Call `look` until its result is true, and return that. Raises TimeoutError after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := look():
            return result
        time.sleep(0.1)
    raise TimeoutError(f"Nothing was found within {seconds} s.")
