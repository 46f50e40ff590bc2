"""A stage is fitted to its account before it is uploaded: fakes of 10, 50 and 1,000 functions at once."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from chalicelib.settings import InvalidSetting
from infra.deploying.account import account_limits
from infra.deploying.build import build
from infra.paths import ROOT
from infra.stack.catalogue import FUNCTIONS, SOURCE_QUEUES
from infra.stack.sizing import (
    NEW_ACCOUNTS_MEMORY_MB,
    AccountLimits,
    Sizes,
    fit,
    limits_of,
    remedy,
)

CONFIGURED = Sizes(
    {"intake": 1769, "pictures": 3538, "encode": 10240},
    {"intake": 50, "pictures": 50, "encode": 500, "audio": 100, "package": None},
    8192 * 4320,
    5,
)


class FakeAccount:
    """An account of which Lambda says how many functions may run at once; anything else it does not know."""

    endpoint_url = None

    def __init__(self, concurrency: int, reserved: int = 0) -> None:
        self.said = {
            "ConcurrentExecutions": concurrency,
            "UnreservedConcurrentExecutions": concurrency - reserved,
        }

    def session(self) -> Any:
        return self

    def client(self, service: str, endpoint_url: None) -> Any:
        assert service == "lambda"
        return SimpleNamespace(get_account_settings=lambda: {"AccountLimit": self.said})


def limits(account: Any) -> AccountLimits:
    found = account_limits("prod", account)
    assert found is not None
    return found


def at_once(sizes: Sizes) -> int:
    return sum(number or 0 for number in sizes.concurrency.values())


@pytest.mark.parametrize(("concurrency", "memory_mb"), [(10, 3008), (50, 3008), (1000, 10240)])
def test_an_account_is_asked_what_it_runs_and_new_ones_have_the_memory_of_new_ones(
    concurrency: int, memory_mb: int
) -> None:
    assert limits(FakeAccount(concurrency)) == AccountLimits(concurrency, memory_mb)


def test_what_others_reserved_is_not_ours() -> None:
    assert limits(FakeAccount(1000, reserved=300)) == AccountLimits(700, 10240)


def test_a_local_cloud_is_not_asked() -> None:
    fake: Any = SimpleNamespace()
    assert account_limits("local", fake) is None


def test_a_new_account_gets_the_least_of_everything_that_works() -> None:
    sizes = fit(CONFIGURED, limits(FakeAccount(10)))
    assert sizes.memory_mb == {"intake": 1769, "pictures": 3008, "encode": 3008}
    assert set(sizes.concurrency.values()) == {2}
    # 4K is taken and 8K refused, of which an encode at full size would not fit.
    assert 3840 * 2160 < sizes.max_video_pixels < 7680 * 4320


def test_a_small_account_shares_what_it_has_and_leaves_room_for_the_api() -> None:
    sizes = fit(CONFIGURED, limits(FakeAccount(50)))
    assert sizes.memory_mb["encode"] == 3008
    assert 30 <= at_once(sizes) <= 43
    numbers = {name: number or 0 for name, number in sizes.concurrency.items()}
    assert max(numbers, key=lambda name: numbers[name]) == "encode"
    assert min(numbers.values()) >= 2


def test_a_usual_account_changes_nothing() -> None:
    assert fit(CONFIGURED, limits(FakeAccount(1000))) == CONFIGURED


@pytest.mark.parametrize("concurrency", range(10, 1100, 10))
def test_no_queue_gets_less_than_sqs_takes_nor_all_of_them_more_than_there_is(
    concurrency: int,
) -> None:
    sizes = fit(CONFIGURED, AccountLimits(concurrency, 10240))
    assert min(number or 2 for number in sizes.concurrency.values()) >= 2
    # Two more are the dead letters'.
    assert at_once(sizes) + 2 <= max(concurrency, 2 * len(sizes.concurrency) + 2)


def test_what_is_as_small_as_can_be_stays_so() -> None:
    least = Sizes({"encode": 3008}, dict.fromkeys(("intake", "encode"), 2), 1, 0)
    assert fit(least, AccountLimits(1, 3008)) == least


@pytest.mark.parametrize(
    ("said", "found", "limits"),
    [
        ({}, None, None),
        ({}, AccountLimits(10, 3008), AccountLimits(10, 3008)),
        # Who asked AWS Support for memory knows that it is there.
        ({"SLUICE_ACCOUNT_MEMORY_MB": "10240"}, AccountLimits(10, 3008), AccountLimits(10, 10240)),
        ({"SLUICE_ACCOUNT_CONCURRENCY": "20"}, AccountLimits(10, 3008), AccountLimits(10, 3008)),
        ({"SLUICE_ACCOUNT_CONCURRENCY": "20"}, AccountLimits(50, 3008), AccountLimits(20, 3008)),
        ({"SLUICE_ACCOUNT_CONCURRENCY": "3000"}, None, AccountLimits(3000, 10240)),
    ],
)
def test_a_stage_may_say_what_its_account_is(
    said: Mapping[str, str], found: AccountLimits | None, limits: AccountLimits | None
) -> None:
    assert limits_of(said, found) == limits


@pytest.mark.parametrize("name", ["SLUICE_ACCOUNT_MEMORY_MB", "SLUICE_ACCOUNT_CONCURRENCY"])
def test_an_account_that_cannot_be_is_named(name: str) -> None:
    with pytest.raises(InvalidSetting, match=name):
        limits_of({name: "0"}, None)


def test_a_refusal_by_cloudformation_is_explained() -> None:
    # As CloudFormation said it of others' functions.
    reason = (
        "Resource handler returned message: \"'MemorySize' value failed to satisfy constraint: Member must "
        'have value less than or equal to 3008 (Service: Lambda, Status Code: 400)"'
    )
    assert "SLUICE_ACCOUNT_MEMORY_MB to 3008" in remedy(reason)
    assert remedy("Something else.") == ""


def test_the_documentation_says_what_is_chosen() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    rows = re.findall(r"^\| ([\d,]+) \| ([\d,]+) MB \| (\d+) \|", text, re.MULTILINE)
    assert [row[0] for row in rows] == ["10", "50", "1,000"]
    said = json.loads((ROOT / ".chalice" / "config.json").read_text())["lambda_functions"]
    wanted = Sizes(
        {each.name: said[each.config_name]["lambda_memory_size"] for each in FUNCTIONS},
        {queue.name: queue.concurrency for queue in SOURCE_QUEUES},
        CONFIGURED.max_video_pixels,
        CONFIGURED.estimates,
    )
    for concurrency, memory_mb, encodes in rows:
        account: Any = FakeAccount(int(concurrency.replace(",", "")))
        sizes = fit(wanted, limits(account))
        assert f"{sizes.memory_mb['encode']:,}" == memory_mb
        assert sizes.concurrency["encode"] == int(encodes)


# ── as packaged ─────────────────────────────────────────────────────────────────────────────────


def functions(stage: str, account: AccountLimits | None = None) -> dict[str, Any]:
    folder = build(stage, "x86_64", "iam", account).folder
    resources = json.loads((folder / "sam.json").read_text())["Resources"]
    return {function.name: resources[function.logical_id]["Properties"] for function in FUNCTIONS}


@pytest.mark.slow
def test_the_small_stage_fits_into_a_new_account() -> None:
    small = functions("small")
    for name, properties in small.items():
        assert properties["MemorySize"] <= NEW_ACCOUNTS_MEMORY_MB, name
        for event in properties.get("Events", {}).values():
            scaling = event["Properties"].get("ScalingConfig", {"MaximumConcurrency": 2})
            assert event["Type"] != "SQS" or scaling == {"MaximumConcurrency": 2}
        assert not [v for v in properties["Environment"]["Variables"] if "SLUICE_ACCOUNT" in v]
    # What is estimated and what there is are the same.
    told = json.loads(small["api"]["Environment"]["Variables"]["SLUICE_FUNCTION_SIZES"])
    assert told["encode"] == {"memory_mb": 3008, "disk_mb": 10240, "cores": 1.28}
    for name, properties in small.items():
        assert told[name]["memory_mb"] == properties["MemorySize"]
    # Only the sizes differ from those of a usual account: no timeout, no disk.
    usual = functions("prod")
    for name, properties in small.items():
        for same in ("Timeout", "EphemeralStorage"):
            assert properties.get(same) == usual[name].get(same)


def test_any_stage_is_fitted_to_a_new_account(capsys: pytest.CaptureFixture[str]) -> None:
    fitted = functions("prod", limits(FakeAccount(10)))
    said = capsys.readouterr().out
    assert "encode: 3,008 MB of memory, not 10,240" in said
    assert "encode: 2 at once, not 500" in said
    assert "L-B99A9384" in said
    assert "AWS Support" in said
    small = functions("small")
    for name, properties in fitted.items():
        assert properties["MemorySize"] == small[name]["MemorySize"]
        assert properties.get("Events") == small[name].get("Events")
    capsys.readouterr()
    assert functions("prod", limits(FakeAccount(1000))) == functions("prod")
    assert "fits as it is" in capsys.readouterr().out
