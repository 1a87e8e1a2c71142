"""Several accounts: what each stack holds, and who may do what across them, by simulation over both sides' statements."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from promotion import names
from promotion.config import loading
from promotion.errors import Invalid
from tests.infra.accounts import ACCOUNTS, CONFIG, OTHERS, SERVICE, lets_in, named, role, trust
from tests.infra.refused import refusal
from tests.infra.simulation import allowed
from tests.infra.synthesized import ROOT, Template, actions, resources, run_app

PROD = "[advanced.environments.prod]"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app's output, checked by cdk-nag."""
    folder = tmp_path_factory.mktemp("cdk")
    finished = run_app(CONFIG, folder, bundle="false")
    assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def home(out: Path) -> Template:
    return Template(out / "promotion.template.json")


@pytest.fixture(scope="module")
def home_bus(out: Path) -> Template:
    return Template(out / "promotion-EventBus.template.json")


@pytest.fixture(scope="module")
def prod_bus(out: Path) -> Template:
    return Template(out / "promotion-prod-EventBus.template.json")


@pytest.fixture(scope="module")
def prod(out: Path) -> Template:
    return Template(out / "promotion-prod.template.json")


def test_every_account_gets_its_stack_after_which_comes_the_services(out: Path) -> None:
    artifacts = json.loads((out / "manifest.json").read_text())["artifacts"]
    stacks = {name: found for name, found in artifacts.items() if found["type"] == "aws:cloudformation:stack"}
    assert {name: found["environment"] for name, found in stacks.items()} == {
        "promotion": f"aws://{SERVICE}/us-east-1",
        "promotion-EventBus": f"aws://{SERVICE}/us-east-1",
        **{f"promotion-{name}": f"aws://{account}/us-east-1" for name, account in ACCOUNTS.items()},
        **{f"promotion-{name}-EventBus": f"aws://{account}/us-east-1" for name, account in ACCOUNTS.items()},
    }
    assert {f"promotion-{name}" for name in ACCOUNTS} <= set(stacks["promotion"]["dependencies"])


def test_every_bus_and_its_policy_are_there_before_the_first_rule(out: Path) -> None:
    """EventBridge looks at the target bus and its policy when a rule's target is put."""
    artifacts = json.loads((out / "manifest.json").read_text())["artifacts"]
    stacks = {name: found for name, found in artifacts.items() if found["type"] == "aws:cloudformation:stack"}
    buses = {name for name in stacks if name.endswith("-EventBus")}
    assert len(buses) == 1 + len(ACCOUNTS)
    for name in set(stacks) - buses:
        made = Template(out / f"{name}.template.json")
        assert not made.of_type("AWS::Events::EventBus")
        assert not made.of_type("AWS::Events::EventBusPolicy")
        if name != "promotion":
            assert buses <= set(stacks[name]["dependencies"])
    for name in buses:
        assert not Template(out / f"{name}.template.json").of_type("AWS::Events::Rule")
        assert not [other for other in stacks[name]["dependencies"] if other in stacks]


def test_the_other_account_may_put_events_as_far_as_the_check_of_a_target_sees(
    home_bus: Template, prod_bus: Template
) -> None:
    """Made by whoever deploys, about no event in particular, and without a role of ours."""
    for bus, account in ((home_bus, ACCOUNTS["prod"]), (prod_bus, SERVICE)):
        policies = [each["Statement"] for each in bus.of_type("AWS::Events::EventBusPolicy").values()]
        for caller in (
            f"arn:aws:iam::{account}:root",
            role(account, f"cdk-hnb659fds-cfn-exec-role-{account}-us-east-1"),
        ):
            context = {"aws:PrincipalAccount": account}
            assert lets_in(policies, caller, "events:PutEvents", policies[0]["Resource"], context)


