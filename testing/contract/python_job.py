"""A whole job by the client that openapi-python-client generates: python python_job.py API FILE"""

from __future__ import annotations

import json
import sys
import time
import uuid
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
from sluice_client import Client
from sluice_client.api.jobs import estimate, from_key, get_job, list_jobs
from sluice_client.api.uploads import presign, upload
from sluice_client.models import (
    FromKeyRequest,
    JobView,
    PresignRequest,
    Problem,
    Status,
    UploadBody,
)
from sluice_client.models import PipelineItemType0 as Preset
from sluice_client.types import File


def must(answer: Any) -> Any:
    """Return the answer; fail if it is a refusal."""
    if answer is None or isinstance(answer, Problem):
        raise SystemExit(f"Refused: {answer}")
    return answer


def ended(client: Client, job_id: uuid.UUID) -> JobView:
    for _ in range(600):
        job = must(get_job.sync(job_id, client=client))
        if job.status == Status.SUCCESS:
            return job
        if job.status == Status.FAILURE:
            raise SystemExit(f"{job.error_code}: {job.error}")
        time.sleep(0.2)
    raise SystemExit("The job has not ended.")


def main(api: str, path: Path) -> None:
    client = Client(base_url=api, timeout=httpx.Timeout(60))
    content = path.read_bytes()
    request = PresignRequest(path.name, "image/jpeg", size=len(content))
    ticket = must(presign.sync(client=client, body=request))
    headers = ticket.headers.to_dict()
    httpx.put(ticket.url, content=content, headers=headers).raise_for_status()
    wanted = FromKeyRequest(ticket.key, [Preset.THUMBNAIL, Preset.WATERMARK])
    estimated = must(estimate.sync(client=client, body=wanted))
    accepted = must(from_key.sync(client=client, body=wanted, idempotency_key=str(uuid.uuid4())))
    job = ended(client, accepted.job_id)
    for output in job.outputs:
        assert len(httpx.get(output.url).content) == output.size
    form = UploadBody(File(BytesIO(content), path.name, "image/jpeg"), "thumbnail")
    sent = must(upload.sync(client=client, body=form))
    ended(client, sent.job_id)
    page = must(list_jobs.sync(client=client, status=Status.SUCCESS, limit=1))
    refused = get_job.sync(uuid.uuid4(), client=client)
    printed = {
        "filename": job.filename,
        "outputs": [str(output.type_) for output in job.outputs],
        "kind": str(estimated.kind),
        "newest": page.jobs[0].id == sent.job_id,
        "refused": str(refused.code) if isinstance(refused, Problem) else None,
    }
    print(json.dumps(printed))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
