"""What a stage is deployed to: AWS, or an emulator of it. All that the template does differently is here."""

from __future__ import annotations

from dataclasses import dataclass

from infra.stack.catalogue import ESTIMATES

# Stages that live and die with an emulator.
LOCAL_STAGES = ("local", "test", "corpus")


@dataclass(frozen=True)
class Target:
    """Properties of the place that a stack runs in; the defaults are those of AWS."""

    # Buckets and table outlive their stack, the table has backups, and the stack is protected from deletion.
    retains: bool = True
    # Buckets refuse plain http.
    requires_tls: bool = True
    traces: bool = True
    dashboard: bool = True
    # Cores of each function; None: they follow from its memory.
    cores: float | None = None
    # Messages in work at once, of each queue; None: as the catalogue says.
    concurrency: int | None = None
    # Executions that are reserved for estimates; 0: none.
    estimates: int = ESTIMATES
    # Actions that sending to a queue needs beside sqs:SendMessage.
    send_actions: tuple[str, ...] = ()
    # The id that the API asks for by these tags, so that its address is known before it exists.
    api_id: str = ""
    api_id_tags: tuple[str, ...] = ()


AWS = Target()

# MiniStack, or LocalStack.
EMULATOR = Target(
    retains=False,
    requires_tls=False,
    traces=False,  # there is no X-Ray daemon to send to
    dashboard=False,  # LocalStack knows none
    cores=2.0,  # whatever the machine has: films are cut into chunks for two
    concurrency=2,
    estimates=0,
    send_actions=("sqs:SendMessageBatch",),  # MiniStack asks for it; AWS knows no such action
    api_id="sluice",
    api_id_tags=("ms-custom-id", "_custom_id_"),  # of MiniStack, and of LocalStack
)


def target_of(stage: str) -> Target:
    return EMULATOR if stage in LOCAL_STAGES else AWS
