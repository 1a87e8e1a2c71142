"""Build and test the inference image without Docker: `make image`, as root on Debian with buildah and debootstrap.

The Dockerfile is the deployed one; only its base differs: it is made from Debian's own packages, without CUDA. The test
runs in a container of the built image, as its user: the help, the refusal of a model that is not approved, and the
answer of an approved model. It writes build/image-try/report.json.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

from infra.image import staged
from local.ports import Held

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "build" / "image-try"
SUITE, MIRROR = "bookworm", "http://deb.debian.org/debian"
BASE, IMAGE = "localhost/debian-base", "localhost/inference"
MODEL = "/opt/ml/model"
STARTS_WITHIN_S = 120
# Debian's Python refuses pip, to protect system packages; in this image that is not needed (PIP_BREAK_SYSTEM_PACKAGES).
PACKAGES = ("python3", "python3-dev", "python3-pip", "ca-certificates", "gcc")
# Named by its packages, so that a kept one is not used after they change.
ROOTFS = f"rootfs-{zlib.crc32(' '.join(PACKAGES).encode()):08x}"
BASE_FILE = f"FROM scratch\nCOPY {ROOTFS}/ /\nENV PIP_BREAK_SYSTEM_PACKAGES=1\n"
# Makes a model of some kilobytes with random weights, in the image by its own packages; prints the digest to approve.
MAKE_MODEL = f"""
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration
from promotion.client.artifact import manifest_of_folder
inner = Tokenizer(models.BPE(unk_token="<unk>"))
inner.pre_tokenizer = pre_tokenizers.Metaspace()
special = ["<pad>", "</s>", "<unk>"]
inner.train_from_iterator(["the harbour is closed", "boats wait outside"] * 9,
                          trainers.BpeTrainer(vocab_size=80, special_tokens=special, show_progress=False))
inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
torch.manual_seed(1)
config = T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
                  decoder_start_token_id=0, pad_token_id=0, eos_token_id=1)
model = T5ForConditionalGeneration(config)
model.generation_config.max_new_tokens = 4
model.save_pretrained("{MODEL}")
tokenizer.save_pretrained("{MODEL}")
print(manifest_of_folder("{MODEL}").sha256)
"""


class Buildah:
    """buildah without daemon and user namespaces: the vfs driver copies files, and chroot isolates processes."""

    def __init__(self, place: Path) -> None:
        self._command = ["buildah", "--root", str(place / "store"), "--runroot", str(place / "run")]
        self._command += ["--storage-driver", "vfs"]

    def __call__(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run([*self._command, *arguments], text=True, stdout=subprocess.PIPE, check=check)
        return done.stdout.strip()

    def start(self, container: str, options: Sequence[str], *command: str) -> subprocess.Popen[bytes]:
        """Start a process in the container, in its own process group, so that all of it can be ended."""
        run = [*self._command, "run", "--isolation", "chroot", *options, container, "--", *command]
        return subprocess.Popen(run, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def build(buildah: Buildah) -> None:
    """Build the base and the image."""
    rootfs = PLACE / ROOTFS
    if not rootfs.exists():
        made = PLACE / "rootfs-being-made"
        shutil.rmtree(made, ignore_errors=True)
        packages = f"--include={','.join(PACKAGES)}"
        subprocess.run(["debootstrap", "--variant=minbase", packages, SUITE, str(made), MIRROR], check=True)
        made.rename(rootfs)
    (PLACE / "Dockerfile").write_text(BASE_FILE, encoding="utf-8")
    buildah("bud", "--isolation", "chroot", "--layers", "--file", str(PLACE / "Dockerfile"), "--tag", BASE, str(PLACE))
    volumes = list(_pip_settings())
    with staged(ROOT) as context:
        buildah(
            "bud", "--isolation", "chroot", "--layers", "--build-arg", f"BASE={BASE}", *volumes,
            "--file", str(context / "inference" / "Dockerfile"), "--tag", IMAGE, str(context),
        )  # fmt: skip


def _pip_settings() -> Iterator[str]:
    """Provide the caller's pip configuration to the build, without adding it to the image."""
    said = subprocess.run([sys.executable, "-m", "pip", "config", "list"], text=True, capture_output=True, check=True)
    lines = ["[global]"]
    for line in said.stdout.splitlines():
        key, _, value = line.partition("=")
        value = value.strip("'")
        lines.append(f"{key.rpartition('.')[2]} = {value}")
        if (path := Path(value)).is_absolute() and path.exists():
            folder = path if path.is_dir() else path.parent
            yield f"--volume={folder}:{folder}:ro"
    (PLACE / "pip.conf").write_text("\n".join(dict.fromkeys(lines)) + "\n", encoding="utf-8")
    yield f"--volume={PLACE / 'pip.conf'}:/etc/pip.conf:ro"


