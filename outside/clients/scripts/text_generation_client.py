"""The TGI client: generate and its stream, on /invocations and on TGI's own routes, and chat."""

import os

from text_generation import Client

address = os.environ["DECODER"]
for path in ("/invocations", "/"):
    client = Client(address + path, timeout=60)
    whole = client.generate("the quick", max_new_tokens=6, decoder_input_details=True)
    assert whole.details.generated_tokens == len(whole.details.tokens) == 6
    assert len(whole.details.prefill) > 1, "the prompt's tokens"
    pieces = list(client.generate_stream("the quick", max_new_tokens=6))
    assert pieces[-1].generated_text == whole.generated_text
    assert pieces[-1].details.generated_tokens == 6
answer = Client(address, timeout=60).chat([{"role": "user", "content": "the fox"}], max_tokens=5)
assert answer.choices[0].message.role == "assistant"
assert answer.usage["completion_tokens"] == 5
