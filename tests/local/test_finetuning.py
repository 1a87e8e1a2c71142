"""Fine-tuning into the loop on one machine: an adapter is registered, approved, measured, and streams from an endpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from examples import finetune_lora
from inference.records.json_lines import dump_line
from local.service import LocalService
from tests.local.people import Person, mails_to
from tests.local.test_endpoints import ROOT, configured

GROUP = "harbour-chat"


def test_an_adapter_goes_the_whole_way(tmp_path: Path) -> None:
    config = configured(tmp_path)
    with LocalService(config=config, home=tmp_path / "home") as service, Person(service, "ann") as ann:
        s3 = service.session().client("s3")
        _, kept = finetune_lora.split(finetune_lora.harbour_pairs(120))
        asked = [
            {"id": at, "inputs": prompt, "parameters": {"max_new_tokens": 8}} for at, (prompt, _) in enumerate(kept)
        ]
        told = [{"id": at, "reference": completion.strip()} for at, (_, completion) in enumerate(kept)]
        for name, records in (("input", asked), ("references", told)):
            body = b"".join(dump_line(record) + b"\n" for record in records)
            s3.put_object(Bucket="promotion-models", Key=f"{GROUP}/dev/{name}.jsonl", Body=body)
        tuned = subprocess.run(
            [
                *(sys.executable, "-m", "examples.finetune_lora", "--output", str(tmp_path / "tuned")),
                *("--examples", "120", "--base-steps", "20", "--steps", "10", "--measured", "4", "--as", "adapter"),
                *("--register", GROUP, "--requested-by", "dee@example.com"),
            ],
            cwd=ROOT,
            env={
                **os.environ,
                "AWS_ENDPOINT_URL": service.aws_url,
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
            },
            capture_output=True,
            text=True,
            timeout=1800,
            check=False,
        )
        assert tuned.returncode == 0, tuned.stderr[-2000:]
        mail = service.wait_for(lambda: mails_to(service, "ann@example.com", f"{GROUP} v1"), seconds=900)[0]
        ann.sign_in(mail["links"][0])
        evidence = ann.json(mail["links"][0])
        assert "held_out_loss" in json.dumps(evidence)
        assert ann.decide(mail["links"][0]).status_code == 303

        # What is live answers, a token at a time.
        def in_service() -> bool:
            endpoint = ann.json(f"/models/{GROUP}")["environments"][0]["endpoint"]
            return endpoint is not None and endpoint["status"] == "InService"

        service.wait_for(in_service, seconds=900)
        request = {"inputs": kept[0][0], "parameters": {"max_new_tokens": 4}, "stream": True}
        answer = (
            service.session()
            .client("sagemaker-runtime")
            .invoke_endpoint_with_response_stream(
                EndpointName=f"promotion-dev-{GROUP}", ContentType="application/json", Body=json.dumps(request).encode()
            )
        )
        text = b"".join(part["PayloadPart"]["Bytes"] for part in answer["Body"]).decode()
        events = [json.loads(line.removeprefix("data:")) for line in text.splitlines() if line.startswith("data:")]
        assert 1 <= len(events) <= 4
        assert events[-1]["generated_text"] is not None

        # And the run on the approved bytes asks for the next environment.
        service.wait_for(
            lambda: [m for m in mails_to(service, "ann@example.com", GROUP) if "[test]" in m["subject"]], seconds=900
        )
