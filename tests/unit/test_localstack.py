"""What LocalStack needs: layers inside the functions, since it applies none, and simpler templates.

`make test-localstack` tries the whole stack on one.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

from infra.deploying.build import build
from infra.deploying.bundling import bundle_layers, leaves_layers_out
from infra.deploying.errors import BundleError
from infra.paths import ROOT


@contextmanager
def answering(status: int, body: str) -> Iterator[str]:
    """The URL of a server that gives this answer to every request."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "body", "left_out"),
    [
        (200, '{"edition": "community", "version": "4.14.0"}', True),
        (200, '{"edition": "unknown", "version": "4.14.0"}', True),  # without Docker
        (200, '{"edition": "pro", "version": "4.14.0"}', False),
        (200, '{"edition": "light", "version": "1.5.33"}', False),  # MiniStack
        (200, '{"services": {}}', False),
        (200, "[]", False),
        (404, "<p>Nothing is here.</p>", False),
    ],
)
def test_a_localstack_without_a_licence_is_known_by_its_health(
    status: int, body: str, *, left_out: bool
) -> None:
    with answering(status, body) as url:
        assert leaves_layers_out(url) == left_out


def test_aws_applies_layers_and_so_does_who_does_not_answer(free_port: int) -> None:
    assert not leaves_layers_out(None)
    assert not leaves_layers_out(f"http://127.0.0.1:{free_port}")


def write_zip(path: Path, **files: str | bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name.replace("__", "/").replace("_dot_", "."), content)


def packaged(folder: Path) -> dict[str, Any]:
    """A packaged template with two layers and three functions, and its zips."""
    write_zip(folder / "deployment.zip", app_dot_py="import sluice_ffmpeg\n")
    finder = (ROOT / "layers" / "ffmpeg" / "sluice_ffmpeg.py").read_text()
    write_zip(
        folder / "ffmpeg.zip",
        bin__ffmpeg="#!/bin/sh\necho I am FFmpeg\n",
        python__sluice_ffmpeg_dot_py=finder,
    )
    write_zip(folder / "pyav.zip", python__av____init___dot_py="")

    def function(*layers: str) -> dict[str, Any]:
        used = {"Layers": [{"Ref": layer} for layer in layers]} if layers else {}
        return {
            "Type": "AWS::Serverless::Function",
            "Properties": {"CodeUri": "./deployment.zip", **used},
        }

    return {
        "Resources": {
            "Api": function("PyavLayer"),
            "Encode": function("FfmpegLayer"),
            "Thumbnail": function("FfmpegLayer"),
            "Sweep": function(),
            **{
                f"{name.capitalize()}Layer": {
                    "Type": "AWS::Serverless::LayerVersion",
                    "Properties": {"ContentUri": f"./{name}.zip"},
                }
                for name in ("ffmpeg", "pyav")
            },
        }
    }


def test_a_function_has_its_layer_in_its_own_zip_and_works_with_it(tmp_path: Path) -> None:
    template = packaged(tmp_path)
    bundle_layers(tmp_path, template, tmp_path)
    code = {name: each["Properties"] for name, each in template["Resources"].items()}
    assert code.keys() == {"Api", "Encode", "Thumbnail", "Sweep"}
    assert not any("Layers" in properties for properties in code.values())
    assert code["Sweep"] == {"CodeUri": "./deployment.zip"}
    assert code["Encode"] == code["Thumbnail"] != code["Api"]
    task = tmp_path / "var" / "task"
    with zipfile.ZipFile(code["Encode"]["CodeUri"]) as bundle:
        bundle.extractall(task)
    said = subprocess.run(
        [sys.executable, "-c", "import app; print(app.sluice_ffmpeg.path())"],
        cwd=task,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert Path(said) == task / "bin" / "ffmpeg"
    assert subprocess.run([said], capture_output=True, check=True).stdout == b"I am FFmpeg\n"


def test_what_does_not_fit_is_said_with_what_helps(tmp_path: Path) -> None:
    template = packaged(tmp_path)
    write_zip(tmp_path / "pyav.zip", python__large=bytes(250 * 1024**2))
    with pytest.raises(BundleError, match="LocalStack Pro"):
        bundle_layers(tmp_path, template, tmp_path)


@pytest.fixture(scope="module")
def template() -> Any:
    folder = build("test", auth="api_key").folder
    return json.loads((folder / "sam.json").read_text())["Resources"]


def test_the_stage_of_the_keys_is_named_as_sam_names_it(template: Any) -> None:
    for resource in template.values():
        for uri in {"CodeUri", "ContentUri"} & resource["Properties"].keys():
            resource["Properties"][uri] = "s3://bucket/key"
    source = {"Transform": "AWS::Serverless-2016-10-31", "Resources": copy.deepcopy(template)}
    made = Translator({}, Parser()).translate(source, {})["Resources"]
    (of_plan,) = made["UsagePlan"]["Properties"]["ApiStages"]
    stage = made[made["UsagePlan"]["DependsOn"]]
    assert stage["Type"] == "AWS::ApiGateway::Stage"
    assert of_plan["Stage"] == stage["Properties"]["StageName"]


def test_nothing_is_in_it_that_localstack_does_not_know(template: Any) -> None:
    assert "AWS::CloudWatch::Dashboard" not in {resource["Type"] for resource in template.values()}