def test_a_role_that_is_made_anew_is_let_in_again(out: Path) -> None:
    """IAM turns a role that is a policy's principal into its id, which the next role of that name hasn't."""
    looked_at = 0
    for file in sorted(out.glob("*.template.json")):
        for each in Template(file).resources.values():
            if each["Type"] in ("AWS::S3::BucketPolicy", "AWS::Events::EventBusPolicy", "AWS::Lambda::ResourcePolicy"):
                principals = [statement["Principal"] for statement in _statements(each)]
                assert ":role/" not in json.dumps(principals), file.name
                looked_at += 1
        for permission in Template(file).of_type("AWS::Lambda::Permission").values():
            assert ":role/" not in permission["Principal"]
    assert looked_at


def _statements(resource: dict[str, Any]) -> list[dict[str, Any]]:
    properties = resource["Properties"]
    return properties["PolicyDocument"]["Statement"] if "PolicyDocument" in properties else [properties["Statement"]]


def test_a_machine_is_in_its_environments_account_and_nowhere_else(home: Template, prod: Template) -> None:
    def machines(template: Template) -> list[str]:
        return [each["StateMachineName"] for each in template.of_type("AWS::StepFunctions::StateMachine").values()]

    assert machines(home) == ["promotion-inference-dev"]
    assert machines(prod) == ["promotion-inference-prod"]


def test_an_environments_account_says_which_it_is(prod: Template) -> None:
    [said] = prod.of_type("AWS::SSM::Parameter").values()
    assert said["Name"] == "/promotion/_environment/prod"


