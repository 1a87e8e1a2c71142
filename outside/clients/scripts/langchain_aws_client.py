"""langchain-aws: SagemakerEndpoint, whole and streaming, also where nothing asked for a stream."""

import json
import os

import boto3
from langchain_aws.llms import SagemakerEndpoint
from langchain_aws.llms.sagemaker_endpoint import LLMContentHandler


class Handler(LLMContentHandler):
    content_type = accepts = "application/json"

    def transform_input(self, prompt, model_kwargs):
        return json.dumps({"inputs": prompt, "parameters": model_kwargs}).encode()

    def transform_output(self, output):
        text = output.read() if hasattr(output, "read") else output
        return json.loads(text)[0]["generated_text"]


runtime = boto3.client("sagemaker-runtime", endpoint_url=os.environ["RUNTIME"])
options = {
    "endpoint_name": "decoder", "client": runtime, "content_handler": Handler(),
    "model_kwargs": {"max_new_tokens": 6, "temperature": 0},
}  # fmt: skip
whole = SagemakerEndpoint(**options).invoke("the quick")
assert whole
streamed = "".join(SagemakerEndpoint(**options, streaming=True).stream("the quick"))
assert streamed == whole
