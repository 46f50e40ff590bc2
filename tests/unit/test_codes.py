"""The catalogue of error codes: what the code raises, what it says of that, and what the docs say."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from chalicelib.codes import FAILURES, GATEWAY, REFUSALS
from infra.paths import ROOT
from infra.stack.gateway import REFUSALS as GATEWAY_REFUSALS
from infra.stack.gateway import UNSIGNED

REQUEST_ERRORS = {
    "Malformed": 400,
    "Forbidden": 403,
    "NotFound": 404,
    "Conflict": 409,
    "Gone": 410,
    "TooLarge": 413,
    "UnsupportedType": 415,
    "Unprocessable": 422,
    "Busy": 429,
}
# Of a pipeline or a recipe: in a call, or of a dropped file.
OF_PIPELINES = ("error", "_refusal", "_Refused")
# Of these the API tells a client nothing: a job that ends by them has another code, and the sentence.
FOR_THE_LOG = {"Transient"}


def raised() -> Iterator[tuple[str, str]]:
    """Each class of error with each code that the code gives it, by reading the code."""
    for path in (ROOT / "chalicelib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                literals = [each.value for each in node.args if isinstance(each, ast.Constant)]
                codes = [each for each in literals if isinstance(each, str)][:1]
                if codes:
                    yield node.func.id, codes[0]


def test_every_refusal_is_in_the_catalogue_and_no_other() -> None:
    found: dict[str, set[int]] = {}
    for kind, code in raised():
        if kind in REQUEST_ERRORS:
            found.setdefault(code, set()).add(REQUEST_ERRORS[kind])
        elif kind == "refuse_others":
            found.setdefault(code, set()).add(400)
        elif kind in OF_PIPELINES:
            found.setdefault(code, set()).add(422)
        elif kind == "_refuse":
            found.setdefault(code, set())
    found["internal_error"].add(500)
    found["method_not_allowed"].add(405)
    found["source_too_large"].add(422)  # by an estimate
    assert {code: set(meaning.statuses) for code, meaning in REFUSALS.items()} == found


def test_every_failure_of_a_job_is_in_the_catalogue_and_no_other() -> None:
    kinds = ("JobError", "TimedOut", "Crashed", "Refused", *OF_PIPELINES)
    assert {code for kind, code in raised() if kind in kinds} == set(FAILURES)


def test_every_refusal_of_the_gateway_is_in_the_catalogue() -> None:
    told: dict[str, set[int]] = {}
    for refusal in (*GATEWAY_REFUSALS.values(), UNSIGNED):
        told.setdefault(refusal.code, set()).add(refusal.status)
    # The gateway's own fault is told as ours.
    assert told.pop("internal_error") == set(REFUSALS["internal_error"].statuses)
    assert {code: set(meaning.statuses) for code, meaning in GATEWAY.items()} == told


def test_the_docs_have_every_code() -> None:
    page = (ROOT / "docs" / "errors.md").read_text()
    rows = set(re.findall(r"^\| `(\w+)` \| (.+) \|$", page, re.MULTILINE))
    wanted = {
        (code, f"{', '.join(map(str, meaning.statuses))} | {meaning.text}")
        for code, meaning in (REFUSALS | GATEWAY).items()
    }
    assert rows == wanted | set(FAILURES.items())
