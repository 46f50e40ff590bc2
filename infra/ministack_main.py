"""Runs MiniStack, and has it tell functions the id of the API key of a call, as API Gateway does.

In the environment of MiniStack, which has nothing of ours.
"""

from __future__ import annotations

import sys
from typing import Any

from ministack.app import main  # type: ignore[import-not-found]
from ministack.services import apigateway_v1  # type: ignore[import-not-found]

_build_event = apigateway_v1._build_lambda_event_v1


def _with_key(*arguments: Any, **options: Any) -> Any:
    event = _build_event(*arguments, **options)
    sent = apigateway_v1._api_key_from_request(event["headers"])
    key = apigateway_v1._resolve_api_key(sent)
    event["requestContext"]["identity"]["apiKeyId"] = key and key["id"]
    return event


apigateway_v1._build_lambda_event_v1 = _with_key
sys.exit(main())
