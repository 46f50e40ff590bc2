"""The stack, the local cloud, and the commands for both."""

import os

# Requests to this machine never go through a proxy, whatever the caller's shell configures.
os.environ["NO_PROXY"] = ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1,localhost")))
