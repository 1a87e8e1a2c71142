"""Values that AWS refuses by its documentation are refused, or left out, before a call."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from promotion.aws.messages.mailer import in_parts
from promotion.client.live_record import LiveContainer
from promotion.config.loading import parse
from promotion.config.settings import Inference
from promotion.domain import instance_types
from promotion.domain.sagemaker_model import variables
from promotion.errors import Invalid
from promotion.rendering.mails.layout import Message
from tests.fakes import CONFIG_TEXT
from tests.infra.test_machine import MODEL

KEY = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"


@pytest.mark.parametrize(
    "kind", ["ml.g4dn.xlarge", "ml.g5.xlarge", "ml.g6e.2xlarge", "ml.p4d.24xlarge", "ml.m5d.large"]
)
def test_instances_with_local_storage_take_no_volume_key(kind: str) -> None:
    assert instance_types.volume_key(kind, KEY) == {}


@pytest.mark.parametrize("kind", ["ml.m5.xlarge", "ml.c6i.large", "ml.p3.2xlarge", "ml.r7i.large"])
def test_other_instances_get_the_volume_key(kind: str) -> None:
    assert instance_types.volume_key(kind, KEY) == {"VolumeKmsKeyId": KEY}


def test_a_gpu_gets_the_ami_whose_driver_runs_the_image() -> None:
    assert instance_types.transform_ami("ml.g5.xlarge", None) == "al2-ami-sagemaker-batch-gpu-535"
    assert instance_types.inference_ami("ml.g5.xlarge", None) == "al2023-ami-sagemaker-inference-gpu-4-1"
    assert instance_types.transform_ami("ml.m5.xlarge", None) is None


def test_an_ami_of_ones_own_is_taken_and_none_leaves_it_to_sagemaker() -> None:
    assert instance_types.transform_ami("ml.g5.xlarge", "al2-other") == "al2-other"
    assert instance_types.transform_ami("ml.g5.xlarge", "") is None


def container(**own: str) -> LiveContainer:
    return replace(MODEL.containers[0], environment=own)


def test_a_container_may_have_a_hundred_variables_with_ours() -> None:
    assert len(variables(container(**{f"V{n}": "x" for n in range(98)}), MODEL)) == 100
    with pytest.raises(Invalid, match="100 variables"):
        variables(container(**{f"V{n}": "x" for n in range(99)}), MODEL)


def test_a_containers_variables_have_32_kb_together() -> None:
    with pytest.raises(Invalid, match="32 KB"):
        variables(container(**{f"V{n}": "x" * 1000 for n in range(34)}), MODEL)


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        (
            "[advanced.inference]\nmax_payload_mb = 50\nmax_concurrent_transforms = 4",
            "inference.max_concurrent_transforms",
        ),
        ('[advanced.inference]\nhyper_params = "{oops"', "inference.hyper_params"),
        ('[advanced.inference]\nhyper_params = "[1]"', "inference.hyper_params"),
        ('[advanced.inference]\nlongest_transform = "3d"', "inference.longest_transform"),
        ('[inference]\ninput = "s3://lake-{group}/in.jsonl"', "inference.input"),
        ('[advanced.inference]\ntransform_ami_version = "an ami"', "inference.transform_ami_version"),
        ('[artifacts]\nkeys = ["alias/models"]', "artifacts.keys[0]"),
        (
            f'[registry]\nregion = "us-gov-west-1"\n[artifacts]\nkeys = ["{KEY}"]',
            "artifacts.keys[0]",
        ),
    ],
)
def test_settings_that_sagemaker_refuses_at_each_run_are_refused_at_synth(settings: str, place: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(f"{CONFIG_TEXT}\n{settings}\n")
    assert place in refused.value.field


@pytest.mark.parametrize("text", ['{"max_length": 50}', "{'max_length': 50, 'do_sample': True}", "None"])
def test_hyper_params_are_read_as_the_container_reads_them(text: str) -> None:
    assert parse(f'{CONFIG_TEXT}\n[advanced.inference]\nhyper_params = """{text}"""\n').inference.hyper_params == text


@pytest.mark.parametrize(
    ("address", "said"), [("dän@example.com", "ASCII"), ("dan@bücher.example", "dan@xn--bcher-kva.example")]
)
def test_an_address_that_ses_cannot_take_is_refused(address: str, said: str) -> None:
    text = CONFIG_TEXT.replace("ann@example.com", address, 1)
    assert text != CONFIG_TEXT
    with pytest.raises(Invalid, match=said):
        parse(text)


def test_inputs_and_references_name_the_buckets_that_roles_are_let_into() -> None:
    settings = Inference(bucket="runs", input="s3://data-lake/{group}/in.jsonl")
    assert settings.data_buckets == ("data-lake", "runs")


def message(to: int, cc: int) -> Message:
    return Message(
        to=tuple(f"to{n}@example.com" for n in range(to)), cc=tuple(f"cc{n}@example.com" for n in range(cc)),
        subject="s", text="t", html="h", thread="x", message_id="m", date=datetime(2026, 11, 29, tzinfo=UTC),
    )  # fmt: skip


@pytest.mark.parametrize(("to", "cc", "parts"), [(1, 0, 1), (50, 0, 1), (30, 21, 2), (60, 50, 3), (50, 1, 2)])
def test_a_mail_to_more_than_fifty_goes_out_in_parts_that_reach_everybody(to: int, cc: int, parts: int) -> None:
    whole = message(to, cc)
    made = list(in_parts(whole))
    assert len(made) == parts
    assert sorted(one for part in made for one in (*part.to, *part.cc)) == sorted((*whole.to, *whole.cc))
    assert all(part.to and len(part.to) + len(part.cc) <= 50 for part in made)
