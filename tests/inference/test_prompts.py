"""Prompts with examples: what they read, letter for letter, and what is refused; and which of them is best."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from inference.__main__ import main
from inference.batch.commands import load_pipeline
from inference.errors import ModelBroken, RecordInvalid
from inference.records.prompt_templates import Prompts
from promotion.client.artifact import manifest_of_folder
from promotion.errors import Invalid
from tests.inference.real_time import answer_record
from tests.inference.servers import serving

SHIPPED = Path(__file__).parents[2] / "examples" / "prompts"

SUMMARISE = """\
[CLM] Summarise each text in one sentence.

Text: The harbour was closed on Monday because of a storm. Ferries will sail again on Tuesday at noon, its master said.
Summary: A storm closed the harbour until Tuesday noon.

Text: Anna Berg has run the town library for thirty years. On Friday she retires; her deputy Tom Lind takes over.
Summary: After thirty years Anna Berg hands the town library to her deputy Tom Lind.

Text: {not a template}
Summary:"""
TRANSLATE = """\
[CLM] Translate from English to German.

English: The ferry sails at noon.
German: Die Fähre legt am Mittag ab.

English: Good night.
German:"""
VERBALISE = """\
[CLM] Say in one sentence what the facts say.

Facts: name = The Mill; food = Italian; area = riverside
Sentence: The Mill is an Italian restaurant by the river.

Facts: city = Bergen; temperature = 8 °C; sky = rain
Sentence: It rains in Bergen at 8 °C.

Facts: name = Holm; people = 400
Sentence:"""
ANSWER_BY_DUMMY = """\
[CLM] Answer the question from the context.

Context: A context.
Question: A question?
Answer: what the context says

