"""Layers inside the functions' own zips, for a cloud that takes layers and does not apply them."""

from __future__ import annotations

import http.client
import json
import shutil
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# As Lambda and LocalStack count: of a function with its layers, unpacked.
_MOST_BYTES = 250 * 1024**2
# What the clouds call themselves that apply layers: MiniStack, and LocalStack with a licence.
_EDITIONS_WITH_LAYERS = ("light", "pro")


class BundleError(Exception):
    """The layers do not fit into the functions; the message says what helps."""


def leaves_layers_out(endpoint_url: str | None) -> bool:
    """Whether this is a LocalStack that stores layers, and runs functions without them."""
    if endpoint_url is None:
        return False
    address = urlsplit(endpoint_url)
    secure = address.scheme == "https"
    connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    with closing(connect(address.hostname or "", address.port, timeout=10)) as connection:
        try:
            connection.request("GET", "/_localstack/health")
            said = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            return False
    return isinstance(said, dict) and said.get("edition", "pro") not in _EDITIONS_WITH_LAYERS


def bundle_layers(folder: Path, template: dict[str, Any], out: Path) -> None:
    """Move each function's layers into a zip of its own, in `out`, and out of the template.

    What a layer has in `python/` lies beside the function's modules then; the rest keeps its path. Raises
    BundleError.
    """
    resources = template["Resources"]
    layers = {
        name: folder / resources.pop(name)["Properties"]["ContentUri"]
        for name in [
            n for n in resources if resources[n]["Type"] == "AWS::Serverless::LayerVersion"
        ]
    }
    for resource in resources.values():
        if resource["Type"] == "AWS::Serverless::Function" and "Layers" in resource["Properties"]:
            properties = resource["Properties"]
            names = [layer["Ref"] for layer in properties.pop("Layers")]
            bundle = out / f"{'-'.join(names)}.zip"
            if not bundle.exists():
                _bundle(folder / properties["CodeUri"], [layers[name] for name in names], bundle)
            properties["CodeUri"] = str(bundle)


def _bundle(code: Path, layers: list[Path], bundle: Path) -> None:
    shutil.copyfile(code, bundle)
    with zipfile.ZipFile(bundle, "a") as made:
        for layer in layers:
            with zipfile.ZipFile(layer) as source:
                for entry in source.infolist():
                    content = source.read(entry)
                    entry.filename = entry.filename.removeprefix("python/")
                    made.writestr(entry, content, compresslevel=1)
        size = sum(entry.file_size for entry in made.infolist())
    if size > _MOST_BYTES:
        raise BundleError(
            f"This LocalStack does not apply layers, and {code.name} has {size / 1024**2:.0f} MB with its "
            f"own, unpacked; {_MOST_BYTES / 1024**2:.0f} MB may be: use LocalStack Pro, or `make up`."
        )
