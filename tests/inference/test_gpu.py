"""GPUs as SageMaker's hosts have them: drivers older than torch's CUDA, and GPUs that torch doesn't see."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.models import cuda_compat, gpu

ROOT = Path(__file__).resolve().parents[2]
OLD = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\nGCC version: 7\n"
NEW = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n"


@pytest.fixture
def compat(tmp_path: Path) -> Path:
    folder = tmp_path / "compat"
    folder.mkdir()
    (folder / "libcuda.so.1").touch()
    return folder


def driver(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "version"
    path.write_text(text)
    return path


def test_an_old_driver_gets_cuda_compat_first_on_the_library_path(tmp_path: Path, compat: Path) -> None:
    found = cuda_compat.library_path({"LD_LIBRARY_PATH": "/usr/local/lib"}, driver=driver(tmp_path, OLD), compat=compat)
    assert found == f"{compat}:/usr/local/lib"


def test_a_process_that_has_cuda_compat_first_is_not_started_anew(tmp_path: Path, compat: Path) -> None:
    given = {"LD_LIBRARY_PATH": f"{compat}:/usr/local/lib"}
    assert cuda_compat.library_path(given, driver=driver(tmp_path, OLD), compat=compat) is None


def test_a_new_driver_keeps_its_own_libraries(tmp_path: Path, compat: Path) -> None:
    """Compat libraries older than the driver fail with CUDA error 803."""
    assert cuda_compat.library_path({}, driver=driver(tmp_path, NEW), compat=compat) is None


def test_an_image_without_cuda_compat_keeps_its_library_path(tmp_path: Path) -> None:
    assert cuda_compat.library_path({}, driver=driver(tmp_path, OLD), compat=tmp_path / "none") is None


def test_a_machine_without_a_driver_keeps_its_library_path(tmp_path: Path, compat: Path) -> None:
    assert cuda_compat.library_path({}, driver=tmp_path / "none", compat=compat) is None


def test_a_gpu_that_torch_does_not_see_is_refused(tmp_path: Path) -> None:
    (tmp_path / "nvidia0").touch()
    with pytest.raises(gpu.GpuUnseen, match="transform_ami_version"):
        gpu.refuse_unseen({}, seen=False, devices=tmp_path)


@pytest.mark.parametrize("chosen", ["", "-1"])
def test_the_cpu_of_a_machine_with_a_gpu_is_taken_where_it_is_asked_for(tmp_path: Path, chosen: str) -> None:
    (tmp_path / "nvidia0").touch()
    gpu.refuse_unseen({"CUDA_VISIBLE_DEVICES": chosen}, seen=False, devices=tmp_path)
    with pytest.raises(gpu.GpuUnseen):
        gpu.refuse_unseen({"CUDA_VISIBLE_DEVICES": "0"}, seen=False, devices=tmp_path)


def test_the_drivers_other_device_files_are_no_gpu(tmp_path: Path) -> None:
    (tmp_path / "nvidiactl").touch()
    gpu.refuse_unseen({}, seen=False, devices=tmp_path)
    (tmp_path / "nvidia1").touch()
    with pytest.raises(gpu.GpuUnseen):
        gpu.refuse_unseen({}, seen=False, devices=tmp_path)


def test_the_image_runs_as_root_and_leaves_the_driver_to_the_service() -> None:
    """SageMaker lets no other user write a processing job's output."""
    lines = (ROOT / "inference" / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")] == ["USER 0:0"]
    assert any("NVIDIA_DISABLE_REQUIRE=1" in line for line in lines)
