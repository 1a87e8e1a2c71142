"""The deployed service on one machine: the synthesized template, moto for AWS, and a process for every function.

Product code contains nothing for the emulation: if moto differs from AWS, `local/moto_patches/` patches moto.
"""

from __future__ import annotations

from typing import Final

ACCOUNT: Final = "123456789012"
REGION: Final = "us-east-1"
ADMINISTRATOR_KEY: Final = "test"
ADMINISTRATOR_SECRET: Final = "test"
ADMINISTRATOR_ARN: Final = f"arn:aws:iam::{ACCOUNT}:user/administrator"
MODELS_BUCKET: Final = "promotion-models"
# The placeholder for the image that a deployment builds.
IMAGE: Final = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/inference:1"
