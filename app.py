"""Entry points: the routes of the API, one Lambda for each queue, and the sweep.

Each parses, calls one function, presents. What that function needs is imported on its first call,
so that a Lambda loads only its own part.
"""

from __future__ import annotations

from typing import Any

from chalice.app import Chalice, CloudWatchEvent, IAMAuthorizer, Rate, Request, Response, SQSEvent

from chalicelib.api.http import (
    answer_all_methods,
    base_url,
    caller,
    idempotency_key,
    json,
    query,
    read,
    views_of,
)
from chalicelib.settings import settings

app = Chalice(app_name="sluice")
app.api.binary_types = ["multipart/form-data"]
view = views_of(app)

_auth = settings().auth
# Any declared type is read as JSON: clients forget the header, and Chalice's own refusal has another form.
PUBLIC: dict[str, Any] = {"content_types": ["*/*"]}
ACCESS: dict[str, Any] = {
    "api_key_required": _auth == "api_key",
    "authorizer": IAMAuthorizer() if _auth == "iam" else None,
    **PUBLIC,
}
JSON_BODY: dict[str, Any] = {"methods": ["POST"], **ACCESS}
READ = ["GET", "HEAD"]


@app.route("/uploads/presign", **JSON_BODY)
@view()
def presign(request: Request) -> Response:
    from chalicelib.api import calls

    return json(calls.presign(caller(request), read(request, calls.PresignRequest)))


@app.route("/jobs/from-key", **JSON_BODY)
@view()
def from_key(request: Request) -> Response:
    from chalicelib.api import calls

    wanted = read(request, calls.FromKeyRequest)
    return json(calls.from_key(caller(request), wanted, idempotency_key(request)), 202)


@app.route("/jobs/estimate", **JSON_BODY)
@view()
def estimate_job(request: Request) -> Response:
    from chalicelib.api import calls

    return json(calls.estimate(caller(request), read(request, calls.FromKeyRequest)))


@app.route("/jobs/upload", **JSON_BODY)
@view()
def upload(request: Request) -> Response:
    from chalicelib.api import calls

    content_type = request.headers.get("content-type", "")
    return json(calls.upload(caller(request), content_type, request.raw_body), 202)


@app.route("/jobs", methods=READ, **ACCESS)
@view(("limit", "cursor", "status", "key"))
def list_jobs(request: Request) -> Response:
    from chalicelib.api import calls

    return json(calls.list_jobs(caller(request), query(request), base_url(request)))


@app.route("/jobs/{job_id}", methods=READ, **ACCESS)
@view()
def get_job(request: Request, job_id: str) -> Response:
    from chalicelib.api import calls

    return json(calls.get_job(caller(request), job_id, base_url(request)))


@app.route("/jobs/{job_id}/hls/{token}/{name}", methods=READ, **PUBLIC)
@view(None)  # players add parameters of their own
def hls_file(_: Request, job_id: str, token: str, name: str) -> Response:
    from chalicelib.api import calls

    file = calls.hls_file(job_id, token, name)
    kept = f"private, max-age={file.kept_seconds}" if file.kept_seconds else "no-cache"
    headers: dict[str, Any] = {"Content-Type": file.content_type, "Cache-Control": kept}
    if isinstance(file.found, bytes):
        return Response(file.found.decode(), headers, 200)
    return Response("", {**headers, "Location": file.found}, 302)


@app.route("/openapi.json", methods=READ, **PUBLIC)
@view()
def openapi(request: Request) -> Response:
    from chalicelib.api.openapi import document

    return json(document(base_url(request)))


answer_all_methods(app)


@app.lambda_function()
def estimate(event: dict[str, Any], context: Any) -> Any:
    from chalicelib.engines import sandbox

    sandbox.start()
    from chalicelib.jobs import quoting

    return quoting.quote(event, context)


@app.on_sqs_message(queue="intake")
def intake(event: SQSEvent) -> Any:
    from chalicelib.engines import sandbox

    sandbox.start()
    from chalicelib.jobs import consumer, intake

    return consumer.consume(event.to_dict(), event.context, "intake", intake.take_in)


def _work(event: SQSEvent, queue: str) -> Any:
    from chalicelib.jobs import consumer, runner

    return consumer.consume(event.to_dict(), event.context, queue, runner.run_task)


def _decode(event: SQSEvent, queue: str, *modules: str) -> Any:
    from chalicelib.engines import sandbox

    sandbox.start(*modules)
    return _work(event, queue)


@app.on_sqs_message(queue="thumbnail")
def thumbnail(event: SQSEvent) -> Any:
    return _decode(event, "thumbnail", "chalicelib.engines.pillow")


@app.on_sqs_message(queue="watermark")
def watermark(event: SQSEvent) -> Any:
    return _decode(event, "watermark", "chalicelib.engines.pillow")


@app.on_sqs_message(queue="encode")
def encode(event: SQSEvent) -> Any:
    return _decode(event, "encode")


@app.on_sqs_message(queue="transcode_720p")
def transcode_720p(event: SQSEvent) -> Any:
    return _work(event, "transcode_720p")


@app.on_sqs_message(queue="hls_720p")
def hls_720p(event: SQSEvent) -> Any:
    return _work(event, "hls_720p")


@app.on_sqs_message(queue="dead_letters")
def dead_letters(event: SQSEvent) -> Any:
    from chalicelib.jobs import consumer, dead_letters

    return consumer.consume(event.to_dict(), event.context, "dead_letters", dead_letters.bury)


@app.schedule(Rate(1, unit=Rate.MINUTES))
def sweep(event: CloudWatchEvent) -> None:
    from chalicelib.invocation import Invocation
    from chalicelib.jobs import sweep

    sweep.sweep(Invocation(event.context).work_seconds)
