"""SageMaker's SDK, version 2: Predictor and HuggingFacePredictor, whole and streaming."""

import os

import boto3
from sagemaker import Session
from sagemaker.base_deserializers import StreamDeserializer
from sagemaker.deserializers import JSONDeserializer
from sagemaker.huggingface import HuggingFacePredictor
from sagemaker.predictor import Predictor
from sagemaker.serializers import JSONSerializer

account = boto3.Session()
runtime = account.client("sagemaker-runtime", endpoint_url=os.environ["RUNTIME"])
session = Session(boto_session=account, sagemaker_runtime_client=runtime, default_bucket="none")
options = {"sagemaker_session": session, "serializer": JSONSerializer(), "deserializer": JSONDeserializer()}
body = {"inputs": "the quick", "parameters": {"max_new_tokens": 6, "top_k": -1, "watermark": False}}
[answer] = Predictor("decoder", **options).predict(body)
assert answer["generated_text"]
assert HuggingFacePredictor("decoder", sagemaker_session=session).predict(body) == [answer]
chat = {"messages": [{"role": "user", "content": "the fox"}], "max_tokens": 6}
assert Predictor("decoder", **options).predict(chat)["choices"][0]["message"]["content"]
parts = Predictor("decoder", **{**options, "deserializer": StreamDeserializer()}).predict_stream(
    {**body, "stream": True}
)
raw = b"".join(part if isinstance(part, bytes) else part["PayloadPart"]["Bytes"] for part in parts)
assert b'"finish_reason"' in raw
