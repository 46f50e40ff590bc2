"""Why a stage cannot be packaged or deployed; the message of each says what helps."""


class BuildError(Exception):
    """The sources cannot be made into a package."""


class BundleError(Exception):
    """The layers do not fit into the functions."""


class DeployError(Exception):
    """The stack is not created, updated or deleted as asked."""
