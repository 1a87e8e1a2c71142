"""What a package runs or reads beside its artifact, which no digest covers: a reason not to approve it.

SageMaker and the field's containers read these from their plain addresses when a container starts, so that somebody may
put other bytes there after the approval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_PACK = "Pack it into model.tar.gz (code below code/) and register the version again."


def beside_artifact(containers: Sequence[Mapping[str, Any]]) -> str:
    """The first thing that the containers of a described package have beside their artifacts; empty where there is none."""
    for number, container in enumerate(containers):
        place = f"InferenceSpecification.Containers[{number}]"
        for name, value in sorted(_mapping(container.get("Environment")).items()):
            if "s3://" in str(value).lower():
                return (
                    f"{place}.Environment.{name}: the container reads {str(value)[:300]}, which is outside of the approved "
                    f"artifact and can be replaced after the approval. {_PACK}"
                )
        for name in ("AdditionalModelDataSources", "AdditionalS3DataSource"):
            if container.get(name):
                return f"{place}.{name}: it is outside of the approved artifact and isn't hashed. {_PACK}"
        source = _mapping(_mapping(container.get("ModelDataSource")).get("S3DataSource"))
        if source.get("S3DataType") == "S3Prefix" or source.get("CompressionType") == "None":
            return (
                f"{place}.ModelDataSource: uncompressed models (S3DataType {source.get('S3DataType')}, CompressionType "
                f"{source.get('CompressionType')}) aren't supported. Pack the files as one model.tar.gz, S3Object with "
                "CompressionType Gzip, and register the version again."
            )
    return ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
