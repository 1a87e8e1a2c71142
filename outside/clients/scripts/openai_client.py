"""openai: models, chat and completions, whole and in chunks, several choices, parts, and a refusal by name."""

import os

import openai

client = openai.OpenAI(base_url=os.environ["DECODER"] + "/v1", api_key="none", max_retries=0)
[model] = client.models.list().data
parts = [{"type": "text", "text": "the fox"}]
messages = [{"role": "developer", "content": "Be short."}, {"role": "user", "content": parts}]
whole = client.chat.completions.create(model=model.id, messages=messages, max_completion_tokens=9, temperature=0)
assert whole.choices[0].finish_reason in ("length", "stop")
assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
stream = client.chat.completions.create(
    model=model.id, messages=messages, max_tokens=9, temperature=0, stream=True, stream_options={"include_usage": True}
)
chunks = list(stream)
assert (
    "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    == whole.choices[0].message.content
)
assert chunks[-1].usage == whole.usage
assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
several = client.chat.completions.create(model=model.id, messages=messages, n=3, max_tokens=8, temperature=1.0, seed=3)
assert [choice.index for choice in several.choices] == [0, 1, 2]
text = client.completions.create(model=model.id, prompt=["the quick", "a dog"], max_tokens=5)
assert len(text.choices) == 2
pieces = client.completions.create(model=model.id, prompt="the quick", max_tokens=5, stream=True)
assert "".join(piece.choices[0].text for piece in pieces if piece.choices) == text.choices[0].text
stop = whole.choices[0].message.content[2:4]
cut = client.chat.completions.create(model=model.id, messages=messages, max_tokens=9, temperature=0, stop=[stop])
assert stop not in cut.choices[0].message.content
try:
    client.chat.completions.create(model=model.id, messages=messages, frequency_penalty=1.5)
except openai.BadRequestError as error:
    refused = error.param
else:
    refused = None
assert refused == "frequency_penalty"
