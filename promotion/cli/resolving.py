"""`promotion resolve`: the approved model, in a shell."""

from __future__ import annotations

import argparse
import json
import os

import boto3

from promotion import names
from promotion.cli.progress import Progress
from promotion.cli.tables import print_line
from promotion.client.place import check_environment, place
from promotion.client.resolve import resolve
from promotion.errors import NotApproved
from promotion.formatting import size


def run(options: argparse.Namespace) -> int:
    """Print the model that is live in an environment.

    Raises:
        NotApproved: no model is live there.
        IntegrityError: the model is not the approved one.
        Invalid: there is no such environment, or no service in this account and region.
    """
    try:
        with Progress("resolve") as progress:
            model = resolve(
                options.group, options.environment, artifact=options.artifact,
                by_version=options.by_version, public_key=options.public_key, minimum_sequence=options.minimum_sequence,
                remember=options.remember, on_bytes=lambda count: progress.at(f"{size(count)} of the artifact hashed"),
            )  # fmt: skip
    except NotApproved as error:
        ssm, sts = boto3.client("ssm"), boto3.client("sts")
        prefix = os.environ.get(names.PREFIX) or names.DEFAULT_PREFIX
        check_environment(ssm, sts, prefix, options.environment)
        raise NotApproved(f"{error} You are in {place(ssm, sts)}.") from None
    if options.json:
        print(json.dumps(dict(model.record), indent=2, default=str))
        return 0
    print_line(f"{model.model_package_group} v{model.model_package_version} is live in {model.environment}")
    print_line(f"  package   {model.model_package_arn}")
    for container in model.containers:
        count = f"  ({len(container.objects.members)} files)" if container.objects else ""
        print_line(f"  artifact  {container.model_data_url}{count}")
        if container.model_data_version_id:
            print_line(f"  version   {container.model_data_version_id}")
        print_line(f"  sha256    {container.sha256}{'  (verified)' if options.artifact or options.by_version else ''}")
        if container.objects and options.by_version:
            for each in container.objects.members:
                print_line(f"  file      {each.path}  {each.version_id or 'the bucket keeps no versions'}")
        print_line(f"  image     {container.image}")
    print_line(f"  approved  {model.approved_at} by {', '.join(model.approved_by)}")
    return 0
