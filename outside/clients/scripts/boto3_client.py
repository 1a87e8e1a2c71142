"""boto3: invoke_endpoint and its response stream, in TGI's and in OpenAI's form."""

import json
import os

import boto3

runtime = boto3.client("sagemaker-runtime", endpoint_url=os.environ["RUNTIME"])


def asked(body, **options):
    return {"EndpointName": "decoder", "ContentType": "application/json", "Body": json.dumps(body), **options}


tgi = {"inputs": "the quick", "parameters": {"max_new_tokens": 6}}
[answer] = json.loads(runtime.invoke_endpoint(**asked(tgi))["Body"].read())
raw = b"".join(
    part["PayloadPart"]["Bytes"]
    for part in runtime.invoke_endpoint_with_response_stream(**asked({**tgi, "stream": True}))["Body"]
)
events = [json.loads(line.removeprefix(b"data:")) for line in raw.splitlines() if line.startswith(b"data:")]
assert events[-1]["generated_text"] == answer["generated_text"]
chat = {"model": "tgi", "messages": [{"role": "user", "content": "the fox"}], "max_tokens": 6}
whole = json.loads(runtime.invoke_endpoint(**asked(chat))["Body"].read())
raw = b"".join(
    part["PayloadPart"]["Bytes"]
    for part in runtime.invoke_endpoint_with_response_stream(**asked({**chat, "stream": True}))["Body"]
)
lines = [line.removeprefix(b"data: ") for line in raw.splitlines() if line]
assert lines[-1] == b"[DONE]"
chunks = [json.loads(line) for line in lines[:-1]]
assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
said = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
assert said == whole["choices"][0]["message"]["content"]
