"""Parameter Store: signed live records, and a history that reads back whole."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from promotion import names
from promotion.aws.parameter_store.parameters import ParameterTarget
from promotion.aws.parameter_store.stored_parameters import read_below
from promotion.client.signature import public_keys
from promotion.ledger.folded_runs import FIELD, FoldedRuns, sequence_of
from promotion.ledger.parameter_documents import PAGE_BYTES, entry
from promotion.workflows.projector import Target
from tests.adapters.conftest import Aws
from tests.fakes import GROUP, PREFIX, FakeService, as_client
from tests.memory import LocalSigner
from tests.rules.histories import folded_events, read_history

VERSION = f"{PREFIX}/{GROUP}/versions/1"


@pytest.fixture
def fake(aws: Aws) -> FakeService:
    fake = FakeService()
    fake.ssm = aws.ssm
    fake.signer = aws.signer  # type: ignore[assignment]
    return fake


def told(fake: FakeService, version: int) -> list[dict[str, Any]]:
    return [entry(event) for event in fake.events() if event.version == version]


def test_a_long_history_reads_back_from_parameter_store_and_the_objects_that_it_names(
    fake: FakeService, aws: Aws
) -> None:
    fake.promote(1, to="dev")
    number = 0
    while len(told(fake, 1)) < 200:
        fake.measure(1, "dev", run=f"run-{number}")
        number += 1
        if number % 7 == 0:
            fake.project(targets={names.PARAMETERS: fake.parameters})
    fake.project(targets={names.PARAMETERS: fake.parameters})
    expected = read_history(aws.ssm, PREFIX, GROUP, 1)
    [one] = [msgspec.convert(each[FIELD], FoldedRuns) for each in expected if FIELD in each]
    whole = [*map(entry, folded_events(fake.evidence, one)), *(each for each in expected if FIELD not in each)]
    assert sorted(whole, key=sequence_of) == told(fake, 1)
    by_path = dict(read_below(aws.ssm, f"{PREFIX}/{GROUP}/versions"))
    pages = sorted(name for name in by_path if "/history/" in name)
    assert [found for name in pages for found in json.loads(by_path[name])] + json.loads(by_path[VERSION])[
        "history"
    ] == (expected)
    document = json.loads(by_path[VERSION])
    first = document["first_page"]
    assert pages == [f"{VERSION}/history/{page:04d}" for page in range(first, first + len(pages))]
    assert all(len(value.encode()) <= PAGE_BYTES for value in by_path.values())
    assert document["pages"] == len(pages)


def test_a_page_is_written_once(fake: FakeService, aws: Aws) -> None:
    fake.promote(1, to="dev")
    for number in range(60):
        fake.measure(1, "dev", run=f"run-{number}")
        fake.project(targets={names.PARAMETERS: fake.parameters})
    versions = aws.ssm.get_parameters_by_path(Path=f"{VERSION}/history")["Parameters"]
    assert versions
    assert {parameter["Version"] for parameter in versions} == {1}


@pytest.mark.parametrize("puts", range(1, 9))
def test_dying_between_page_and_parameter_loses_and_doubles_nothing(fake: FakeService, aws: Aws, puts: int) -> None:
    """Dies after the n-th write; another event comes before it is tried again."""
    for version in (1, 2):
        fake.promote(version, to="dev")
    for _ in range(40):
        fake.roll_back("dev", to=1)
        fake.roll_back("dev", to=2)
    dying = ParameterTarget(
        as_client(DiesAfter(aws.ssm, puts)), aws.signer, PREFIX, ledger=fake.ledger, bucket=fake.evidence
    )
    fake.project(targets={names.PARAMETERS: dying})
    fake.measure(1, "dev", run="later")
    fake.project(targets={names.PARAMETERS: fake.parameters})
    assert read_history(aws.ssm, PREFIX, GROUP, 1) == told(fake, 1)


class DiesAfter:
    def __init__(self, client: Any, puts: int) -> None:
        self._client, self._left = client, puts
        self.exceptions = client.exceptions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def put_parameter(self, **request: Any) -> Any:
        if self._left == 0:
            raise ConnectionError("the process is gone")
        self._left -= 1
        return self._client.put_parameter(**request)


@pytest.mark.parametrize("reason", ["{{ssm:secret}} {{{{", '"' * 900, "two\nlines", "中文 — ação 🚀", "}}{{"])
def test_any_reason_can_be_kept(fake: FakeService, aws: Aws, reason: str) -> None:
    fake.register(1)
    fake.decide(1, "dev", reason=reason)
    assert fake.project(targets={names.PARAMETERS: fake.parameters}) == []
    assert reason in [found.get("reason") for found in read_history(aws.ssm, PREFIX, GROUP, 1)]


def test_the_longest_reasons_fit_their_pages(fake: FakeService, aws: Aws) -> None:
    for version in range(1, 4):
        fake.register(version)
        fake.decide(version, "dev", reason="x" * 1998)
        fake.project(targets={names.PARAMETERS: fake.parameters})
    assert read_history(aws.ssm, PREFIX, GROUP, 2) == told(fake, 2)


def test_the_live_record_is_signed_by_kms_and_resolves(fake: FakeService, aws: Aws) -> None:
    from promotion import resolve
    from promotion.errors import IntegrityError, NotApproved

    fake.promote(1)
    fake.project(targets={names.PARAMETERS: fake.parameters})
    pem = aws.signer.public_key_pem()
    assert len(public_keys(pem)) == 1
    model = resolve(GROUP, "prod", public_key=pem, prefix=PREFIX, ssm=aws.ssm)
    assert (model.model_package_version, model.key_id) == (1, aws.signer.key_id)
    record = json.loads(aws.ssm.get_parameter(Name=f"{PREFIX}/{GROUP}/prod/live")["Parameter"]["Value"])
    record["containers"][0]["sha256"] = "0" * 64
    aws.ssm.put_parameter(Name=f"{PREFIX}/{GROUP}/prod/live", Value=json.dumps(record), Overwrite=True)
    with pytest.raises(IntegrityError, match="signature"):
        resolve(GROUP, "prod", public_key=pem, prefix=PREFIX, ssm=aws.ssm)
    with pytest.raises(NotApproved):
        resolve(GROUP, "nowhere", public_key=pem, prefix=PREFIX, ssm=aws.ssm)


def test_a_live_record_above_four_kilobytes_is_still_one_parameter(fake: FakeService, aws: Aws) -> None:
    from msgspec.structs import replace

    from tests.fakes import a_package

    variables = {f"VARIABLE_{number}": "x" * 250 for number in range(16)}
    fake.register(1, containers=(replace(a_package(1).containers[0], environment=variables),))
    fake.decide(1, "dev")
    assert fake.project(targets={names.PARAMETERS: fake.parameters}) == []
    value = aws.ssm.get_parameter(Name=f"{PREFIX}/{GROUP}/dev/live")["Parameter"]["Value"]
    assert 4096 < len(value) < 8192
    assert json.loads(value)["containers"][0]["environment"] == variables


def test_writing_what_is_there_already_is_no_write(fake: FakeService, aws: Aws) -> None:
    fake.promote(1)
    fake.project(targets={names.PARAMETERS: fake.parameters})
    before = dict(read_below(aws.ssm, PREFIX))
    versions = [p["Version"] for p in aws.ssm.get_parameters_by_path(Path=PREFIX, Recursive=True)["Parameters"]]
    fake.cursors.at.clear()
    fake.project(targets={names.PARAMETERS: fake.parameters})
    assert dict(read_below(aws.ssm, PREFIX)) == before
    after = [p["Version"] for p in aws.ssm.get_parameters_by_path(Path=PREFIX, Recursive=True)["Parameters"]]
    assert after == versions


def test_a_cached_answer_serves_for_its_life_and_no_longer(
    fake: FakeService, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uncached, a rollback and a revocation count at once."""
    from promotion import resolve
    from promotion.errors import NotApproved

    clock = [1000.0]
    monkeypatch.setattr("promotion.client.resolve.time.monotonic", lambda: clock[0])
    pem = aws.signer.public_key_pem()
    only: dict[names.TargetName, Target] = {names.PARAMETERS: fake.parameters}

    def live(cache_seconds: float = 0.0) -> int:
        found = resolve(GROUP, "dev", public_key=pem, prefix=PREFIX, ssm=aws.ssm, cache_seconds=cache_seconds)
        return found.model_package_version

    for version in (1, 2):
        fake.promote(version, to="dev")
        fake.project(targets=only)
    assert live(30) == 2
    fake.roll_back("dev")
    fake.project(targets=only)
    assert live(30) == 2, "who asked for a cache waits for its end"
    assert live() == 1
    clock[0] += 31
    assert live(30) == 1
    fake.revoke(1)
    fake.project(targets=only)
    assert live(30) == 1
    with pytest.raises(NotApproved):
        live()
    clock[0] += 31
    with pytest.raises(NotApproved):
        live(30)


def test_a_cached_answer_serves_only_who_trusts_its_key(fake: FakeService, aws: Aws) -> None:
    from promotion import resolve
    from promotion.errors import IntegrityError

    fake.promote(1, to="dev")
    fake.project(targets={names.PARAMETERS: fake.parameters})
    asked: dict[str, Any] = {"prefix": PREFIX, "ssm": aws.ssm, "cache_seconds": 30}
    assert resolve(GROUP, "dev", public_key=aws.signer.public_key_pem(), **asked).model_package_version == 1
    with pytest.raises(IntegrityError, match="signature"):
        resolve(GROUP, "dev", public_key=LocalSigner().public_key, **asked)
