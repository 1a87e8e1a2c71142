"""The types of boto3's clients, by service. Only a type checker reads them: boto3 makes its clients at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, overload

if TYPE_CHECKING:
    from mypy_boto3_acm import ACMClient
    from mypy_boto3_apigatewayv2 import ApiGatewayV2Client
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_service_quotas import ServiceQuotasClient
    from mypy_boto3_sesv2 import SESV2Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_stepfunctions import SFNClient
    from mypy_boto3_sts import STSClient

    from promotion.aws.sagemaker.images import ImageRegistry


class ClientFor(Protocol):
    """A function that returns a client by the service's name, as `boto3.client` does."""

    @overload
    def __call__(self, service: Literal["acm"], /) -> ACMClient: ...
    @overload
    def __call__(self, service: Literal["apigatewayv2"], /) -> ApiGatewayV2Client: ...
    @overload
    def __call__(self, service: Literal["cloudwatch"], /) -> CloudWatchClient: ...
    @overload
    def __call__(self, service: Literal["dynamodb"], /) -> DynamoDBClient: ...
    @overload
    def __call__(self, service: Literal["ec2"], /) -> EC2Client: ...
    @overload
    def __call__(self, service: Literal["ecr"], /) -> ImageRegistry: ...
    @overload
    def __call__(self, service: Literal["events"], /) -> EventBridgeClient: ...
    @overload
    def __call__(self, service: Literal["iam"], /) -> IAMClient: ...
    @overload
    def __call__(self, service: Literal["kms"], /) -> KMSClient: ...
    @overload
    def __call__(self, service: Literal["lambda"], /) -> LambdaClient: ...
    @overload
    def __call__(self, service: Literal["s3"], /) -> S3Client: ...
    @overload
    def __call__(self, service: Literal["sagemaker"], /) -> SageMakerClient: ...
    @overload
    def __call__(self, service: Literal["secretsmanager"], /) -> SecretsManagerClient: ...
    @overload
    def __call__(self, service: Literal["service-quotas"], /) -> ServiceQuotasClient: ...
    @overload
    def __call__(self, service: Literal["sesv2"], /) -> SESV2Client: ...
    @overload
    def __call__(self, service: Literal["sns"], /) -> SNSClient: ...
    @overload
    def __call__(self, service: Literal["sqs"], /) -> SQSClient: ...
    @overload
    def __call__(self, service: Literal["ssm"], /) -> SSMClient: ...
    @overload
    def __call__(self, service: Literal["stepfunctions"], /) -> SFNClient: ...
    @overload
    def __call__(self, service: Literal["sts"], /) -> STSClient: ...


class CachedClients(ClientFor, Protocol):
    """A function that returns the same client for each call with the same service name."""

    def cache_clear(self) -> None:
        """Forget the clients made so far."""
