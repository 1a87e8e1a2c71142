"""Properties of SageMaker's instance types: GPU, local storage, and the AMI with a driver for the image's CUDA."""

from __future__ import annotations

import re

# Only NVIDIA's: Inferentia and Trainium don't run CUDA.
_GPU = re.compile(r"ml\.(p\d|g\d)[a-z0-9-]*\.")
# Families with instance store volumes, of which SageMaker refuses a VolumeKmsKeyId:
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/InstanceStorage.html
_LOCAL_STORAGE = re.compile(
    r"ml\.(g4dn|g5|g6|g6e|gr6|g7e?|p4d|p4de|p5|p5en?|p6-[a-z0-9]+|trn1n?|trn2|i\d[a-z]*|[cmrxz]\d[a-z]*d[a-z]*)\."
)
# The newest driver that Batch Transform has, 535: CUDA 13 runs on it by cuda-compat (inference/models/cuda_compat.py).
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_TransformResources.html
TRANSFORM_AMI = "al2-ami-sagemaker-batch-gpu-535"
# The only AMI with driver 580, which runs CUDA 13 without cuda-compat.
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ProductionVariant.html
INFERENCE_AMI = "al2023-ami-sagemaker-inference-gpu-4-1"


def has_gpu(instance_type: str) -> bool:
    """Return True if the instance type has NVIDIA GPUs."""
    return _GPU.match(instance_type) is not None


def has_local_storage(instance_type: str) -> bool:
    """Return True if the type has local disks, which the hardware encrypts and which accept no KMS key."""
    return _LOCAL_STORAGE.match(instance_type) is not None


def transform_ami(instance_type: str, wanted: str | None) -> str | None:
    """TransformAmiVersion for a type, or None to leave it to SageMaker.

    Args:
        instance_type: SageMaker's name of the type.
        wanted: the setting; None takes the default for GPU types, and an empty text leaves it to SageMaker.
    """
    return _ami(instance_type, wanted, TRANSFORM_AMI)


def inference_ami(instance_type: str, wanted: str | None) -> str | None:
    """InferenceAmiVersion for a type, or None to leave it to SageMaker; see `transform_ami`."""
    return _ami(instance_type, wanted, INFERENCE_AMI)


def volume_key(instance_type: str, key: str | None) -> dict[str, str]:
    """Return VolumeKmsKeyId for a job's request, if the type's volumes accept a KMS key."""
    return {"VolumeKmsKeyId": key} if key and not has_local_storage(instance_type) else {}


def _ami(instance_type: str, wanted: str | None, default: str) -> str | None:
    if wanted is not None:
        return wanted or None
    return default if has_gpu(instance_type) else None
