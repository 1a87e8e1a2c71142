"""Cost of the service: a month of an idle installation, and one promotion through four environments.

Calls are counted in one process, with the functions as they are deployed; resources are counted in the template's snapshot; list
prices and what had to be assumed are in benchmarks/prices.json. Writes build/bench/cost.json: `idle_month_usd`,
`promotion_usd` (without SageMaker's instances), `promotion_instances_usd`, `promotion_calls`. `python -m benchmarks.cost`
writes docs/cost.md, which a test holds to this.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import boto3

from infra import machine
from promotion.aws import keys
from promotion.links.session import Session
from tests.fakes import ANN, CHO, CONFIG_TEXT, GROUP, signed_in
from tests.faults import simulation as simulations
from tests.faults.resources import EVIDENCE, MODELS, URL
from tests.faults.simulation import Simulation, simulation

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "bench" / "cost.json"
PAGE = ROOT / "docs" / "cost.md"
DATA = json.loads((Path(__file__).parent / "prices.json").read_text(encoding="utf-8"))
PRICES: dict[str, float] = DATA["prices"]
ASSUMED: dict[str, float] = DATA["assumed"]
FAKE_ACCOUNT = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
ENVIRONMENTS = ("dev", "test", "uat", "prod")
UAT = """[[environments]]
name = "uat"
approver_group = { id = "test-approvers" }
approvers = ["cho@example.com"]
[[environments.gates]]
metric = "rougeL"
min = 0.6
"""
DAYS = 30
SWEEPS = DAYS * 24 * 12
KB, READ_UNIT = 1024, 4096
# Calls to each service, at its price; a DynamoDB call is priced by its units.
PRICED = {
    "kms": "kms_ecc_request",
    "secretsmanager": "secret_request",
    "sqs": "sqs_fifo_request",
    "events": "events_custom",
    "ssm": "ssm_standard_request",
    "sagemaker": "sagemaker_registry_request",
    "sts": "sts_request",
}
# ECR charges for storage and transfer, and for no request.
FREE = ("ecr",)
S3_WRITES = ("PutObject", "ListObjectsV2", "ListObjectVersions")


class Meter:
    """Counts calls, units of DynamoDB and runs of functions."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.functions: Counter[str] = Counter()
        self.write_units = 0
        self.read_units = 0
        self.recipients = 0

    def sees(self, name: str, given: dict[str, Any]) -> bool:
        """Takes the place of a fault that never happens."""
        self.calls[name] += 1
        operation = name.partition(":")[2]
        if operation == "TransactWriteItems":
            self.write_units += sum(2 * _write_units(item) for item in given["TransactItems"])
        elif name == "dynamodb:PutItem":
            self.write_units += _write_units({"Put": given})
        elif name == "sesv2:SendEmail":
            self.recipients += sum(map(len, given["Destination"].values()))
        elif name.startswith("dynamodb:"):
            self.read_units += int(ASSUMED["read_units_per_read"])
        return False


def _write_units(item: dict[str, Any]) -> int:
    """Return write units: one for each KB begun, and as many again for entries of the board's index."""
    wanted = item.get("Put") or item.get("Update") or item.get("ConditionCheck") or {}
    units = math.ceil(len(json.dumps(wanted.get("Item", {}), default=str)) / KB) or 1
    return units * (2 if "board_pk" in wanted.get("Item", {}) else 1)


@contextmanager
def metered(service: Simulation, meter: Meter) -> Iterator[None]:
    """Everything that happens inside is counted."""
    before = simulations.function

    def counted(module: str) -> Callable[[dict[str, Any], Any], Any]:
        meter.functions[module] += 1
        return before(module)

    service.fails_if = meter.sees
    with mock.patch.object(simulations, "function", counted):
        yield
    service.fails_if = None


def promotion(service: Simulation) -> Meter:
    """One model from its registration to live in the last environment, run in all of them."""
    meter = Meter()
    with metered(service, meter):
        version = service.register()
        service.settle()
        for name in ENVIRONMENTS:
            for person in (ANN, CHO)[: 2 if name == "prod" else 1]:
                for _ in range(int(ASSUMED["pages_per_decision"])):
                    _look(service, version, name)
                    meter.functions["web"] += 1
                meter.functions["decide"] += 1
                assert service.decide(version, name, person) == 303
            service.settle()
            _run(service, name)
            meter.functions["prepare_inference"] += 1
            service.measure(version, name)
            service.settle()
    assert service.differences() == []
    return meter


def idle(service: Simulation) -> Meter:
    """Return the cost of a month without any activity, with one model live."""
    once = Meter()
    with metered(service, once):
        service.sweep()
    daily = Meter()
    with metered(service, daily):
        simulations.function("verify")({}, None)
    found = Meter()
    for meter, times in ((once, SWEEPS), (daily, DAYS)):
        for name, count in meter.calls.items():
            found.calls[name] += count * times
        for name, count in meter.functions.items():
            found.functions[name] += count * times
        found.write_units += meter.write_units * times
        found.read_units += meter.read_units * times
    return found


