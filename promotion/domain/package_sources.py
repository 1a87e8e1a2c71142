"""Check for code or data outside the artifact; no digest covers them, so approval is refused.

SageMaker and the field's containers read these from their plain addresses when a container starts, so that somebody may
put other bytes there after the approval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_PACK = "Pack it into model.tar.gz (code below code/) and register the version again."


def beside_artifact(containers: Sequence[Mapping[str, object]]) -> str:
    """Return the first source besides the artifacts in a described package's containers; empty without."""
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


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
