from __future__ import annotations

import os

# Before anything of ours is imported: the table's name is read when its model is.
os.environ.update(
    AWS_DEFAULT_REGION="us-east-1",
    AWS_ACCESS_KEY_ID="testing",
    AWS_SECRET_ACCESS_KEY="testing",
    POWERTOOLS_SERVICE_NAME="tests",
    POWERTOOLS_METRICS_NAMESPACE="Sluice",
    POWERTOOLS_TRACE_DISABLED="true",
    SLUICE_AUTH="none",
    SLUICE_RETRY_SECONDS="1",
)
