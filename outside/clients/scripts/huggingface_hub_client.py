"""huggingface_hub: text generation in its forms, chat, endpoint information, summaries and translations, zero-shot."""

import os

from huggingface_hub import InferenceClient

address = os.environ["DECODER"]
for path in ("/invocations", "/generate"):
    client = InferenceClient(address + path)
    whole = client.text_generation("the quick", max_new_tokens=6)
    if path == "/invocations":
        assert "".join(client.text_generation("the quick", max_new_tokens=6, stream=True)) == whole
    assert client.text_generation("the quick", max_new_tokens=6, details=True).details.generated_tokens == 6
client = InferenceClient(address)
assert client.text_generation("the quick", max_new_tokens=6) == whole
chat = InferenceClient(base_url=address)
messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "the fox"}]
said = chat.chat_completion(messages, max_tokens=7)
pieces = [chunk.choices[0].delta.content for chunk in chat.chat_completion(messages, max_tokens=7, stream=True)]
assert "".join(filter(None, pieces)) == said.choices[0].message.content
assert said.usage.completion_tokens == 7
assert InferenceClient(os.environ["SUMMARIES"] + "/invocations").summarization("the quick brown fox").summary_text
assert InferenceClient(os.environ["TRANSLATIONS"] + "/invocations").translation("the fox").translation_text
assert isinstance(InferenceClient(os.environ["SUMMARIES"] + "/generate").text_generation("the fox"), str)
