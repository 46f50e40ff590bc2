"""Puts layers into the functions' own zips, for LocalStack without a licence, which applies no layers."""

from __future__ import annotations

import http.client
import json
import shutil
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from infra.deploying.errors import BundleError

# Limit of Lambda and LocalStack for a function with its layers, unpacked.
_MAX_BYTES = 250 * 1024**2
# Editions that apply layers: MiniStack's, and LocalStack's with a licence.
_EDITIONS_WITH_LAYERS = ("light", "pro")


def leaves_layers_out(endpoint_url: str | None) -> bool:
    """Whether the endpoint is a LocalStack that stores layers but runs functions without them."""
    if endpoint_url is None:
        return False
    address = urlsplit(endpoint_url)
    secure = address.scheme == "https"
    connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    with closing(connect(address.hostname or "", address.port, timeout=10)) as connection:
        try:
            connection.request("GET", "/_localstack/health")
            health = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            return False
    return isinstance(health, dict) and health.get("edition", "pro") not in _EDITIONS_WITH_LAYERS


def bundle_layers(folder: Path, template: dict[str, Any], out: Path) -> None:
    """Replace each function's layers in the template by a zip, in `out`, that contains them.

    A layer's `python/` becomes the zip's root, beside the function's modules; other paths stay. Raises
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
    with zipfile.ZipFile(bundle, "a") as bundled:
        for layer in layers:
            with zipfile.ZipFile(layer) as source:
                for entry in source.infolist():
                    content = source.read(entry)
                    entry.filename = entry.filename.removeprefix("python/")
                    bundled.writestr(entry, content, compresslevel=1)
        size = sum(entry.file_size for entry in bundled.infolist())
    if size > _MAX_BYTES:
        raise BundleError(
            f"This LocalStack does not apply layers, and {code.name} has {size / 1024**2:.0f} MB with its "
            f"own, unpacked; {_MAX_BYTES / 1024**2:.0f} MB may be: use LocalStack Pro, or `make up`."
        )
