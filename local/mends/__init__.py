"""Where moto differs from AWS, one file a service; each mend says what AWS does. `apply()` mends this process's moto.

The tests' in-process moto is mended the same way, so that adapters are tried against AWS's behaviour, not moto's.
"""

from __future__ import annotations

import functools

from local.mends import (
    dynamodb,
    endpoints,
    events,
    jobs,
    kms,
    monitoring,
    pipelines,
    policies,
    sagemaker,
    ssm,
    stepfunctions,
    sts,
)


@functools.cache
def apply() -> None:
    """Mends moto, once a process."""
    for service in (
        dynamodb,
        endpoints,
        events,
        jobs,
        kms,
        monitoring,
        pipelines,
        policies,
        sagemaker,
        ssm,
        stepfunctions,
        sts,
    ):
        service.mend()
