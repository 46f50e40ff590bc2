"""The call that has a job that ended tried again, as a new job."""

from __future__ import annotations

from chalicelib.api.descriptions import JOB_ID, Answer, CallDescription
from chalicelib.api.jobs import own_job
from chalicelib.api.recipes import check_asked
from chalicelib.api.requests import RetryRequest
from chalicelib.api.submissions import accepted, chosen
from chalicelib.api.uploads import open_file
from chalicelib.api.views import Accepted
from chalicelib.errors import Conflict
from chalicelib.formats.sniff import HEAD_BYTES
from chalicelib.model.job import Job
from chalicelib.model.step import SUCCESS, TERMINAL
from chalicelib.operations.choosing import Asked
from chalicelib.operations.pipelines import canonical
from chalicelib.store import identities, jobs
from chalicelib.telemetry import logger


def retry_job(caller: str, job_id: str, request: RetryRequest) -> Accepted:
    """The job that retries a job of the caller: one for all calls, until it fails, is canceled or deleted.

    Raises NotFound, Gone, Conflict, Unprocessable.
    """
    job, standing = own_job(caller, job_id)
    if job.status not in TERMINAL:
        detail = f"The job is {job.status}: wait for its end, or cancel it, before it is retried."
        raise Conflict("job_not_ended", detail)
    file = open_file(caller, job.source_key, HEAD_BYTES)
    if job.etag not in ("", file.original.etag):
        detail = f"The file {job.source_key} was overwritten since the job has read it."
        raise Conflict("source_replaced", detail)
    asked = chosen(_asked(job, request), file)
    steps = canonical(asked.pipeline)
    anew = request.steps == "all"
    if job.status == SUCCESS and not anew and set(steps) == set(canonical(job.pipeline)):
        detail = "The job has succeeded with these steps: `all` steps can be made anew."
        raise Conflict("nothing_to_retry", detail)
    # Before the new job looks for them.
    jobs.keep_files(job_id)
    new_id = identities.job_of_retry(job, file.original.etag, steps, anew=anew)
    jobs.create(
        new_id,
        job.owner,
        job.source_key,
        asked.pipeline,
        recipe=asked.recipe,
        filename=job.filename,
        etag=file.original.etag,
        max_usd=job.max_usd,
        metadata=standing.metadata,
        retry_of=job_id,
        anew=anew or None,
    )
    logger.info("Retried", by=new_id)
    new = jobs.get(new_id)
    return accepted(new) if new else Accepted(new_id)


def _asked(job: Job, request: RetryRequest) -> Asked:
    """What is to be made. Raises Unprocessable where the job's recipe is gone."""
    name = job.recipe.partition("@")[0]
    if request.recipe == "latest" and name:
        return check_asked(None, name)
    return Asked(job.pipeline, job.recipe)


DESCRIPTIONS = {
    "retry_job": CallDescription(
        "retryJob",
        "Jobs",
        "Try a job again",
        "A new job makes what the job has failed to make. What is whole of the job is copied, and never "
        "encoded again, for as long as its files are kept: those of steps that have not succeeded for a day. "
        "Repeating the call gives the same new job, until that fails, is canceled or deleted.",
        {"202": Answer("The new job", Accepted)},
        ("400", "404", "409", "410", "422"),
        body=RetryRequest,
        parameters=(JOB_ID,),
        needs_body=False,
    ),
}