def test_cfn_lint_finds_nothing(out: Path) -> None:
    lint = Path(sys.executable).with_name("cfn-lint")
    files = [str(file) for file in sorted(out.glob("*.template.json"))]
    linted = subprocess.run(
        [str(lint), "--config-file", str(ROOT / ".cfnlintrc"), "--", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (linted.returncode, linted.stdout) == (0, "")


@pytest.mark.parametrize(
    ("caller", "external_id", "open_"),
    [
        (role(SERVICE, "promotion-on-projection-due"), "/promotion/prod", True),
        (role(SERVICE, "promotion-on-projection-due"), "/promotion/test", False),
        (role(SERVICE, "promotion-on-projection-due"), None, False),
        (role(SERVICE, "promotion-web"), "/promotion/prod", False),
        (role(SERVICE, "Admin"), "/promotion/prod", False),
        (role(OTHERS, "promotion-on-projection-due"), "/promotion/prod", False),
    ],
)
def test_the_writer_opens_to_the_projector_for_this_environment_alone(
    prod: Template, caller: str, external_id: str | None, open_: bool
) -> None:
    context = {"sts:ExternalId": external_id} if external_id else {}
    statements = trust(prod, "promotion-prod-writer")
    assert lets_in(statements, caller, "sts:AssumeRole", "role", context) is open_


def test_the_writer_writes_what_is_live_there_and_the_reader_nothing(prod: Template) -> None:
    at = f"arn:aws:ssm:us-east-1:{ACCOUNTS['prod']}:parameter"
    writer = prod.statements(named(prod, "promotion-prod-writer"))
    reader = prod.statements(named(prod, "promotion-prod-reader"))
    live = f"{at}/promotion/summaries/prod/live"
    assert allowed(writer, "ssm:PutParameter", live)
    assert not allowed(writer, "ssm:PutParameter", f"{at}/database/password")
    assert not allowed(writer, "ssm:PutParameter", f"{at}/promotion/summaries/test/live")
    assert not allowed(writer, "ssm:DeleteParameter", live)
    assert allowed(reader, "ssm:GetParameter", live)
    assert not allowed(reader, "ssm:PutParameter", live)


@pytest.mark.parametrize(
    ("caller", "external_id", "open_"),
    [
        (role(SERVICE, "ml-operators"), "/promotion/prod", True),
        (role(SERVICE, "ml-operators"), "/promotion/test", False),
        (role(SERVICE, "Admin"), "/promotion/prod", False),
        (role(OTHERS, "ml-operators"), "/promotion/prod", False),
        (role(SERVICE, "promotion-web"), "/promotion/prod", False),
    ],
)
def test_commands_come_in_as_an_operator_and_nobody_else(
    prod: Template, caller: str, external_id: str, open_: bool
) -> None:
    statements = trust(prod, "promotion-prod-operator")
    assert lets_in(statements, caller, "sts:AssumeRole", "role", {"sts:ExternalId": external_id}) is open_


def test_an_operator_looks_and_changes_nothing(prod: Template) -> None:
    statements = prod.statements(named(prod, "promotion-prod-operator"))
    verbs = {action.partition(":")[2] for statement in statements for action in actions(statement)}
    assert all(verb.startswith(("Get", "List", "Describe")) for verb in verbs), verbs
    at = f"arn:aws:ssm:us-east-1:{ACCOUNTS['prod']}:parameter"
    assert allowed(statements, "ssm:GetParameter", f"{at}/promotion/summaries/prod/live")
    assert allowed(statements, "ssm:GetParameter", f"{at}/cdk-bootstrap/hnb659fds/version")
    assert not allowed(statements, "ssm:GetParameter", f"{at}/database/password")


def test_without_operators_there_is_no_door_for_them(tmp_path: Path) -> None:
    text = CONFIG.read_text(encoding="utf-8")
    (tmp_path / "promotion.toml").write_text(text.partition("[operators]")[0], encoding="utf-8")
    finished = run_app(tmp_path / "promotion.toml", tmp_path / "out", bundle="false", nag="false")
    assert finished.returncode == 0, finished.stderr
    made = Template(tmp_path / "out" / "promotion-prod.template.json").of_type("AWS::IAM::Role").values()
    assert "promotion-prod-operator" not in {each.get("RoleName") for each in made}


@pytest.mark.parametrize(
    ("module", "purpose"),
    [("on_projection_due", "writer"), ("prepare_inference", "reader"), ("verify", "reader")],
)
def test_a_function_takes_on_the_role_of_its_purpose_and_no_other(home: Template, module: str, purpose: str) -> None:
    statements = home.statements(home.role_of(module))
    for environment, account in ACCOUNTS.items():
        for each in ("writer", "reader"):
            arn = role(account, f"promotion-{environment}-{each}")
            assert allowed(statements, "sts:AssumeRole", arn) is (each == purpose)
    assert not allowed(statements, "sts:AssumeRole", role(ACCOUNTS["prod"], "Admin"))


def test_no_other_function_leaves_the_account(home: Template) -> None:
    for module in ("web", "decide", "operate", "record", "sweep", "on_model_registered", "on_event_published"):
        assert not [s for s in home.statements(home.role_of(module)) if "sts:AssumeRole" in actions(s)]


@pytest.mark.parametrize(
    ("caller", "source", "open_"),
    [
        (role(SERVICE, "promotion-forwarder"), names.EVENT_SOURCE, True),
        (role(SERVICE, "promotion-forwarder"), names.INFERENCE_SOURCE, False),
        (role(SERVICE, "promotion-web"), names.EVENT_SOURCE, False),
        (role(OTHERS, "promotion-forwarder"), names.EVENT_SOURCE, False),
    ],
)
def test_an_environments_bus_believes_the_service_alone(
    prod_bus: Template, caller: str, source: str, open_: bool
) -> None:
    policies = [each["Statement"] for each in prod_bus.of_type("AWS::Events::EventBusPolicy").values()]
    context = {"events:source": source, "aws:PrincipalAccount": caller.split(":")[4]}
    assert lets_in(policies, caller, "events:PutEvents", policies[0]["Resource"], context) is open_


@pytest.mark.parametrize(
    ("caller", "source", "open_"),
    [
        (role(ACCOUNTS["prod"], "promotion-prod-reporter"), names.INFERENCE_SOURCE, True),
        (role(ACCOUNTS["prod"], "promotion-prod-reporter"), names.EVENT_SOURCE, False),
        (role(ACCOUNTS["prod"], "promotion-prod-execution"), names.INFERENCE_SOURCE, False),
        (role(OTHERS, "promotion-prod-reporter"), names.INFERENCE_SOURCE, False),
        (role("555555555555", "evaluation"), names.REPORT_SOURCE, True),
        (role("555555555555", "evaluation"), names.INFERENCE_SOURCE, False),
        (role("555555555555", "another"), names.REPORT_SOURCE, False),
    ],
)
def test_the_services_bus_takes_reports_from_the_reporters_alone(
    home_bus: Template, caller: str, source: str, open_: bool
) -> None:
    policies = [each["Statement"] for each in home_bus.of_type("AWS::Events::EventBusPolicy").values()]
    context = {"events:source": source, "aws:PrincipalAccount": caller.split(":")[4]}
    assert lets_in(policies, caller, "events:PutEvents", policies[0]["Resource"], context) is open_


def test_events_of_an_environment_and_of_none_go_to_its_account(home: Template) -> None:
    _, rule = home.the("AWS::Events::Rule", "ToProd")
    assert rule["EventPattern"] == {
        "source": [names.EVENT_SOURCE],
        "detail": {"environment": ["prod", {"exists": False}]},
    }
    (target,) = rule["Targets"]
    assert target["Arn"] == f"arn:aws:events:us-east-1:{ACCOUNTS['prod']}:event-bus/promotion"
    assert target["DeadLetterConfig"]


def test_a_run_writes_evidence_of_its_own_environment_alone(home: Template) -> None:
    bucket = f"<{home.the('AWS::S3::Bucket', 'StoreEvidence')[0]}.Arn>"
    (policy,) = (p for p in home.of_type("AWS::S3::BucketPolicy").values() if "Evidence" in p["Bucket"])
    statements = policy["PolicyDocument"]["Statement"]
    tls = {"aws:SecureTransport": "true", "s3:TlsVersion": "1.3"}
    statements = [s for s in statements if "NumericLessThan" not in s.get("Condition", {})]
    runs = role(ACCOUNTS["test"], "promotion-test-execution")
    for environment, open_ in (("test", True), ("prod", False)):
        place = f"{bucket}/summaries/{environment}/run/score/metrics.json"
        mine = [s for s in statements if place.startswith(bucket) and any("/*" in r for r in resources(s))]
        assert lets_in(mine, runs, "s3:PutObject", place, tls) is open_
        assert not lets_in(mine, runs, "s3:DeleteObject", place, tls)
    beside = f"{bucket}/summaries/prod/run/transform/test/more.jsonl.out"
    assert not lets_in(statements, runs, "s3:PutObject", beside, tls)


def test_runs_are_prepared_for_the_machines_of_the_environments_alone(home: Template) -> None:
    function = f"<{home.function('prepare_inference')[0]}.Arn>"
    # A whole policy replaces single permissions, in whichever order they come.
    singly = [each for each in home.of_type("AWS::Lambda::Permission").values() if each["FunctionName"] == function]
    assert singly == []
    (policy,) = home.of_type("AWS::Lambda::ResourcePolicy").values()
    assert policy["ResourceArn"] == function
    statements = policy["PolicyDocument"]["Statement"]
    for environment, account in ACCOUNTS.items():
        machine = role(account, f"promotion-{environment}-machine")
        assert lets_in(statements, machine, "lambda:InvokeFunction", function, {})
        assert not lets_in(statements, machine, "lambda:UpdateFunctionCode", function, {})
        for other in ("promotion-prod-execution", "administrator"):
            assert not lets_in(statements, role(account, other), "lambda:InvokeFunction", function, {})
    assert not lets_in(statements, role(OTHERS, "promotion-prod-machine"), "lambda:InvokeFunction", function, {})


def test_owners_are_told_what_to_add(out: Path) -> None:
    written = {file.stem: json.loads(file.read_text()) for file in (out / "policies").iterdir()}
    assert set(written) == {"bucket-promotion-models", "key-of-artifacts", "repository-of-images"}
    statements = written["bucket-promotion-models"]["Statement"]
    model = "arn:aws:s3:::promotion-models/v3/model.tar.gz"
    for environment, account in ACCOUNTS.items():
        runs = role(account, f"promotion-{environment}-execution")
        assert lets_in([statements[0]], runs, "s3:GetObject", model, {})
        assert not lets_in([statements[0]], runs, "s3:PutObject", model, {})
    assert not lets_in([statements[0]], role(OTHERS, "promotion-prod-execution"), "s3:GetObject", model, {})
    (key,) = written["key-of-artifacts"]["Statement"]
    via = {"kms:ViaService": "s3.us-east-1.amazonaws.com"}
    runs = role(ACCOUNTS["prod"], "promotion-prod-execution")
    for reader in (runs, role(SERVICE, "promotion-on-model-registered"), role(SERVICE, "promotion-hashing")):
        assert lets_in([key], reader, "kms:Decrypt", "*", via)
        assert not lets_in([key], reader, "kms:Decrypt", "*", {"kms:ViaService": "ec2.us-east-1.amazonaws.com"})
    assert not lets_in([key], role(SERVICE, "promotion-web"), "kms:Decrypt", "*", via)


def test_the_functions_name_the_roles_that_the_stacks_make(prod: Template) -> None:
    made = {each.get("RoleName") for each in prod.of_type("AWS::IAM::Role").values()}
    for purpose in ("writer", "reader", "machine", "execution", "reporter"):
        assert names.environment_role("/promotion", "prod", purpose) in made


def test_a_failed_run_elsewhere_is_heard_of_in_both_accounts(home: Template, prod: Template) -> None:
    _, reported = home.the("AWS::CloudWatch::Alarm", "MonitoringInferenceFailedProd")
    assert reported["MetricName"] == names.FAILED_RUNS_METRIC
    assert {each["Name"]: each["Value"] for each in reported["Dimensions"]} == {
        "environment": "prod",
        "service": "promotion",
    }
    topic = next(iter(prod.of_type("AWS::SNS::Topic")))
    alarms = prod.of_type("AWS::CloudWatch::Alarm")
    assert {name[:-8] for name in alarms} == {"InferenceFailedAlarm", "InferenceTimedOutAlarm", "UndeliveredAlarm"}
    assert {tuple(alarm["AlarmActions"]) for alarm in alarms.values()} == {(f"<{topic}>",)}
    assert "AlarmTopic" in prod.document["Outputs"]


def test_an_account_needs_the_registrys_beside_it() -> None:
    text = CONFIG.read_text(encoding="utf-8")
    for line, complaint in (
        ('account = "111111111111"\n', "registry.account"),
        ('region = "us-east-1"\n', "registry.region"),
    ):
        with pytest.raises(Invalid, match=complaint):
            loading.parse(text.replace(line, "", 1))


@pytest.mark.parametrize(
    ("line", "replacement", "complaint"),
    [
        ('buckets = ["promotion-models"]', "", "artifacts.buckets"),
        (
            "[advanced.inference]",
            '[advanced.inference]\nsubnets = ["s"]\nsecurity_groups = ["g"]',
            "advanced.environments.test.subnets",
        ),
        ("[operators]", f'{PROD}\nsubnets = ["s"]\n[operators]', "advanced.environments.prod.security_groups"),
        ("[operators]", f'{PROD}\nregion = "eu-west-1"\n[operators]', "advanced.environments.prod.region"),
        ("[operators]", '[advanced.artifacts]\nregion = "eu-west-1"\n[operators]', "registry.region"),
    ],
)
def test_settings_that_cannot_span_accounts_are_refused(
    tmp_path: Path, line: str, replacement: str, complaint: str
) -> None:
    wrong = tmp_path / "promotion.toml"
    text = CONFIG.read_text(encoding="utf-8")
    assert line in text
    # The bucket under [inference] is the last of its kind.
    wrong.write_text(text.replace(f"\n{line}", f"\n{replacement}", 1), encoding="utf-8")
    assert complaint in refusal(wrong)
