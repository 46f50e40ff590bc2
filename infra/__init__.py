"""The stack, the local cloud, and the commands for both."""

import os

# What listens on this machine is never behind a proxy, whatever the caller's shell says.
os.environ["NO_PROXY"] = ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1,localhost")))
