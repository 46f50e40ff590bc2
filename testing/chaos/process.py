"""Prepare a process before chalicelib is imported: an environment as Lambda's, and FFmpeg."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testing.chaos.campaigns import Simulator


def prepare_process() -> None:
    """Set the environment. Call it first: settings are read once."""
    from testing.environment import stand_in_for_lambda

    stand_in_for_lambda(
        SLUICE_CHUNK_WORK_SECONDS="0.001",  # small films in several chunks
        POWERTOOLS_TRACE_DISABLED="true",
        POWERTOOLS_LOG_LEVEL="CRITICAL",
        SLUICE_AUTH="api_key",
        SLUICE_OPERATORS="operator",
    )


def make_simulator(*, moto: bool = False) -> Simulator:
    """A simulator with its own stack; it has no reference outputs until `prepare` is called."""
    from testing.chaos.boundary import boundary
    from testing.chaos.campaigns import Simulator
    from testing.chaos.cloud import Cloud, Fast, Moto
    from testing.chaos.simulated import quicken_clients
    from testing.cloud import make_cloud

    quicken_clients()
    stand = Moto() if moto else Fast()
    boundary.cloud = Cloud(stand)
    make_cloud()
    return Simulator(stand)
