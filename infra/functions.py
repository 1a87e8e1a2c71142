"""The Lambda functions: one module, one role and one log group each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.cdk_nag import acknowledge
from infra.permissions import allow
from promotion import names


@dataclass(frozen=True)
class Size:
    """Time-out and memory of a function; 1,769 MB give a full vCPU."""

    timeout_s: int
    memory_mb: int = 512


# The HTTP API's time-out is 30 s; on_model_registered reads whole artifacts; a projection may wait for Parameter Store,
# which accepts 3 writes a second.
SIZES: Mapping[str, Size] = {
    "on_model_registered": Size(900, 1792),
    "on_approval_changed": Size(60),
    "decide": Size(29, 1024),
    "operate": Size(29, 1024),
    "record": Size(29, 1024),
    "sign_in": Size(29, 1024),
    "web": Size(29, 1024),
    "on_ledger_appended": Size(30, 256),
    "on_projection_due": Size(60, 1024),
    "sweep": Size(300),
    "prepare_inference": Size(900, 1792),
    "on_inference_completed": Size(60),
    "verify": Size(900, 1024),
    "on_monitoring_completed": Size(60),
    "on_drift_detected": Size(60),
    "on_event_published": Size(60),
}


# The actions of AWSLambdaVPCAccessExecutionRole; AWS requires `*` as their resource.
_INTERFACES = (
    "CreateNetworkInterface",
    "DescribeNetworkInterfaces",
    "DescribeSubnets",
    "DeleteNetworkInterface",
    "AssignPrivateIpAddresses",
    "UnassignPrivateIpAddresses",
)


class Functions(Construct):
    """All functions, by module name; their permissions and settings come from the caller."""

    def __init__(self, scope: Construct, name: str, *, code: Path, prefix: str, named: bool = False) -> None:
        super().__init__(scope, name)
        self._code = lambda_.Code.from_asset(str(code))
        self._prefix = prefix
        self._named = named
        acknowledge(
            self,
            {"AwsSolutions-L1": "3.13 is what the bundle's lock is built and tried for; AWS supports it until 2029."},
        )
        self.by_name: dict[str, lambda_.Function] = {
            module: self._function(module, size) for module, size in SIZES.items()
        }

    def __getitem__(self, module: str) -> lambda_.Function:
        return self.by_name[module]

    def add(self, module: str, size: Size) -> None:
        """Add a function that only some configurations need."""
        self.by_name[module] = self._function(module, size)

    def role(self, module: str) -> iam.IRole:
        role = self[module].role
        assert role is not None
        return role

    def grant(self, module: str, statements: Iterable[iam.PolicyStatement]) -> None:
        """Add statements to a function's role."""
        for statement in statements:
            self.role(module).add_to_principal_policy(statement)

    def set_environment(self, module: str, **environment: str) -> None:
        """Set environment variables of a function."""
        for key, value in environment.items():
            self[module].add_environment(key, value)

    def place(self, module: str, *, subnets: Sequence[str], security_groups: Sequence[str]) -> None:
        """Run a function in a VPC; Lambda makes network interfaces by the function's role, but the function may not.

        https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
        """
        function = self[module].node.default_child
        assert isinstance(function, lambda_.CfnFunction)
        function.vpc_config = lambda_.CfnFunction.VpcConfigProperty(
            subnet_ids=list(subnets), security_group_ids=list(security_groups)
        )
        actions = [f"ec2:{action}" for action in _INTERFACES]
        # This key exists only in calls by the function's own code.
        by_lambda: dict[str, dict[str, object]] = {"Null": {"lambda:SourceFunctionArn": "true"}}
        self.grant(module, [allow(actions, ["*"], by_lambda)])

    def _function(self, module: str, size: Size) -> lambda_.Function:
        name = "".join(word.title() for word in module.split("_"))
        log_group = logs.LogGroup(
            self, f"{name}Log", retention=logs.RetentionDays.ONE_YEAR, removal_policy=RemovalPolicy.DESTROY
        )
        # Other accounts' policies name the role before it exists, so its name must be fixed.
        own = f"{names.installation(self._prefix)}-{module.replace('_', '-')}" if self._named else None
        role = iam.Role(self, f"{name}Role", role_name=own, assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        role.add_to_policy(allow(["logs:CreateLogStream", "logs:PutLogEvents"], [log_group.log_group_arn]))
        return lambda_.Function(
            self,
            name,
            function_name=own,
            description=f"lambdas/handlers/{module}.py",
            code=self._code,
            handler=f"lambdas.handlers.{module}.handler",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            timeout=Duration.seconds(size.timeout_s),
            memory_size=size.memory_mb,
            role=role,
            log_group=log_group,
            # Calls between functions through the queue and the bus propagate the trace automatically.
            tracing=lambda_.Tracing.ACTIVE,
            environment={
                names.CONFIG: names.CONFIG_FILE,
                names.PREFIX: self._prefix,
                "POWERTOOLS_SERVICE_NAME": names.installation(self._prefix),
                "POWERTOOLS_METRICS_NAMESPACE": names.METRICS_NAMESPACE,
                "POWERTOOLS_LOG_LEVEL": "INFO",
            },
        )
