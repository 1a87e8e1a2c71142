"""SageMaker's SDK, version 3: its Endpoint resource, and its client for streams."""

import json
import os

import boto3
from sagemaker.core.resources import Endpoint
from sagemaker.core.utils.utils import SageMakerClient

account = boto3.Session()
client = SageMakerClient(session=account, region_name="eu-west-1")
client.sagemaker_runtime_client = account.client("sagemaker-runtime", endpoint_url=os.environ["RUNTIME"])
endpoint = Endpoint(endpoint_name="decoder")
body = {"inputs": "the quick", "parameters": {"max_new_tokens": 6}}
answer = endpoint.invoke(body=json.dumps(body), content_type="application/json")
[found] = json.loads(answer.body.read())
# Endpoint.invoke_with_response_stream of 2.27.0 raises AttributeError in its own codec, whatever server answers.
parts = client.sagemaker_runtime_client.invoke_endpoint_with_response_stream(
    EndpointName="decoder", Body=json.dumps({**body, "stream": True}), ContentType="application/json"
)
raw = b"".join(part["PayloadPart"]["Bytes"] for part in parts["Body"])
assert json.dumps(found["generated_text"], ensure_ascii=False).encode() in raw