def _look(service: Simulation, version: int, name: str) -> None:
    """The request's page, as an approver opens it."""
    from lambdas.handlers import web
    from lambdas.shared.dependencies import keyring, ledger, session_maker

    moment = datetime.now(UTC)
    session = Session(id="s", person=signed_in(ANN, moment), expires_at=moment + timedelta(hours=1))
    with service.without_faults():
        cookie = session_maker().cookie(session)
        token = keyring().approval_token(ledger().view(GROUP).version(version).requests[name].id)
    event = {
        "version": "2.0", "routeKey": "", "rawPath": f"/approvals/{token}", "rawQueryString": "",
        "headers": {"host": URL.removeprefix("https://"), "accept": "text/html"},
        "cookies": [f"__Host-session={cookie}"],
        "requestContext": {"http": {"method": "GET", "path": f"/approvals/{token}"}, "stage": "$default"},
        "isBase64Encoded": False,
    }  # fmt: skip
    assert web.handler(event, None)["statusCode"] == 200


def _run(service: Simulation, name: str) -> None:
    """Run the first state of the inference machine."""
    from lambdas.handlers import prepare_inference

    with service.without_faults():
        for file in ("input", "references"):
            boto3.client("s3").put_object(Bucket=MODELS, Key=f"{GROUP}/{name}/{file}.jsonl", Body=b"{}\n")
    settings = {"evidence_bucket": EVIDENCE, "execution_role_arn": "arn:aws:iam::123456789012:role/execution"}
    assert prepare_inference.handler({"group": GROUP, "environment": name, "settings": settings}, None)["run"]


def transitions() -> int:
    """State transitions of one successful run, its waiting included."""
    told = {"execution_role_arn": "", "evidence_bucket": "", "subnets": []}
    states = machine.definition(environment="dev", prepare_function="", bus="", settings=told)["States"]
    polls = {
        title: math.ceil(ASSUMED[f"{title.lower()}_minutes"] * 60 / machine.POLL_S) for title in ("Transform", "Score")
    }
    count, at = 0, "Settings"
    while at:
        count += 1
        state = states[at]
        for title, wanted in polls.items():
            if at == f"Has{title}Ended":
                # Each round: wait, describe, choice, count.
                count += 4 * (wanted - 1)
        choices = state.get("Choices")
        at = choices[0]["Next"] if choices else state.get("Next", "")
    return count


def priced(meter: Meter) -> dict[str, float]:
    """Return the USD of a meter's counts, by service."""
    found: defaultdict[str, float] = defaultdict(float)
    for name, count in meter.calls.items():
        service, operation = name.split(":")
        if service == "s3":
            found["s3"] += count * PRICES["s3_put" if operation in S3_WRITES else "s3_get"]
        elif service in PRICED:
            found[service] += count * PRICES[PRICED[service]]
    found["sesv2"] += meter.recipients * PRICES["mail"]
    found["dynamodb"] += meter.write_units * PRICES["dynamodb_write_unit"]
    found["dynamodb"] += meter.read_units * PRICES["dynamodb_read_unit"]
    seconds = {"sweep": ASSUMED["sweep_s"], "verify": ASSUMED["verify_s"]}
    for module, count in meter.functions.items():
        duration = seconds.get(module, ASSUMED["lambda_s_per_invocation"])
        found["lambda"] += count * (
            PRICES["lambda_request"] + duration * ASSUMED["lambda_gb"] * PRICES["lambda_gb_s_arm"]
        )
        if module in ("web", "decide", "operate", "sign_in"):
            found["apigateway"] += count * PRICES["api_request"]
    return dict(found)


def standing() -> dict[str, tuple[str, float]]:
    """Return the resources with a monthly price: the number of each, and USD."""
    # Held to the template by a test of its own.
    snapshot = (ROOT / "tests" / "infra" / "template.snapshot.txt").read_text(encoding="utf-8").splitlines()
    kinds = Counter(line.split(": ")[-1].strip() for line in snapshot if not line.startswith(" ") and "AWS::" in line)
    alarms, secrets, keys = (
        next(count for kind, count in kinds.items() if wanted in kind)
        for wanted in ("AWS::CloudWatch::Alarm", "AWS::SecretsManager::Secret", "AWS::KMS::Key")
    )
    polls = ASSUMED["queue_polls_per_minute"] * 60 * ASSUMED["hours_month"]
    storage = ASSUMED["ledger_gb"] * (PRICES["dynamodb_gb_month"] + PRICES["dynamodb_backup_gb_month"])
    return {
        "Alarms": (f"{alarms}", alarms * PRICES["alarm_metric_month"]),
        "Dashboard and metric": ("1 and 1", PRICES["dashboard_month"] + PRICES["metric_month"]),
        "Signing keys": (f"{keys}", keys * PRICES["kms_key_month"]),
        "Secrets": (f"{secrets}", secrets * PRICES["secret_month"]),
        "Inference image in ECR": (f"{ASSUMED['image_gb']:g} GB", ASSUMED["image_gb"] * PRICES["ecr_gb_month"]),
        "Lambda polling the wake queue": (f"{polls:,.0f} requests", polls * PRICES["sqs_fifo_request"]),
        "Ledger, with point-in-time recovery": (f"{ASSUMED['ledger_gb']:g} GB", storage),
        "Evidence": (f"{ASSUMED['evidence_gb']:g} GB", ASSUMED["evidence_gb"] * PRICES["s3_gb_month"]),
        "Traces of sweep and verify": (f"{SWEEPS + DAYS:,}", (SWEEPS + DAYS) * PRICES["trace"]),
        "Logs": (f"{ASSUMED['log_gb_month_idle']:g} GB", ASSUMED["log_gb_month_idle"] * PRICES["logs_gb"]),
    }