Context: Holm has 400 people.
Question: How many live in Holm?
Answer:"""
HOLM = {"context": "Holm has 400 people.", "question": "How many live in Holm?"}
ANSWER_AS_CHAT = [
    {
        "role": "system",
        "content": "You answer from the context alone. Where it doesn't say, you answer: unknown.",
    },
    {
        "role": "user",
        "content": "Answer the question from the context.\n\n"
        "Context: The ferry to Holm sails at noon and takes an hour.\nQuestion: How long does the ferry take?\nAnswer:",
    },
    {"role": "assistant", "content": "an hour"},
    {"role": "user", "content": "Context: Holm has 400 people.\nQuestion: How many live in Holm?\nAnswer:"},
]


@pytest.fixture(scope="module")
def shipped() -> Prompts:
    return Prompts.of(SHIPPED)


@pytest.mark.parametrize(
    ("name", "variables", "shots", "wanted"),
    [
        ("summarise", {"text": "{not a template}"}, None, SUMMARISE),
        ("translate", {"source": "English", "target": "German", "text": "Good night."}, None, TRANSLATE),
        ("verbalise", {"facts": {"name": "Holm", "people": 400}}, 2, VERBALISE),
        ("answer", HOLM, 0, ANSWER_BY_DUMMY),
    ],
    ids=["summarise", "translate", "data to text", "question answering, by a dummy"],
)
def test_a_prompt_reads_so(
    shipped: Prompts, name: str, variables: dict[str, Any], shots: int | None, wanted: str
) -> None:
    assert shipped.named(name).text(variables, shots) == wanted


def test_the_chat_form_has_system_user_and_assistant(shipped: Prompts) -> None:
    assert shipped.named("answer").messages(HOLM, 1) == ANSWER_AS_CHAT


def test_a_variable_is_text_and_never_a_template(shipped: Prompts) -> None:
    text = shipped.named("summarise").text({"text": "{{ 7 * 7 }} {% raw %}"}, 0)

    assert "Text: {{ 7 * 7 }} {% raw %}\n" in text


@pytest.mark.parametrize(
    ("record", "field", "reason"),
    [
        ({"template": "summarise"}, "variables.text", "is missing: the template summarise needs it"),
        ({"template": "summarise", "variables": {"txt": "x"}}, "variables.txt", "there are summary, text"),
        ({"template": "sumarise", "variables": {}}, "template", "there are answer, summarise, translate, verbalise"),
        ({"template": 7}, "template", "must name one"),
        ({"template": "summarise", "variables": [1]}, "variables", "must be an object"),
        ({"template": "summarise", "variables": {"text": "x"}, "shots": 3}, "shots", "is 3, and summarise has 2"),
        ({"template": "summarise", "variables": {"text": "x"}, "shots": True}, "shots", "must be a whole number"),
        ({"template": "summarise", "variables": {"text": "x"}, "form": "song"}, "form", "must be text or chat"),
        ({"template": "summarise", "inputs": "x"}, "inputs", "is sent beside a template"),
        ({"template": "verbalise", "variables": {"facts": "no object"}}, "variables", "is missing"),
    ],
    ids=str,
)
def test_an_invalid_prompt_record_is_refused_by_its_field(
    shipped: Prompts, record: dict[str, Any], field: str, reason: str
) -> None:
    with pytest.raises(Invalid) as refused:
        shipped.applied(record)

    assert refused.value.field == field
    assert reason in refused.value.reason


def test_a_record_without_a_template_is_left_as_it_is(shipped: Prompts) -> None:
    data = {"inputs": "x", "template": "somebody's own data"}

    assert shipped.applied({"inputs": "x"}) == {"inputs": "x"}
    assert Prompts({}).applied(data) == data


QUESTION = "{% block question %}{{ text }}{% endblock %}"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"a.jinja": "{% block question %}{{ text"}, r"prompts/a.jinja line 1: "),
        ({"a.jinja": "{% block other %}x{% endblock %}"}, "has a block other; blocks are"),
        ({"a.jinja": "just text"}, "has no block question"),
        ({"a b.jinja": QUESTION}, "letters, digits"),
        ({"a.jinja": QUESTION + "\udcff"}, "prompts/a.jinja: 'utf-8' codec can't decode byte 0xff"),
        ({"a.jinja": QUESTION, "a.examples.jsonl": "[1]\n"}, "line 1 is no JSON object"),
        ({"a.jinja": QUESTION, "a.examples.jsonl": '{"text": "x"}\n{"text'}, "line 2 is no JSON object"),
        ({"a.jinja": QUESTION, "a.examples.jsonl": '{"txt": "x"}\n'}, "don't fit: variables.text: is missing"),
        ({"a.jinja": QUESTION + "{% block shots %}two{% endblock %}"}, "don't fit: invalid literal"),
        ({"a.jinja": QUESTION + "{% block form %}song{% endblock %}"}, "don't fit: form: is 'song'"),
        (
            {
                "a.jinja": "{% block question %}{{ text.__class__.__mro__ }}{% endblock %}",
                "a.examples.jsonl": '{"text": "x"}',
            },
            "don't fit: template: a fails: access to attribute '__class__'",
        ),
        (
            {"a.jinja": "{% block question %}{% include '/etc/passwd' %}{% endblock %}", "a.examples.jsonl": "{}\n"},
            "no loader for this environment",
        ),
    ],
    ids=str,
)
def test_a_template_that_cannot_be_used_is_refused_when_the_artifact_is_opened(
    tmp_path: Path, files: dict[str, str], reason: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8", errors="surrogateescape")

    with pytest.raises(ModelBroken) as refused:
        Prompts.of(tmp_path)

    assert reason in str(refused.value)


@pytest.fixture(scope="module")
def artifact(llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact")
    shutil.copytree(llama_folder, folder, dirs_exist_ok=True)
    shutil.copytree(SHIPPED, folder / "prompts")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 1_024}))
    return folder


def opened(folder: Path) -> Any:
    return load_pipeline(folder, task=None, hub_id=None, hyper_params=None, approval_id=None)


def test_templates_are_part_of_what_is_approved(artifact: Path) -> None:
    before = manifest_of_folder(artifact).sha256
    template = artifact / "prompts" / "summarise.jinja"
    kept = template.read_text()
    template.write_text(kept + "\n")
    changed = manifest_of_folder(artifact).sha256
    template.write_text(kept)

    assert changed != before == manifest_of_folder(artifact).sha256


def test_a_record_may_name_a_template_instead_of_its_text(artifact: Path) -> None:
    pipeline = opened(artifact)
    asked = {"template": "answer", "variables": HOLM, "shots": 0, "max_new_tokens": 4}

    [by_name], _ = answer_record(pipeline, asked)
    [by_text], _ = answer_record(pipeline, {"inputs": ANSWER_BY_DUMMY, "max_new_tokens": 4})
    [as_chat], _ = answer_record(pipeline, {**asked, "shots": 1, "form": "chat", "return_full_text": True})

    assert by_name == by_text
    assert as_chat["generated_text"].startswith("<s>[INST] <<SYS>>\nYou answer from the context alone.")


def test_a_missing_variable_is_that_lines_error_and_a_400_in_real_time(artifact: Path) -> None:
    pipeline = opened(artifact)
    record = {"id": 5, "template": "answer", "variables": {"context": "x"}}

    answered = json.loads(pipeline.answer_lines([json.dumps(record).encode()]).lines[0])
    with pytest.raises(RecordInvalid) as refused:
        answer_record(pipeline, record)
    with serving(pipeline) as (address, _, _):
        answer = httpx.post(f"{address}/invocations", json=record, timeout=60)

    assert answered["error"].startswith("record 5: variables.question: is missing")
    assert refused.value.field == "variables.question"
    assert (answer.status_code, answer.json()["error"]) == (400, answered["error"])


@pytest.fixture
def compared(artifact: Path, tmp_path: Path) -> list[str]:
    """Records whose answers are known: what the model says to the first template's prompt."""
    pipeline = opened(artifact)
    inputs, references = tmp_path / "data.jsonl", tmp_path / "references.jsonl"
    records = [{"id": n, "variables": {**HOLM, "question": f"Question {n}?"}, "max_new_tokens": 6} for n in range(5)]
    answers = [answer_record(pipeline, {**record, "template": "answer", "shots": 0})[0][0] for record in records]
    inputs.write_text("".join(json.dumps(record) + "\n" for record in records))
    references.write_text(
        "".join(json.dumps({"id": n, "answer": one["generated_text"]}) + "\n" for n, one in enumerate(answers))
    )
    places = ["--input", str(inputs), "--references", str(references), "--output", str(tmp_path / "out")]
    return ["compare-prompts", "--model-dir", str(artifact), "--unverified", *places]


