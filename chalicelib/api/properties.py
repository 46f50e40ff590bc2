"""Each property of an answer, for OpenAPI: a description, an example, and what its type does not say."""

from __future__ import annotations

from chalicelib.api.descriptions import (
    EXAMPLE_CURSOR,
    EXAMPLE_JOB_ID,
    EXAMPLE_KEY,
    Json,
    described,
    reference,
)

_TIME = "2026-11-29T18:06:18.752043Z"
_SIGNED = "https://sluice-upload.s3.us-east-1.amazonaws.com/{}?X-Amz-Signature=5f1c"
_COUNT = {"minimum": 0}

# By the property's name; by `Shape.name` where a name means more than one thing.
PROPERTIES: dict[str, Json] = {
    "key": described("The file's key in the upload bucket.", EXAMPLE_KEY),
    "filename": described("The file's name, as the client gave it.", "Übergröße.jpg"),
    "job_id": described("The id of the job.", EXAMPLE_JOB_ID, format="uuid"),
    "Presigned.job_id": described(
        "The job that starts when the file arrives; only where a pipeline was named.",
        EXAMPLE_JOB_ID,
        format="uuid",
    ),
    "Presigned.url": described(
        "Where to PUT the file, for an hour unless the stage says otherwise.",
        _SIGNED.format(EXAMPLE_KEY),
        format="uri",
    ),
    "Signed.url": described(
        "Where to send the request, for an hour unless the stage or the call says less.",
        _SIGNED.format(EXAMPLE_KEY),
        format="uri",
    ),
    "Signed.key": described(
        "The upload's key; only of its first request. Later ones name it.", EXAMPLE_KEY
    ),
    "Signed.headers": described(
        "Headers to send with the request; only where there are any.", {"Content-Type": "video/mp4"}
    ),
    "Signed.job_id": described(
        "The job that starts when the file arrives; only where a pipeline was named.",
        EXAMPLE_JOB_ID,
        format="uuid",
    ),
    "headers": described("Headers to send with the file.", {"Content-Type": "image/jpeg"}),
    "jobs": described("At most `limit` of them.", []),
    "next_cursor": described(
        "The `cursor` of the next page; null on the last one.", EXAMPLE_CURSOR
    ),
    "JobView.id": described("The id of the job.", EXAMPLE_JOB_ID, format="uuid"),
    "status": described("Where it stands.", "SUCCESS", **reference("Status")),
    "progress": described(
        "In percent; at most 99 before SUCCESS. Of a canceled job, what it had reached.",
        100,
        minimum=0,
        maximum=100,
    ),
    "eta_seconds": described(
        "How long it will still take at the speed it has had, once that can be told.", 12
    ),
    "outputs": described("What has been made so far.", []),
    "OutputView.name": described("The step that made it.", "thumbnail"),
    "OutputView.type": described("The same.", "thumbnail"),
    "format": described(
        "What it is, in a word; empty where nothing says it.",
        "jpeg",
        enum=["jpeg", "webp", "avif", "png", "mp4", "hls", ""],
    ),
    "placeholder": described(
        "What a page shows until the picture is there; only where it was asked for.",
        "1QcSHQRnh493V4dIh4eXh1h4kJUI",
    ),
    "color": described("That most of the picture has; only of pictures.", "#7a6b52"),
    "s3_key": described("Its key in the output bucket.", "outputs/d7b8f4bf_photo_thumb.jpg"),
    "OutputView.url": described(
        "A link that needs no credentials; that of HLS plays as it is.",
        _SIGNED.format("outputs/d7b8f4bf_photo_thumb.jpg"),
        format="uri",
    ),
    "dash_url": described(
        "An MPD of the same film, for players of DASH.",
        "https://api.example/api/jobs/d7b8f4bf-5809-4c62-97a4-c008686e881d/hls/token/manifest.mpd",
        format="uri",
    ),
    "expires_at": described("When the link stops to work.", _TIME, format="date-time"),
    "size": described("In bytes; of all files, for HLS.", 24816, **_COUNT),
    "content_type": described("Its media type.", "image/jpeg"),
    "width": described("In pixels.", 512, **_COUNT),
    "height": described("In pixels.", 384, **_COUNT),
    "duration": described("In seconds; null for pictures.", 60.5),
    "complete": described(
        "False while it still grows, as HLS does from its first seconds on.", True
    ),
    "error": described("What went wrong, in a sentence; empty where nothing did.", ""),
    "error_code": described("The same for programs.", "", **reference("FailureCode")),
    "pipeline": described(
        "What is made, in the order of the outputs.",
        ["thumbnail", {"make": "image", "widths": [320, 640]}],
    ),
    "metadata": described("What the client gave with the file or the job.", {"order": "4711"}),
    "steps": described("Each of them, as it stands.", []),
    "StepView.name": described("Its name, once in a pipeline.", "thumbnail"),
    "warnings": described("What came out other than wished, in sentences.", []),
    "encoding": described("How a film is encoded, and why so.", "In 12 chunks at once."),
    "usage": described("What it used and cost; null before the end of a job.", None),
    "EstimateView.usage": described("What it would use and cost.", None),
    "created_at": described("When the job was asked for.", _TIME, format="date-time"),
    "updated_at": described("When the job last changed.", _TIME, format="date-time"),
    "checksum_crc64nvme": described(
        "CRC-64/NVME of the original as S3 knows it, in Base64; empty where it knows none.",
        "ejnX7aEJzrg=",
    ),
    "input_url": described("A link to the original.", _SIGNED.format(EXAMPLE_KEY), format="uri"),
    "input_url_expires_at": described(
        "When the link to the original stops to work.", _TIME, format="date-time"
    ),
    "kind": described(
        "What the file is, by its content.", "image", enum=["image", "video", "audio"]
    ),
    "tasks": described("How many tasks the job would have.", 1, **_COUNT),
    "functions": described("By the Lambda that used it.", {}),
    "bytes_read": described("Read from S3.", 121417, **_COUNT),
    "bytes_written": described("Written to S3.", 616547, **_COUNT),
    "bytes_stored": described("Of all outputs.", 616000, **_COUNT),
    "cost_usd": described("In US dollars, at list prices.", 4.692e-05, **_COUNT),
    "cost_usd_by_service": described("The same, by what is paid for.", None),
    "cost_usd_by_step": described(
        "The same, by step: what several of them needed is divided among them. Empty where a job was given "
        "up.",
        {"thumbnail": 4.692e-05},
    ),
    "storage_usd_a_month": described("What keeping the outputs costs.", 1.3195e-05, **_COUNT),
    "prices_of": described("The day of the prices.", "2026-11-24"),
    "invocations": described("How often it was invoked.", 1, **_COUNT),
    "gb_seconds": described("Memory times time.", 0.641, **_COUNT),
    "requests": described("How often it called each service.", None),
    "Requests.dynamodb": described("Of DynamoDB.", 6, **_COUNT),
    "Requests.s3": described("Of S3.", 4, **_COUNT),
    "Requests.sqs": described("Of SQS.", 2, **_COUNT),
    "lambda": described("Lambda, with its disk and invocations.", 1.4595e-05, **_COUNT),
    "dynamodb": described("DynamoDB.", 1.4125e-05, **_COUNT),
    "s3": described("S3, without storage.", 1.62e-05, **_COUNT),
    "sqs": described("SQS.", 2e-06, **_COUNT),
    "Problem.type": described("Always about:blank: `code` tells more.", "about:blank"),
    "title": described("What the status means.", "Not Found"),
    "Problem.status": described("The status of the answer.", 404, minimum=400, maximum=599),
    "detail": described(
        "What is wrong and what to do, in a sentence.", f"There is no job {EXAMPLE_JOB_ID}."
    ),
    "code": described("The same for programs.", "job_not_found", **reference("RefusalCode")),
    "errors": described("What is wrong at which places; left out where none can be named.", []),
    "pointer": described("Where: `#` and a JSON Pointer (RFC 6901).", "#/pipeline/0/widths/0"),
    "retry_of": described("The id of the job that this one retries, if it does.", ""),
    "recipe": described(
        "The recipe that says so, with its version; empty where a pipeline was asked for.",
        "web@3f2a9c",
    ),
    "recipes": described("Each by its name.", []),
    "drops": described("Recipes by the beginning of a file's key.", []),
    "schema": described("The JSON Schema of a pipeline.", {"type": "array", "items": {}}),
    "RecipeView.name": described("What a request calls it.", "web"),
    "version": described("A digest of what it makes.", "3f2a9c"),
    "description": described("What it is for.", "A page's pictures, and films to stream"),
    "image": described("What it makes of an image.", ["thumbnail"]),
    "video": described("What it makes of a film.", ["thumbnail", "hls_720p"]),
    "audio": described("What it makes of sound.", [{"make": "audio"}]),
    "prefix": described("How the key begins.", "inbox/products/"),
    "DropView.recipe": described("The name of the recipe.", "web"),
    "deliveries": described("At most `limit` of them.", []),
    "DeliveryView.id": described(
        "The id of the delivery.", "ZDdiOGY0YmYtNTgwOS00YzYyLTk3YTQtYzAwODY4NmU4ODFkIzM"
    ),
    "event_id": described("Its `webhook-id`.", "evt_5f2b0c6e1f4a4b6c8d9e0f1a2b3c4d5e"),
    "DeliveryView.type": described("Of the event.", "job.succeeded"),
    "state": described(
        "What came of it so far.", "delivered", enum=["waiting", "delivered", "given_up"]
    ),
    "attempts": described("How often it was sent.", 1, **_COUNT),
    "status_code": described("Of the last answer; null where there was none.", 200),
    "DeliveryView.error": described(
        "Why the last attempt failed, in a sentence; empty where it did not.", ""
    ),
    "DeliveryView.created_at": described("When it was made.", _TIME, format="date-time"),
    "tried_at": described("When the last attempt ended; null before.", _TIME, format="date-time"),
    "next_at": described(
        "When the next attempt is due; null where there is none.", None, format="date-time"
    ),
    "webhooks": described("At most ten of them.", []),
    "WebhookView.id": described(
        "The id of the endpoint.", "1f0f6f0e-5a0d-4f0e-8a57-3a1f6f6c2f55", format="uuid"
    ),
    "WebhookView.url": described(
        "Where events are sent.", "https://shop.example/sluice", format="uri"
    ),
    "WebhookView.created_at": described("When it was made.", _TIME, format="date-time"),
    "events": described("Of which types.", ["job.*"]),
    "disabled": described("Why it is told no more; empty where it is told.", ""),
    "secret": described(
        "It signs what is sent; only in the answer that made the endpoint.",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=",
    ),
    "request_id": described(
        "To be told to whoever runs this.", "7139f063-80b4-486d-99b3-26a12c43a429"
    ),
}
