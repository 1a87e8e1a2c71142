"""What the local service says once it is up: where to look, who to be, and how to begin."""

from __future__ import annotations

from pathlib import Path

from local import ADMINISTRATOR_KEY, ADMINISTRATOR_SECRET, MODELS_BUCKET, REGION
from local.ports import Ports
from promotion import names


def environment(ports: Ports, home: Path) -> dict[str, str]:
    """The variables that point any AWS client, and the promotion command, here."""
    return {
        "AWS_ENDPOINT_URL": ports.aws_url,
        "AWS_ACCESS_KEY_ID": ADMINISTRATOR_KEY,
        "AWS_SECRET_ACCESS_KEY": ADMINISTRATOR_SECRET,
        "AWS_DEFAULT_REGION": REGION,
        names.PUBLIC_KEY: str(home / names.PUBLIC_KEY_FILE),
    }


def welcome(ports: Ports, home: Path, seconds: float) -> str:
    """The text, with a package to register that needs nothing but boto3."""
    exports = "\n".join(f"  export {name}={value}" for name, value in environment(ports, home).items())
    return f"""
Up after {seconds:.1f} s. Everything is on 127.0.0.1, in memory only, and gone after Ctrl-C.

  Approvals   {ports.http_url}/
  Mailbox     {ports.http_url}/_local/mailbox
  AWS         {ports.aws_url}   (account 123456789012, {REGION})
  Sign-in     {ports.idp_url}   (the password is the name)
              ann approves everywhere · ben dev and test · cho uat and prod · dan prod
              dee registers models · aud audits · eve has no group
  Logs        {home / "logs"}

Point any AWS client here:
{exports}

Register a model:
  python - <<'EOF'
  import boto3, io, tarfile
  model = io.BytesIO()
  with tarfile.open(fileobj=model, mode="w:gz") as tar:
      member = tarfile.TarInfo("model.bin"); member.size = 5
      tar.addfile(member, io.BytesIO(b"bytes"))
  boto3.client("s3").put_object(Bucket="{MODELS_BUCKET}", Key="first/model.tar.gz", Body=model.getvalue())
  sagemaker = boto3.client("sagemaker")
  sagemaker.create_model_package_group(ModelPackageGroupName="first")
  print(sagemaker.create_model_package(
      ModelPackageGroupName="first",
      ModelApprovalStatus="PendingManualApproval",
      CustomerMetadataProperties={{"requested_by": "dee@example.com"}},
      InferenceSpecification={{
          "Containers": [{{"Image": "123456789012.dkr.ecr.{REGION}.amazonaws.com/inference:1",
                          "ModelDataUrl": "s3://{MODELS_BUCKET}/first/model.tar.gz"}}],
          "SupportedContentTypes": ["application/jsonlines"],
          "SupportedResponseMIMETypes": ["application/jsonlines"]}})["ModelPackageArn"])
  EOF

Then open the mailbox, follow the link, sign in as ann, and decide.
Ctrl-C ends it."""
