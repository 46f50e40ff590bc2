"""Every code that a refused call or a failed job can have: what it means, and what to do.

docs/errors.md lists the same codes. tests/unit/test_codes.py compares both with the codes that are raised.
"""

from __future__ import annotations

from typing import NamedTuple


class Meaning(NamedTuple):
    """The meaning of a refused call's code."""

    statuses: tuple[int, ...]  # HTTP statuses with which it is answered
    text: str


# Codes of the API's own refusals.
REFUSALS = {
    "malformed_json": Meaning((400,), "The body is not JSON. Send an object in UTF-8."),
    "malformed_request": Meaning(
        (400,),
        "A field, parameter or header is missing, unknown, repeated or out of bounds. `detail` names it.",
    ),
    "malformed_cursor": Meaning(
        (400,), "`cursor` is not a `next_cursor` of an earlier answer. Leave it away to start anew."
    ),
    "malformed_form": Meaning(
        (400,), "The form cannot be read, or has fields that are none of ours. `detail` names them."
    ),
    "file_missing": Meaning((400,), "The form has no field `file` with a named file in it."),
    "token_invalid": Meaning(
        (403,), "The link to HLS is forged, or another job's. Ask for the job again."
    ),
    "token_expired": Meaning((403,), "The link to HLS has expired. Ask for the job again."),
    "delete_refused": Meaning(
        (403,), "A DELETE of a file is not signed; one with an `uploadId` aborts its upload."
    ),
    "unknown_caller": Meaning((403,), "API Gateway does not say who calls. It is a fault of ours."),
    "job_not_found": Meaning(
        (404,), "The caller has no job with this id, or no longer. Another's is as none."
    ),
    "webhook_not_found": Meaning(
        (404,), "The caller has no endpoint with this id. Another's is as none."
    ),
    "delivery_not_found": Meaning(
        (404,), "The endpoint has no such delivery, or an attempt is under way."
    ),
    "key_not_found": Meaning(
        (404,),
        "The caller has no file with this key in the upload bucket. Another's is as none; dropped ones are "
        "for operators.",
    ),
    "file_not_found": Meaning((404,), "The HLS rendition has no file of this name, or not yet."),
    "method_not_allowed": Meaning(
        (405,), "The path is there, but not for this method. `Allow` has those that it takes."
    ),
    "upload_incomplete": Meaning(
        (409,), "A URL was given for this key, but nothing was uploaded to it yet. PUT it first."
    ),
    "upload_closed": Meaning(
        (409,), "The upload in parts is complete, or its time is over. Begin a new one."
    ),
    "too_many_webhooks": Meaning(
        (409,), "The caller has as many endpoints as an owner may have. Delete one first."
    ),
    "webhook_disabled": Meaning(
        (409,), "The receiver has answered 410: the endpoint is told no more. Make a new one."
    ),
    "job_ended": Meaning(
        (409,), "The job has ended as SUCCESS or FAILURE: there is nothing to cancel."
    ),
    "job_not_ended": Meaning(
        (409,),
        "The job has not ended: wait, or cancel it first. Who deletes it may say `cancel=true`.",
    ),
    "nothing_to_retry": Meaning(
        (409,), "The job has succeeded with the same steps. Ask for `all` steps to make them anew."
    ),
    "source_replaced": Meaning(
        (409,), "The file was overwritten since. Ask for a job for what it is now: from-key."
    ),
    "original_kept": Meaning(
        (403,), "The stage keeps originals. Its operator may allow to delete them with their jobs."
    ),
    "original_in_use": Meaning(
        (409,), "Another job is at work on the file, which can only be deleted with that one."
    ),
    "job_deleted": Meaning((410,), "The job was deleted, and what it had made."),
    "job_canceled": Meaning(
        (410,),
        "The job was canceled before this stream was complete. What is left of it goes after a day.",
    ),
    "source_too_large": Meaning((413, 422), "The file is larger than this stage takes."),
    "form_too_large": Meaning(
        (413,), "A form may have 4 MB. Upload to the URL of POST /uploads/presign/ instead."
    ),
    "unsupported_type": Meaning((415,), "The body is not multipart/form-data."),
    "key_required": Meaning(
        (422,),
        "This stage does not know who calls: it lists the jobs of one `key`, which is to be named.",
    ),
    "size_differs": Meaning(
        (422,), "The file was uploaded with another size than was announced. Upload it anew."
    ),
    "size_required": Meaning((422,), "This stage wants to know the file's `size` before."),
    "pipeline_required": Meaning(
        (422,), "What was said is of a job: name the pipeline, too, or say it when you ask for one."
    ),
    "empty_pipeline": Meaning((422,), "The pipeline has no step. Leave it away for the default."),
    "unknown_step": Meaning((422,), "The pipeline names a preset that there is not."),
    "repeated_step": Meaning(
        (422,),
        "Two steps of the pipeline have the same name, or their files would. `errors` says which.",
    ),
    "invalid_step": Meaning(
        (422,),
        "An object of the pipeline has a parameter that there is not, or a value that it cannot have. "
        "`errors` says which, and what there is.",
    ),
    "pipeline_too_long": Meaning((422,), "The pipeline has too many steps, or too many bytes."),
    "unknown_recipe": Meaning((422,), "There is no recipe of this name. GET /recipes/ lists them."),
    "recipe_and_pipeline": Meaning((422,), "Name a recipe or send a pipeline, not both."),
    "invalid_metadata": Meaning(
        (422,),
        "The metadata are more than a job keeps, or have a name that none may have. `detail` says which.",
    ),
    "webhook_url_refused": Meaning(
        (422,), "The endpoint is not a public address of https. `detail` says what it has to be."
    ),
    "unknown_status": Meaning((422,), "There is no such status to list jobs by."),
    "idempotency_key_reused": Meaning(
        (422,), "This Idempotency-Key came with another body before. Use a new one."
    ),
    "not_looked_at": Meaning(
        (422,), "The file could not be looked at within this call. Try again, or start the job."
    ),
    "estimates_busy": Meaning(
        (429,),
        "Too many files are looked at for estimates at this moment. Ask again in some seconds.",
    ),
    "internal_error": Meaning((500,), "Something unexpected happened here. Try again."),
}

