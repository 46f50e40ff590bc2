from __future__ import annotations

from chalice.app import Chalice, Rate

app = Chalice(app_name="sluice")


@app.route("/openapi.json", cors=False)
def openapi():
    return {"openapi": "3.1.0"}


@app.on_sqs_message(queue="intake", batch_size=1)
def intake(event):
    return {"batchItemFailures": []}


@app.on_sqs_message(queue="thumbnail", batch_size=1)
def thumbnail(event):
    return {"batchItemFailures": []}


@app.on_sqs_message(queue="watermark", batch_size=1)
def watermark(event):
    return {"batchItemFailures": []}


@app.on_sqs_message(queue="encode", batch_size=1)
def encode(event):
    return {"batchItemFailures": []}


@app.on_sqs_message(queue="transcode_720p", batch_size=1)
def transcode_720p(event):
    return {"batchItemFailures": []}


@app.on_sqs_message(queue="hls_720p", batch_size=1)
def hls_720p(event):
    return {"batchItemFailures": []}


@app.on_sqs_message(queue="dead_letters", batch_size=1)
def dead_letters(event):
    return {"batchItemFailures": []}


@app.schedule(Rate(1, unit=Rate.MINUTES))
def sweep(event):
    return None
