"""Environment variables of a container are shown where people decide; the values of secrets are not."""

from __future__ import annotations

import html

import pytest
from msgspec.structs import replace

from promotion.domain.package_changes import changes
from promotion.domain.variables import CHANGED, HIDDEN, changed, is_secret, shown
from promotion.rendering.documents.card import DIFFERS_FURTHER, differences, package_document
from tests.rules.scenario import CONFIG, Scenario, package, page

TOKEN = "hf_" + "a1B2" * 8


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HF_TOKEN", "x1"),
        ("HUGGING_FACE_HUB_TOKEN", TOKEN),
        ("db-password", "swordfish"),
        ("DB_PASSWORD", "1234"),
        ("AWS_SECRET_ACCESS_KEY", "abc/def"),
        ("apiKey", "k"),
        ("HFTOKEN", "x1"),
        ("DBPASSWORD", "swordfish"),
        ("PGPASSWORD", "20240101"),
        ("APIKEY1", "12345"),
        ("HTTP_AUTHORIZATION", "Basic YW5u"),
        ("PIP_INDEX", f"github_pat_{'a1B2' * 8}"),
        ("SLACK", "xoxb-123456789012-abcdef"),
        ("IDENTITY", "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2ln"),
        ("DATA_URL", "https://b.s3.amazonaws.com/k?X-Amz-Expires=60&X-Amz-Signature=ab"),
        ("OPENAI_API_KEY", "k"),
        ("SAGEMAKER_PROGRAM_ARGS", f"--auth {TOKEN}"),
        ("MLFLOW_TRACKING_URI", "https://ann:swordfish@mlflow.example.com"),
        ("CERTIFICATE", "-----BEGIN PRIVATE KEY-----"),
    ],
)
def test_values_that_look_like_secrets_are_hidden(name: str, value: str) -> None:
    assert is_secret(name, value)
    assert shown({name: value}) == {name: HIDDEN}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HF_TASK", "summarization"),
        ("MAX_INPUT_TOKENS", "many"),
        ("MAX_TOKEN", "512"),
        ("EOS_TOKEN", "<|endoftext|>"),
        ("EOSTOKEN", "<eos>"),
        ("NUM_TOKENS", "many"),
        ("TOKENIZERS_PARALLELISM", "true"),
        ("KEY", "value"),
        ("SAGEMAKER_SUBMIT_DIRECTORY", "/opt/ml/model/code"),
        ("HF_TOKEN", ""),
        ("MLFLOW_TRACKING_URI", "https://mlflow.example.com:443/a@b"),
    ],
)
def test_other_values_are_shown(name: str, value: str) -> None:
    assert not is_secret(name, value)
    assert shown({name: value}) == {name: value}


def test_a_secret_that_changes_is_told_and_not_shown() -> None:
    assert changed("HF_TOKEN", "one", "two") == (HIDDEN, CHANGED)
    assert changed("HF_TOKEN", "one", "one") == (HIDDEN, HIDDEN)
    assert changed("HF_TOKEN", "", "two") == ("", HIDDEN)
    assert changed("HF_TASK", "a", "b") == ("a", "b")


def staged(**environment: str) -> Scenario:
    scenario = Scenario()
    [container] = package(1).containers
    scenario.registers(1, containers=(replace(container, environment=environment),))
    return scenario


def test_pages_show_names_and_values() -> None:
    scenario = staged(HF_TASK="summarization", DTYPE="bfloat16", HF_TOKEN=TOKEN)
    for document in (page("request", scenario.request("dev", 1)), page("version", scenario.version(1))):
        words = html.unescape(document)
        assert "<code>DTYPE=bfloat16</code><br>" in words
        assert "<code>HF_TASK=summarization</code>" in words
        assert f"<code>HF_TOKEN={HIDDEN}</code>" in words
        assert TOKEN not in words
    assert TOKEN not in str(scenario.request("dev", 1))


def test_without_variables_the_page_says_so() -> None:
    assert "<dt>Environment variables</dt><dd>none</dd>" in page("request", staged().request("dev", 1))


def test_changes_in_the_registry_name_variables_and_show_no_secret() -> None:
    first = package(1)
    [container] = first.containers
    before = replace(first, containers=(replace(container, environment={"HF_TOKEN": TOKEN, "DTYPE": "float32"}),))
    after = replace(first, containers=(replace(container, environment={"HF_TOKEN": "other", "DTYPE": "int8"}),))
    assert changes(before, after, CONFIG.environment_names) == {
        "settings HF_TOKEN": (HIDDEN, CHANGED),
        "settings DTYPE": ("float32", "int8"),
    }


def test_a_comparison_with_the_live_version_shows_no_secret() -> None:
    live, candidate = (staged(HF_TOKEN=value).view.version(1) for value in (TOKEN, "other"))
    assert differences(candidate, live, CONFIG.environment_names) == [
        {"what": "Setting HF_TOKEN", "live": HIDDEN, "candidate": CHANGED}
    ]


def test_all_of_a_variable_is_shown() -> None:
    """SageMaker takes names and values of 1,024 characters, and none hides behind another's beginning."""
    name, value = "N" * 1000, "a harmless beginning " * 30
    scenario = staged(**{f"{name}A": f"{value}one", f"{name}B": f"{value}two"})
    [container] = package_document(scenario.view.version(1).package, None, CONFIG.environment_names)["containers"]
    assert container["environment"] == {f"{name}A": f"{value}one", f"{name}B": f"{value}two"}


def test_a_value_that_differs_behind_what_is_shown_is_a_difference_from_live() -> None:
    before, after = "a harmless beginning " * 10 + "one", "a harmless beginning " * 10 + "two"
    live, candidate = (staged(ARGUMENTS=value).view.version(1) for value in (before, after))
    [found] = differences(candidate, live, CONFIG.environment_names)
    assert found["what"] == "Setting ARGUMENTS"
    assert found["candidate"] == f"{found['live']}{DIFFERS_FURTHER}"


def test_each_container_of_a_pipeline_is_compared_with_lives() -> None:
    [first] = package(1).containers
    second = replace(first, image="pre:1", sha256="aa" * 32, environment={"MODE": "strict"})
    other = replace(second, image="pre:2", sha256="bb" * 32, environment={"MODE": "lax"})
    live, candidate = Scenario(), Scenario()
    live.registers(1, containers=(first, second))
    candidate.registers(1, containers=(first, other))
    found = differences(candidate.view.version(1), live.view.version(1), CONFIG.environment_names)
    assert [(each["what"], each["live"], each["candidate"]) for each in found] == [
        ("Artifact (SHA-256) of container 2", "aa" * 6, "bb" * 6),
        ("Image of container 2", "pre:1", "pre:2"),
        ("Setting MODE of container 2", "strict", "lax"),
    ]


def test_of_two_names_that_begin_alike_the_one_that_changed_is_named() -> None:
    first = package(1)
    [container] = first.containers
    long = "N" * 200
    before = replace(first, containers=(replace(container, environment={f"{long}A": "1", f"{long}B": "1"}),))
    after = replace(first, containers=(replace(container, environment={f"{long}A": "2", f"{long}B": "1"}),))
    assert list(changes(before, after, CONFIG.environment_names).values()) == [("1", "2")]
