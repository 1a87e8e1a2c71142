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
        if problem := _unknown_form(_mapping(_mapping(container.get("ModelDataSource")).get("S3DataSource"))):
            return f"{place}.ModelDataSource: {problem}"
    return ""


def _unknown_form(source: Mapping[str, object]) -> str:
    """Why an S3DataSource is neither an archive nor a folder of files; empty if it is one of them."""
    form = (source.get("S3DataType"), source.get("CompressionType"))
    if source.get("ManifestS3Uri"):
        return f"ManifestS3Uri names files anywhere, and they aren't hashed. {_PACK}"
    if not source or form == ("S3Object", "Gzip"):
        return ""
    if form == ("S3Prefix", "None"):
        if str(source.get("S3Uri", "")).endswith("/"):
            return ""
        return "S3Uri has to end with a slash, as SageMaker wants it of an S3Prefix; register the version again."
    return (
        f"S3DataType {form[0]} with CompressionType {form[1]} isn't supported. Name a folder (S3Prefix, None, an S3Uri that "
        "ends with a slash) or one model.tar.gz (S3Object, Gzip), and register the version again."
    )


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
