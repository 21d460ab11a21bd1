"""In a worker of Ray, artifacts go where Ray keeps the results of the run or the trial.

The tests with Ray itself run where it is installed: `make ray`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lightning_onnx import ONNXArtifact
from lightning_onnx.training.ray_storage import kept_by_ray


@pytest.fixture
def ray_context(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Make this process a worker of Ray Train or Ray Tune, as far as its storage tells."""
    (tmp_path / "working").mkdir()
    monkeypatch.chdir(tmp_path / "working")

    def outside() -> Any:
        raise RuntimeError("must be called inside a worker")

    for name in ("ray.train", "ray.tune"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(get_context=outside))  # type: ignore[arg-type]

    def make(name: str, kind: str = "local", **folders: str) -> None:
        storage = SimpleNamespace(storage_filesystem=SimpleNamespace(type_name=kind), **folders)
        context = SimpleNamespace(get_storage=lambda: storage)
        monkeypatch.setattr(sys.modules[name], "get_context", lambda: context)

    return make


def test_a_worker_of_ray_train_keeps_them_in_the_directory_of_the_run(ray_context: Any) -> None:
    ray_context("ray.train", experiment_fs_path="/store/run")
    assert kept_by_ray(str(Path("onnx").absolute())) == "/store/run/onnx"
    assert kept_by_ray("lightning_logs/version_0/onnx") == "/store/run/lightning_logs/version_0/onnx"


def test_a_trial_of_ray_tune_keeps_them_in_its_own_directory(ray_context: Any) -> None:
    ray_context("ray.tune", experiment_fs_path="/store/run", trial_fs_path="/store/run/trial_3")
    assert kept_by_ray("onnx") == "/store/run/trial_3/onnx"


@pytest.mark.parametrize("elsewhere", ["/mnt/shared/onnx", "s3://bucket/onnx"])
def test_a_directory_that_the_user_chose_stays(ray_context: Any, elsewhere: str) -> None:
    ray_context("ray.train", experiment_fs_path="/store/run")
    assert kept_by_ray(elsewhere) == elsewhere


def test_storage_that_is_no_disk_is_told(ray_context: Any) -> None:
    ray_context("ray.train", kind="s3", experiment_fs_path="bucket/run")
    with pytest.warns(UserWarning, match="which Ray does not keep, .* Give ONNXExport a dirpath there"):
        assert kept_by_ray("onnx") == "onnx"


def test_outside_of_a_worker_nothing_changes(ray_context: Any) -> None:
    assert kept_by_ray("onnx") == "onnx"


def test_without_ray_the_working_directory_is_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ray.train", "ray.tune"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "removed").mkdir()
    monkeypatch.chdir(tmp_path / "removed")
    (tmp_path / "removed").rmdir()
    assert kept_by_ray("/mnt/shared/onnx") == "/mnt/shared/onnx"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Ray on this machine, with a directory for its results."""
    ray = pytest.importorskip("ray", reason="ray is not installed here; `make ray` makes an environment with it")
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    yield tmp_path_factory.mktemp("storage")
    ray.shutdown()


def the_artifact(folder: str) -> Path:
    """Return the only artifact below a folder, which must have passed its checks."""
    (manifest,) = Path(folder).rglob("manifest.json")
    assert ONNXArtifact.load(manifest.parent).passed
    return manifest.parent


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_workers_of_ray_train_leave_one_artifact_in_the_result(cluster: Path) -> None:
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from tests.training import ray_runs

    run = RunConfig(name="digits", storage_path=str(cluster))
    result = TorchTrainer(ray_runs.train, scaling_config=ScalingConfig(num_workers=2), run_config=run).fit()
    assert the_artifact(result.path).parent == Path(result.path, "onnx")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_each_trial_of_a_sweep_leaves_an_artifact_in_its_result(cluster: Path) -> None:
    from ray import tune

    from tests.training import ray_runs

    rates = [0.01, 0.02, 0.03, 0.04]
    sweep = tune.Tuner(
        ray_runs.trial,
        param_space={"lr": tune.grid_search(rates)},
        run_config=tune.RunConfig(name="sweep", storage_path=str(cluster)),
    )
    results = sweep.fit()
    assert not results.errors
    assert sorted(result.config["lr"] for result in results) == rates
    assert len({the_artifact(result.path) for result in results}) == 4