def compute() -> dict[str, Any]:
    """Compute all figures of the page."""
    os.environ.update(FAKE_ACCOUNT)
    four = CONFIG_TEXT.replace('[[environments]]\nname = "prod"', UAT + '[[environments]]\nname = "prod"')
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(simulations, "CONFIG_TEXT", four),
        # Secrets are read again every five minutes: a slow machine would count more calls than a fast one.
        mock.patch.object(keys, "SECRET_LIFETIME_S", math.inf),
        simulation(Path(folder)) as service,
    ):
        climbed = promotion(service)
        quiet = idle(service)
    steps = len(ENVIRONMENTS) * transitions()
    by_service = {**priced(climbed), "stepfunctions": steps * PRICES["state_transition"]}
    instances = len(ENVIRONMENTS) * (
        ASSUMED["transform_minutes"] / 60 * PRICES["ml_g5_xlarge_hour"]
        + ASSUMED["score_minutes"] / 60 * PRICES["ml_m5_xlarge_hour"]
    )
    stands, quietly = standing(), priced(quiet)
    return {
        "as_of": DATA["as_of"],
        "region": DATA["region"],
        "idle_month_usd": round(sum(cost for _, cost in stands.values()) + sum(quietly.values()), 2),
        "promotion_usd": round(sum(by_service.values()), 3),
        "promotion_instances_usd": round(instances, 2),
        "promotion_calls": sum(climbed.calls.values()),
        "names": {
            "standing": {name: (how_many, round(cost, 2)) for name, (how_many, cost) in stands.items()},
            "idle_calls": {name: round(cost, 2) for name, cost in sorted(quietly.items()) if round(cost, 2) > 0},
            "promotion": {name: round(cost, 4) for name, cost in sorted(by_service.items())},
            "calls": dict(sorted(climbed.calls.items())),
            "transitions": steps,
        },
    }


def page(found: dict[str, Any]) -> str:
    """docs/cost.md."""
    names_ = found["names"]
    lines = [
        "# What it costs",
        "",
        "`python -m benchmarks.cost` writes this page, and a test compares it. To change a price, edit benchmarks/prices.json.",
        "The calls are counted while the functions run in one process. Prices are list prices of "
        f"{found['region']} on {found['as_of']},",
        "without free tiers. The figures were not compared with a bill: "
        "check them at https://calculator.aws before you rely on them.",
        "",
        f"- An idle installation of four environments in one account: **${found['idle_month_usd']:.2f} a month**.",
        f"- One model through four environments: **${found['promotion_usd']:.2f}** of calls, and "
        f"**${found['promotion_instances_usd']:.2f}** of SageMaker's instances",
        f"  ({len(ENVIRONMENTS)} runs of {ASSUMED['transform_minutes']:g} minutes on ml.g5.xlarge and "
        f"{ASSUMED['score_minutes']:g} on ml.m5.xlarge).",
        f"- Building the inference image once a version: about ${30 * PRICES['codebuild_large_minute']:.2f} of CodeBuild.",
        "",
        "## An idle month",
        "",
        "| item | quantity | USD a month |",
        "|---|---|---|",
        *(f"| {name} | {how_many} | {cost:.2f} |" for name, (how_many, cost) in names_["standing"].items()),
        *(
            f"| Calls of sweep ({SWEEPS} a month) and verify ({DAYS}): {name} | | {cost:.2f} |"
            for name, cost in names_["idle_calls"].items()
        ),
        "",
        "## One promotion through four environments",
        "",
        "| service | USD |",
        "|---|---|",
        *(f"| {name} | {cost:.4f} |" for name, cost in names_["promotion"].items()),
        "",
        f"These are {found['promotion_calls']} calls, and {names_['transitions']} state transitions of the inference machines:",
        "",
        "| call | times |",
        "|---|---|",
        *(f"| {name} | {count} |" for name, count in names_["calls"].items()),
        "",
        "## Assumptions",
        "",
        "| assumption | value |",
        "|---|---|",
        *(f"| {name.replace('_', ' ')} | {value:g} |" for name, value in ASSUMED.items()),
        "",
        "Accounts of their own for environments add little: buses and roles are free, and a key costs $1 a month. "
        "Standard parameters",
        "are free, up to 10,000; a live record above 4 KB is an advanced parameter at $0.05 a month.",
    ]
    return "\n".join(lines) + "\n"


def main(*, long: bool = False) -> dict[str, Any]:
    """All figures; `long` changes nothing."""
    found = compute()
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return found


if __name__ == "__main__":
    PAGE.write_text(page(main()), encoding="utf-8")
    print(PAGE.relative_to(ROOT))
