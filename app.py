"""Entry points: the routes of the API, one Lambda for each queue, the estimator, and the sweep.

Each entry point parses, calls one function, and presents the result. It imports that function's module on the
first call, so that a Lambda loads only its own part.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from chalice.app import Chalice, CloudWatchEvent, IAMAuthorizer, Rate, Request, Response, SQSEvent

from chalicelib.api.http import (
    answer_all_methods,
    base_url,
    caller,
    endpoint_of,
    idempotency_key,
    parse_body,
    query_parameters,
    respond,
)
from chalicelib.settings import settings

app = Chalice(app_name="sluice")
app.api.binary_types = ["multipart/form-data"]
endpoint = partial(endpoint_of, app)

_auth = settings().auth
# A body of any declared type is read as JSON: clients forget the header, and Chalice's own refusal is no
# problem+json.
PUBLIC: dict[str, Any] = {"content_types": ["*/*"]}
ACCESS: dict[str, Any] = {
    "api_key_required": _auth == "api_key",
    "authorizer": IAMAuthorizer() if _auth == "iam" else None,
    **PUBLIC,
}
POST: dict[str, Any] = {"methods": ["POST"], **ACCESS}
READ = ["GET", "HEAD"]


@app.route("/uploads/presign", **POST)
@endpoint()
def presign(request: Request) -> Response:
    from chalicelib.api import requests, uploads

    return respond(uploads.presign(caller(request), parse_body(request, requests.PresignRequest)))


@app.route("/uploads/sign", **POST)
@endpoint()
def sign_upload(request: Request) -> Response:
    from chalicelib.api import requests, signed_uploads

    return respond(signed_uploads.sign(caller(request), parse_body(request, requests.SignRequest)))


@app.route("/jobs/from-key", **POST)
@endpoint()
def from_key(request: Request) -> Response:
    from chalicelib.api import requests, submissions

    body = parse_body(request, requests.FromKeyRequest)
    return respond(submissions.from_key(caller(request), body, idempotency_key(request)), 202)


@app.route("/jobs/estimate", **POST)
@endpoint()
def estimate_job(request: Request) -> Response:
    from chalicelib.api import estimates, requests

    return respond(
        estimates.estimate(caller(request), parse_body(request, requests.FromKeyRequest))
    )


@app.route("/jobs/upload", **POST)
@endpoint()
def upload(request: Request) -> Response:
    from chalicelib.api import uploads

    content_type = request.headers.get("content-type", "")
    return respond(uploads.upload(caller(request), content_type, request.raw_body), 202)


@app.route("/jobs", methods=READ, **ACCESS)
@endpoint(query=("limit", "cursor", "status", "key", "recipe", "created_after", "created_before"))
def list_jobs(request: Request) -> Response:
    from chalicelib.api import job_lists

    return respond(
        job_lists.list_jobs(caller(request), query_parameters(request), base_url(request))
    )


@app.route("/jobs/{job_id}", methods=READ, **ACCESS)
@endpoint()
def get_job(request: Request, job_id: str) -> Response:
    from chalicelib.api import jobs, polling

    return polling.answer(request, jobs.get_job(caller(request), job_id, base_url(request)))


@app.route("/jobs/{job_id}", methods=["DELETE"], **ACCESS)
@endpoint(query=("cancel", "original"))
def delete_job(request: Request, job_id: str) -> Response:
    from chalicelib.api import jobs

    jobs.delete_job(caller(request), job_id, query_parameters(request))
    return Response("", {"Cache-Control": "no-store"}, 204)


@app.route("/jobs/{job_id}/cancel", **POST)
@endpoint()
def cancel_job(request: Request, job_id: str) -> Response:
    from chalicelib.api import jobs

    return respond(jobs.cancel_job(caller(request), job_id, base_url(request)), 202)


@app.route("/jobs/{job_id}/retry", **POST)
@endpoint()
def retry_job(request: Request, job_id: str) -> Response:
    from chalicelib.api import requests, retries

    asked = parse_body(request, requests.RetryRequest, empty="{}")
    return respond(retries.retry_job(caller(request), job_id, asked), 202)


@app.route("/jobs/{job_id}/hls/{token}/{name}", methods=READ, **PUBLIC)
@endpoint(query=None)  # players add parameters of their own
def hls_file(_: Request, job_id: str, token: str, name: str) -> Response:
    from chalicelib.api import hls

    file = hls.hls_file(job_id, token, name)
    headers: dict[str, Any] = {
        "Content-Type": file.content_type,
        "Cache-Control": f"private, max-age={file.max_age}" if file.max_age else "no-cache",
    }
    if file.address:
        return Response("", {**headers, "Location": file.address}, 302)
    return Response(file.playlist, headers, 200)


@app.route("/webhooks", **POST)
@endpoint()
def create_webhook(request: Request) -> Response:
    from chalicelib.api import webhooks

    asked = parse_body(request, webhooks.WebhookRequest)
    return respond(webhooks.create_webhook(caller(request), asked), 201)


@app.route("/webhooks", methods=READ, **ACCESS)
@endpoint()
def list_webhooks(request: Request) -> Response:
    from chalicelib.api import webhooks

    return respond(webhooks.list_webhooks(caller(request)))


@app.route("/webhooks/{webhook_id}", methods=READ, **ACCESS)
@endpoint()
def get_webhook(request: Request, webhook_id: str) -> Response:
    from chalicelib.api import webhooks

    return respond(webhooks.get_webhook(caller(request), webhook_id))


@app.route("/webhooks/{webhook_id}", methods=["DELETE"], **ACCESS)
@endpoint()
def delete_webhook(request: Request, webhook_id: str) -> Response:
    from chalicelib.api import webhooks

    webhooks.delete_webhook(caller(request), webhook_id)
    return Response("", {"Cache-Control": "no-store"}, 204)


@app.route("/webhooks/{webhook_id}/deliveries", methods=READ, **ACCESS)
@endpoint(query=("limit", "cursor"))
def list_deliveries(request: Request, webhook_id: str) -> Response:
    from chalicelib.api import webhooks

    parameters = query_parameters(request)
    return respond(webhooks.list_deliveries(caller(request), webhook_id, parameters))


@app.route("/webhooks/{webhook_id}/deliveries/{delivery_id}/replay", **POST)
@endpoint()
def replay_delivery(request: Request, webhook_id: str, delivery_id: str) -> Response:
    from chalicelib.api import webhooks

    webhooks.replay_delivery(caller(request), webhook_id, delivery_id)
    return Response("", {"Cache-Control": "no-store"}, 202)


@app.route("/openapi.json", methods=READ, **PUBLIC)
@endpoint()
def openapi(request: Request) -> Response:
    from chalicelib.api.openapi import document

    return respond(document(app.routes, base_url(request)))


@app.route("/recipes", methods=READ, **ACCESS)
@endpoint()
def list_recipes(_: Request) -> Response:
    from chalicelib.api import recipes

    return respond(recipes.list_recipes())


answer_all_methods(app)


@app.lambda_function()
def estimate(event: dict[str, Any], context: Any) -> Any:
    from chalicelib.engines import sandbox

    sandbox.start()
    from chalicelib.jobs import estimating

    return estimating.answer(event, context)


@app.on_sqs_message(queue="intake")
def intake(event: SQSEvent) -> Any:
    from chalicelib.engines import sandbox

    sandbox.start()
    from chalicelib.jobs import consumer, intake

    return consumer.consume(event.to_dict(), event.context, "intake", intake.take_in)


def _pool(queue: str, *decoders: str, sandboxed: bool = True) -> Callable[..., Any]:
    """The Lambda of a pool of workers; its sandbox, if any, imports the modules `decoders` in advance."""

    def run_tasks(event: SQSEvent) -> Any:
        if sandboxed:
            from chalicelib.engines import sandbox

            sandbox.start(*decoders)
        from chalicelib.jobs import consumer, runner

        return consumer.consume(event.to_dict(), event.context, queue, runner.run_task)

    run_tasks.__name__ = queue  # Chalice takes the Lambda's name from it
    handler: Callable[..., Any] = app.on_sqs_message(queue=queue)(run_tasks)
    return handler


pictures = _pool("pictures", "chalicelib.engines.pillow")
encode = _pool("encode")
audio = _pool("audio")
package = _pool("package", sandboxed=False)


@app.on_sqs_message(queue="events")
def events(event: SQSEvent) -> Any:
    from chalicelib.api.told import told
    from chalicelib.jobs import consumer, telling

    handle = partial(telling.handle, told)
    return consumer.consume(event.to_dict(), event.context, "events", handle)


@app.on_sqs_message(queue="dead_letters")
def dead_letters(event: SQSEvent) -> Any:
    from chalicelib.jobs import consumer, dead_letters

    return consumer.consume(event.to_dict(), event.context, "dead_letters", dead_letters.bury)


@app.schedule(Rate(1, unit=Rate.MINUTES))
def sweep(event: CloudWatchEvent) -> None:
    from chalicelib.invocation import Invocation
    from chalicelib.jobs import sweep

    sweep.sweep(Invocation(event.context).work_seconds)
