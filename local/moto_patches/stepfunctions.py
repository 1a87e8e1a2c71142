"""Step Functions: tasks run as the machine's role, results are JSON, and waits are short."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from botocore.config import Config
from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import (
    state_task_service_aws_sdk,
    state_task_service_dynamodb,
    state_task_service_events,
    state_task_service_sfn,
    state_task_service_sqs,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_aws_sdk import (
    StateTaskServiceAwsSdk,
)
from moto.stepfunctions.parser.asl.component.state.wait.wait_function.wait_function import WaitFunction
from moto.stepfunctions.parser.models import StepFunctionsParserBackend

from local import ADMINISTRATOR_KEY, ADMINISTRATOR_SECRET
from local.aws import callers
from local.clients import any_client

# AWS's endpoint for tasks, set by the local service. Without it, moto's own client is used.
endpoint: list[str] = []
# Waits are short, because a poll that waits half a minute on AWS would take most of a local run's time.
LONGEST_WAIT_SECONDS = 1
_BRANDS = {"sagemaker": "SageMaker", "ssm": "Ssm", "s3": "S3", "sfn": "Sfn", "dynamodb": "DynamoDb"}


def mend() -> None:
    """Replace moto's parts with the patched ones."""
    for module in (
        lambda_eval_utils,
        state_task_service_aws_sdk,
        state_task_service_dynamodb,
        state_task_service_events,
        state_task_service_sfn,
        state_task_service_sqs,
    ):
        original = module.boto_client_for

        def client_for(region: str, service: str, state_credentials: Any = None, original: Any = original) -> Any:
            """Return a client with the permissions of the machine's role, as on AWS; moto uses one fixed key."""
            if not endpoint:
                return original(region=region, service=service, state_credentials=state_credentials)
            role = getattr(state_credentials, "role_arn", None)
            credentials = (
                callers.service_session(role, "states", "states.amazonaws.com")
                if role
                else {"aws_access_key_id": ADMINISTRATOR_KEY, "aws_secret_access_key": ADMINISTRATOR_SECRET}
            )
            return any_client(
                service,
                region_name=region,
                endpoint_url=endpoint[0],
                config=Config(parameter_validation=False, retries={"total_max_attempts": 1}, read_timeout=900),
                **credentials,
            )

        module.boto_client_for = client_for

    evaluate = StateTaskServiceAwsSdk._eval_service_task

    def eval_service_task(self: Any, env: Any, *arguments: Any, **named: Any) -> None:
        """Return a result in JSON; moto leaves datetime objects in it, unless a ResultSelector removes them."""
        evaluate(self, env, *arguments, **named)
        env.stack.append(_as_json(env.stack.pop()))

    StateTaskServiceAwsSdk._eval_service_task = eval_service_task
    state_task_service_aws_sdk._SERVICE_ERROR_NAMES.update(_BRANDS)

    begin = StepFunctionsParserBackend.start_execution

    def start_execution(self: Any, state_machine_arn: str, name: str | None, execution_input: str) -> Any:
        """Give an execution without a name a UUID, as AWS does; moto's interpreter names it None."""
        return begin(self, state_machine_arn, name or str(uuid.uuid4()), execution_input)

    StepFunctionsParserBackend.start_execution = start_execution

    def eval_wait(self: Any, env: Any) -> None:
        seconds = self._get_wait_seconds(env=env)
        self._wait_interval(env=env, wait_seconds=min(seconds, LONGEST_WAIT_SECONDS) if endpoint else seconds)

    WaitFunction._eval_body = eval_wait


def _as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_json(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_as_json(each) for each in value]
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value