def test_the_best_prompt_is_found_told_and_drawn(
    compared: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*compared, "--templates", "answer", "--shots", "2,0", "--metric", "exact_match"], {}) == 0

    document = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [one["name"] for one in document["candidates"]] == ["answer-0-shots", "answer-2-shots"]
    best = document["candidates"][0]["metrics"]["exact_match"]
    assert (best["value"], best["low"], best["n"]) == (1.0, 1.0, 5)
    assert document["alternative"].startswith(
        "Exact match by prompt, best first: answer-0-shots 1 (95 % interval 1 to 1)"
    )
    assert (tmp_path / "out" / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out" / "answer-0-shots" / "score" / "metrics.json").exists()
    said = capsys.readouterr()
    assert said.out.startswith("answer-0-shots")
    assert "records/s" in said.err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--templates", "nobody"], "template: must name one of the artifact's templates"),
        (["--shots", "some"], "--shots: must be whole numbers"),
        (["--metric", "beauty", "--templates", "answer"], "--metric: beauty was not measured for all; there are"),
        (["--templates", "summarise"], "No record of summarise could be answered"),
        (["--prompts", "/no/such/folder"], "--prompts: /no/such/folder is no folder"),
        (["--templates", "answer", "--input", "/no/such/file"], "--input: /no/such/file is no file"),
    ],
    ids=str,
)
def test_prompts_that_cannot_be_compared_are_a_usage_error(
    compared: list[str], options: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*compared, "--quiet", *options], {}) == 2

    assert reason in capsys.readouterr().err


def test_a_folder_of_prompts_replaces_the_artifacts_own_even_if_it_has_none(
    compared: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "prompts"
    empty.mkdir()

    assert main([*compared, "--quiet", "--prompts", str(empty)], {}) == 2

    assert "--templates: there is no template: neither the artifact nor --prompts has any" in capsys.readouterr().err


@pytest.mark.parametrize(("line", "reason"), [("{}", "needs an id"), ("x", "not JSON"), ("", "no records")])
def test_data_without_variables_are_refused(
    compared: list[str], tmp_path: Path, line: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data.jsonl").write_text(f"{line}\n" if line else "")

    assert main([*compared, "--quiet"], {}) == 2

    assert reason in capsys.readouterr().err
