"""An operation is one file and its line in the tuple: tried with a new one, in a copy of the project."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft202012Validator

from chalicelib.model.plan import Plan
from chalicelib.model.pools import POOLS
from infra.stack.catalogue import OUTPUT_BUCKET, UPLOAD_BUCKET, queue_id
from testing.commands import copy_project, run
from testing.environment import ENVIRONMENT
from testing.planned import FILM
from tests.unit.test_template import may, source_of

OPERATION = """
from chalicelib.model.picture import Picture, Variant
from chalicelib.planning.operation import Operation
from chalicelib.planning.poster import poster


class Toy(Operation, frozen=True, kw_only=True, tag="toy"):
    kinds = ("video",)

    depth: int = 8

    def plan(self, stem, facts, settings):
        picture = Picture((Variant(f"{stem}.jpg", self.depth, self.depth, "jpeg", 85),))
        return poster(facts, picture, settings)
"""
TUPLE = "OPERATIONS: tuple[type[Operation], ...] = (\n"
WITH_TOY = f"from chalicelib.operations.toy import Toy\n\n{TUPLE}    Toy,\n"

# Run in the copy with a film's facts: a plan, what GET /openapi.json answers, and what is packaged.
PROGRAM = """
import sys
from pathlib import Path

import msgspec
from chalice.test import Client

from app import app
from chalicelib.errors import JobError
from chalicelib.jobs.plan_settings import plan_settings
from chalicelib.model.facts import VideoFacts
from chalicelib.operations.pipelines import find_steps
from chalicelib.planning.planner import make_plan
from chalicelib.settings import Settings
from infra.deploying.build import package

film = msgspec.json.decode(sys.argv[1], type=VideoFacts)
steps = find_steps([{"make": "toy", "depth": 16}], JobError)
plan = make_plan("job", "uploads/film.mp4", film, steps, plan_settings(Settings()))
Path("plan.json").write_bytes(msgspec.json.encode(plan))
with Client(app) as client:
    Path("openapi.json").write_bytes(client.http.get("/openapi.json").body)
package("prod", "x86_64", "api_key", Path("packaged").absolute())
"""


@pytest.mark.slow
def test_a_new_operation_is_its_file_and_its_line(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    operations = project / "chalicelib" / "operations"
    (operations / "toy.py").write_text(OPERATION)
    steps = (operations / "__init__.py").read_text()
    (operations / "__init__.py").write_text(steps.replace(TUPLE, WITH_TOY))

    facts = msgspec.json.encode(FILM).decode()
    done = run(project, sys.executable, "-c", PROGRAM, facts, **ENVIRONMENT)
    assert done.returncode == 0, done.stdout + done.stderr

    plan = msgspec.json.decode((project / "plan.json").read_bytes(), type=Plan)
    (task,) = plan.tasks
    assert plan.steps == {"toy": task.id}
    assert task.pool in POOLS

    packaged = project / "packaged"
    with zipfile.ZipFile(packaged / "deployment.zip") as code:
        assert "chalicelib/operations/toy.py" in code.namelist()
    template = json.loads((packaged / "sam.json").read_text())["Resources"]
    assert template[queue_id(task.pool)]["Type"] == "AWS::SQS::Queue"
    source, _ = source_of(template, task.pool)
    assert source == queue_id(task.pool)
    assert f"${{{source}.Arn}}" in may(template, task.pool, "sqs:ReceiveMessage")
    assert f"{UPLOAD_BUCKET}/*" in may(template, task.pool, "s3:GetObject")
    assert task.destination.startswith("outputs/")
    assert f"{OUTPUT_BUCKET}/outputs/*" in may(template, task.pool, "s3:PutObject")

    described = json.loads((project / "openapi.json").read_text())
    body = described["paths"]["/jobs/from-key"]["post"]["requestBody"]["content"]
    schema = {**body["application/json"]["schema"], "components": described["components"]}
    named = Draft202012Validator(schema)
    assert named.is_valid({"key": "film.mp4", "pipeline": [{"make": "toy", "depth": 16}]})
    assert not named.is_valid({"key": "film.mp4", "pipeline": [{"make": "toy", "depth": "deep"}]})
    assert not named.is_valid({"key": "film.mp4", "pipeline": ["nonsense"]})
