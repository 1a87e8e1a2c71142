"""Service Quotas of SageMaker, which moto lacks. All instance types have the same quota here."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import boto3
from moto.servicequotas.models import ServiceQuotasBackend
from moto.servicequotas.responses import ServiceQuotasResponse

VALUE = 20.0
# The usage that a quota limits, and botocore's enumeration of its instance types.
_USES = {
    "transform job usage": "TransformInstanceType",
    "processing job usage": "ProcessingInstanceType",
    "endpoint usage": "ProductionVariantInstanceType",
}


def mend() -> None:
    """Replace moto's operations with the patched ones."""
    defaults = ServiceQuotasBackend.list_aws_default_service_quotas

    def list_aws_default_service_quotas(self: Any, service_code: str) -> Any:
        return _sagemaker() if service_code == "sagemaker" else defaults(self, service_code)

    def list_service_quotas(self: Any) -> str:
        """Return SageMaker's quotas.

        https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_ListServiceQuotas.html
        """
        return json.dumps(
            {"Quotas": self.backend.list_aws_default_service_quotas(json.loads(self.body)["ServiceCode"])}
        )

    ServiceQuotasBackend.list_aws_default_service_quotas = list_aws_default_service_quotas
    ServiceQuotasResponse.list_service_quotas = list_service_quotas


@cache
def _sagemaker() -> list[dict[str, Any]]:
    client = boto3.client("sagemaker", region_name="us-east-1")
    return [
        {"ServiceCode": "sagemaker", "QuotaName": f"{kind} for {use}", "Value": VALUE}
        for use, shape in _USES.items()
        for kind in client.meta.service_model.shape_for(shape).enum  # type: ignore[attr-defined]
    ]
