"""Doctor checks in another account of an environment, through its role for operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from botocore.exceptions import ClientError
from msgspec.structs import replace

from promotion import names
from promotion.aws.clients import ClientFor
from promotion.aws.doctor import readiness
from promotion.aws.doctor.findings import Account, Check, Finding, examine, fail, not_checked, ok, warn
from promotion.config.resources import partition_of
from promotion.formatting import counted

OPERATOR = "operator"


def look(account: Account, clients_in: Callable[[str], ClientFor]) -> Iterator[Finding]:
    """Check each account in turn. `clients_in` returns an environment's clients, which assume the operators' role."""
    for environment, number in account.settings.cross_account.items():
        said = f"account of {environment}"
        try:
            clients_in(environment)("ssm")
        except ClientError as error:
            role = names.environment_role(account.prefix, environment, OPERATOR)
            do = (
                f"Deploy with yourself under [operators] principals and the right to sts:AssumeRole {role}; before that, run "
                "doctor as somebody of that account."
            )
            yield not_checked(said, f"{number} didn't let you in: {error.response['Error']['Code']}.", do)
            continue
        there = replace(account, client=clients_in(environment))
        checks: tuple[tuple[str, Check], ...] = (
            (said, partial(_parameters, there, environment, number)),
            ("CDK bootstrap", partial(readiness.bootstrap, there)),
            ("quota", partial(readiness.quota, there, environments=[account.settings.base_environment(environment)])),
        )
        deployed: tuple[tuple[str, Check], ...] = (
            ("machine", partial(_machine, there, environment, number)),
            ("undelivered", partial(_undelivered, there, environment)),
            ("alarms", partial(_alarms, there, environment, number)),
        )
        # Before the first deployment these resources don't exist; the check `service` reports that already.
        for name, check in (*checks, *(deployed if account.service is not None else ())):
            for finding in examine(name, check):
                yield finding if finding.check == said else replace(finding, check=f"{environment}: {finding.check}")


def _parameters(account: Account, environment: str, number: str) -> Iterator[Finding]:
    pages = account.client("ssm").get_paginator("get_parameters_by_path").paginate(Path=account.prefix, Recursive=True)
    live = [each["Name"] for page in pages for each in page["Parameters"]]
    strange = [name for name in live if not name.endswith(f"/{environment}/live")]
    if strange:
        yield warn(
            f"account of {environment}", f"{number} has {strange[0]}, which nothing here wrote.", "promotion verify"
        )
    else:
        yield ok(f"account of {environment}", f"{number}, {counted(len(live), 'live model')}.")


def _machine(account: Account, environment: str, number: str) -> Iterator[Finding]:
    name = f"{names.installation(account.prefix)}-inference-{environment}"
    arn = f"arn:{partition_of(account.region)}:states:{account.region}:{number}:stateMachine:{name}"
    status = account.client("stepfunctions").describe_state_machine(stateMachineArn=arn)["status"]
    if status == "ACTIVE":
        yield ok("machine", f"{name} is there.")
    else:
        yield fail("machine", f"{name} is {status}.", "Deploy again.")


def _undelivered(account: Account, environment: str) -> Iterator[Finding]:
    sqs = account.client("sqs")
    url = sqs.get_queue_url(QueueName=names.far_queue(account.prefix, environment))["QueueUrl"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])["Attributes"]
    if aside := int(found["ApproximateNumberOfMessages"]):
        do = "Read the messages there: a report or a start was not delivered (docs/operations.md)."
        yield fail("undelivered", f"{counted(aside, 'message')} set aside.", do)
    else:
        yield ok("undelivered", "none.")


def _alarms(account: Account, environment: str, number: str) -> Iterator[Finding]:
    topic = f"arn:{partition_of(account.region)}:sns:{account.region}:{number}:{names.far_topic(account.prefix, environment)}"
    pages = account.client("sns").get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic)
    found = [each for page in pages for each in page["Subscriptions"]]
    confirmed = sum(each["SubscriptionArn"].startswith("arn:") for each in found)
    if confirmed:
        yield ok("alarms", f"{counted(confirmed, 'subscriber')}.")
    else:
        yield warn("alarms", "nobody hears them.", f"Subscribe to {topic}, and confirm it.")