def tried(buildah: Buildah) -> dict[str, Any]:
    """Run a container of the image, and return its answers.

    Raises:
        AssertionError: a result is wrong.
    """
    model = PLACE / "model"
    shutil.rmtree(model, ignore_errors=True)
    model.mkdir()
    model.chmod(0o777)
    container = buildah("from", IMAGE)
    try:
        configured = json.loads(buildah("inspect", container))["OCIv1"]["config"]
        run = ("run", "--isolation", "chroot", f"--volume={model}:{MODEL}")
        user = buildah(*run, container, "--", "id", "--user")
        assert user == configured["User"].partition(":")[0] != "0", user
        shown = buildah(*run, container, "--", *configured["Entrypoint"], "--help")
        assert "serve" in shown, shown
        written = buildah(*run, container, "--", "sh", "-c", "touch /opt/service/inference/x && echo yes || true")
        assert written == "", "its user can change the code"
        digest = buildah(*run, container, "--", "python3", "-c", MAKE_MODEL).splitlines()[-1]
        volume = f"--volume={model}:{MODEL}:ro"
        refused = {
            "nothing approved": _refusal(buildah, container, [volume]),
            "something else approved": _refusal(
                buildah, container, [volume, f"--env=PROMOTION_MANIFEST_SHA256={'0' * 64}"]
            ),
        }
        with _serving(buildah, container, [volume, f"--env=PROMOTION_MANIFEST_SHA256={digest}"]) as url:
            ping, _ = _ask(f"{url}/ping")
            status, answer = _ask(f"{url}/invocations", b'{"inputs": "boats wait outside"}\n')
        assert (ping, status) == (200, 200), answer
        return {"user": user, "refused": refused, "ping": ping, "invocations": status, "answer": answer.strip()}
    finally:
        buildah("rm", container, check=False)


def _refusal(buildah: Buildah, container: str, options: list[str]) -> str:
    """Return the output of a `serve` that must refuse: it exits, and /ping never answers 200."""
    with _started(buildah, container, options) as (process, url):
        assert not _ready(process, url), "it serves what was not approved"
    said = _said(process)
    assert process.returncode not in (0, None), said
    refused = [line.partition("refused: ")[2] for line in said.splitlines() if "refused: " in line]
    assert refused, f"it ended with {process.returncode} and refused nothing: {said}"
    return refused[0]


@contextmanager
def _serving(buildah: Buildah, container: str, options: list[str]) -> Iterator[str]:
    with _started(buildah, container, options) as (process, url):
        if not _ready(process, url):
            _end(process)
            raise AssertionError(f"it does not get ready: {_said(process)}")
        yield url


@contextmanager
def _started(buildah: Buildah, container: str, options: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Start `serve` in the container; yield it with its address."""
    with Held() as held:
        process = buildah.start(
            container, [*options, f"--env=SAGEMAKER_BIND_TO_PORT={held.number}"], "python3", "-m", "inference", "serve"
        )
        try:
            yield process, f"http://127.0.0.1:{held.number}"
        finally:
            _end(process)


def _ready(process: subprocess.Popen[bytes], url: str) -> bool:
    """Return True if /ping answers 200 before the process exits or the time is over."""
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(URLError, ConnectionError):
            if _ask(f"{url}/ping")[0] == 200:
                return True
        time.sleep(0.2)
    return False


def _said(process: subprocess.Popen[bytes]) -> str:
    """Return all output of an ended process."""
    assert process.stdout is not None
    return process.stdout.read().decode(errors="replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _ask(url: str, body: bytes | None = None) -> tuple[int, str]:
    request = urllib.request.Request(url, body, {"Content-Type": "application/jsonlines"} if body else {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - an address of ours
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def main() -> None:
    missing = [tool for tool in ("buildah", "debootstrap") if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        sys.exit(f"It needs root, buildah and debootstrap (Debian: apt-get install {' '.join(missing)}).")
    PLACE.mkdir(parents=True, exist_ok=True)
    buildah, begun = Buildah(PLACE), time.monotonic()
    build(buildah)
    report = {"build_s": round(time.monotonic() - begun), **tried(buildah)}
    images = json.loads(buildah("images", "--json"))
    report["mb"] = {name: each["size"] for each in images for name in each["names"] or []}
    (PLACE / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