# Codes of API Gateway's refusals, which the API does not see.
GATEWAY = {
    "bad_request": Meaning((400,), "The request cannot be understood."),
    "unauthorized": Meaning((401,), "The request does not say who sends it."),
    "invalid_api_key": Meaning((403,), "The header x-api-key is missing, or names no key."),
    "access_denied": Meaning((403,), "The sender may not do this."),
    "invalid_signature": Meaning((403,), "The request's AWS signature is not right."),
    "expired_token": Meaning((403,), "The credentials of the request have expired."),
    "forbidden": Meaning((403,), "Nothing is at this path, or the request is not signed."),
    "filtered": Meaning((403,), "A firewall rule refused the request."),
    "not_found": Meaning((404,), "There is nothing at this path."),
    "too_large": Meaning((413,), "The request is too large. Upload to a presigned URL instead."),
    "unsupported_media_type": Meaning((415,), "This type cannot be read."),
    "throttled": Meaning((429,), "Too many requests. Try again in a moment."),
    "quota_exceeded": Meaning((429,), "This key has used up its month's requests."),
    "unavailable": Meaning((504,), "The API's function could not be called. Try again."),
    "timeout": Meaning((504,), "The answer took too long. Try again."),
}

# Codes of failed jobs and steps; POST /jobs/estimate/ refuses with the same codes, with status 422.
FAILURES = {
    "empty_file": "The file has no bytes.",
    "unsupported_media": "The file is no image or video that Sluice knows, or of a kind that it cannot read.",
    "source_too_large": "The file has more bytes than this stage takes.",
    "unsupported_colours": "The film's colours are coded in a way that Sluice cannot read, which is named.",
    "too_many_pixels": "The picture is larger than this stage takes.",
    "too_many_streams": "The film has more streams than this stage takes.",
    "too_long": "The film is longer than this stage takes.",
    "too_many_frames": "The film has more frames, or more pixels in all of them, than this stage takes.",
    "over_budget": "The job would cost more than its `max_usd`, than one job may, or than is left of its "
    "owner's day. Nothing was done.",
    "too_long_as_a_whole": "The film cannot be cut into chunks, and is too long for one function.",
    "too_many_renditions": "The film would be encoded in more ways at once than one function has memory for.",
    "too_small_for_codec": "A side of the film is shorter than the codec that is asked for can have it.",
    "watermark_not_found": "A step names a watermark that no operator has put into the output bucket.",
    "watermark_unusable": "The watermark that a step names is no PNG of 8 bits a channel, or too large.",
    "watermark_changed": "The watermark that a step names was changed or removed while the job ran. Start it "
    "again.",
    "no_audio_stream": "The film has no sound of which a file could be made.",
    "captions_not_found": "A step names a file of captions that is not there, or another owner's.",
    "captions_unusable": "The file of captions that a step names is neither SRT nor WebVTT in UTF-8, is too "
    "large, or has no captions.",
    "captions_changed": "The file of captions that a step names was changed or removed while the job ran. "
    "Start it again.",
    "no_video_stream": "The file has no pictures: it is sound alone, or damaged.",
    "side_too_long": "A file of the step would have more pixels than its format can have.",
    "step_needs_video": "The pipeline has a step for videos, but the file is an image.",
    "step_needs_image": "The pipeline has a step for images, but the file is a video.",
    "recipe_makes_nothing": "The recipe has no steps for this kind of media.",
    "empty_pipeline": "The pipeline in the metadata of a dropped file has no step.",
    "unknown_step": "The metadata of a dropped file names a preset that there is not.",
    "repeated_step": "Two steps in the metadata of a dropped file have the same name.",
    "invalid_step": "A step in the metadata of a dropped file has a parameter or a value that there is not.",
    "pipeline_too_long": "The pipeline in the metadata of a dropped file is too long.",
    "unknown_recipe": "The file's metadata names a recipe that there is not, or no longer.",
    "recipe_and_pipeline": "The file's metadata has a recipe and a pipeline.",
    "source_damaged": "The file is damaged: too much of it cannot be decoded.",
    "conversion_failed": "The film could not be converted: it seems to be damaged.",
    "decoder_crashed": "The file makes its decoder crash: it is damaged, or made to harm.",
    "decoder_memory": "The file asks for more memory than a decoder may take.",
    "decoder_timeout": "Looking at the file took longer than it may.",
    "step_timeout": "A step took longer than one function may.",
    "source_changed": "The file was overwritten while it was worked on. Start a new job.",
    "size_differs": "The file was uploaded with another size than was announced.",
    "source_missing": "The file was deleted before it was worked on.",
    "reused_missing": "What the retried job had made was deleted while it was copied. Retry it again.",
    "upload_expired": "Nothing was uploaded in time: to the presigned URL, or in parts.",
    "output_too_large": "An output would be larger than one can be.",
    "chunk_not_exact": "A chunk did not come out frame for frame as planned. It is a fault of ours.",
    "sound_not_exact": "The sound came out longer than it is. It is a fault of ours.",
    "chunks_differ": "Chunks cannot be joined: they were encoded differently. It is a fault of ours.",
    "copy_not_exact": "The film's copy is not what the film is. It is encoded as a whole then.",
    "defect": "The file makes our code fail, as it would each time. It is a fault of ours.",
    "attempts_exhausted": "A task was tried as often as it may be. The sentence has the last reason.",
    "intake_failed": "The job could not be started, as often as it was tried.",
    "deadline_exceeded": "The job has taken longer than any may.",
}
