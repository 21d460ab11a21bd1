"""Several processes on the CPU, started as users start them: a script and a strategy."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from lightning_onnx import ONNXArtifact

SCRIPT = """
import hashlib, json, os, pickle, random, sys, time, warnings
from datetime import timedelta
warnings.simplefilter("ignore")
import numpy as np
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch.distributed.fsdp import fully_shard
from lightning_onnx import MetricParity, ONNXExport, Parity
from lightning_onnx.training.exporter import Exporter
from tests import models

torch.set_num_threads(1)
STRATEGIES = {
    "ddp": lambda: "ddp",
    "ddp_in_a_hurry": lambda: DDPStrategy(timeout=timedelta(seconds=25)),
    "ddp_spawn": lambda: "ddp_spawn",
    "fsdp2": lambda: ModelParallelStrategy(2, 1, save_distributed_checkpoint=False),
    "fsdp2_shards": lambda: ModelParallelStrategy(2, 1, save_distributed_checkpoint=True),
}


class Sharded(models.Classifier):
    def configure_model(self):
        if not hasattr(self.net[0].weight, "full_tensor"):
            for layer in (self.net[0], self.net[4]):
                fully_shard(layer, mesh=self.device_mesh["data_parallel"])
            fully_shard(self, mesh=self.device_mesh["data_parallel"])


class ShardedChildren(models.Classifier):
    def configure_model(self):
        if not hasattr(self.net[0].weight, "full_tensor"):
            for layer in (self.net[0], self.net[4]):
                fully_shard(layer, mesh=self.device_mesh["data_parallel"])


class ShardedCannotExport(Sharded):
    def forward(self, x):
        return torch.linalg.eigvals(x.T @ x).abs().sum() + super().forward(x)


def slowly(preflight):
    def preflight_that_takes_longer_than_a_collective_may(*args):
        time.sleep(30)
        return preflight(*args)
    return preflight_that_takes_longer_than_a_collective_may


class FailsLater(models.Classifier):
    \"\"\"Its weights cannot be loaded into a copy, which shows on rank zero alone.\"\"\"

    def on_load_checkpoint(self, checkpoint):
        raise RuntimeError("not on this rank")


class Drops(models.Classifier):
    \"\"\"Its training depends on the random state of each rank.\"\"\"

    def training_step(self, batch, batch_idx):
        x, y = batch
        return super().training_step((torch.nn.functional.dropout(x, 0.3), y), batch_idx)


class Recorder(Callback):
    \"\"\"Keeps what must be the same bit for bit: losses, random states and weights.\"\"\"

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        own = (p.to_local() if hasattr(p, "to_local") else p for p in module.parameters())
        weights = torch.cat([p.detach().flatten() for p in own])
        drawn = torch.get_rng_state(), np.random.get_state()[1].tobytes(), random.getstate()
        digest = hashlib.sha256(pickle.dumps([outputs["loss"].item(), weights.numpy().tobytes(), *map(repr, drawn)]))
        self.seen.append(digest.hexdigest())


class FittedLate(models.Classifier):
    \"\"\"Does not run in eval mode before the first epoch has ended.\"\"\"

    scale = None

    def forward(self, x):
        return super().forward(x) if self.training else super().forward(x) * self.scale

    def on_train_epoch_end(self):
        self.scale = 2.0

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", batch[0].mean())


def main():
    settings = json.loads(sys.argv[1])
    torch.manual_seed(0)
    kind = settings["module"]
    module = globals()[kind]() if kind in globals() else getattr(models, kind)()
    callback = ONNXExport(when=settings["when"], weights=settings.get("weights", "best"),
                          preflight=settings.get("preflight", "raise"), dirpath=settings.get("dirpath"),
                          checks=[Parity(), MetricParity()] if settings.get("metrics") else [Parity()])
    if settings["strategy"] == "ddp_in_a_hurry":
        Exporter.preflight = slowly(Exporter.preflight)
    checkpoint = ModelCheckpoint(monitor="val_loss", save_top_k=settings.get("top", 1))
    nodes, recorder = settings.get("nodes", 1), Recorder()
    if settings.get("seed") is not None:
        seed_everything(settings["seed"])
    callbacks = [recorder, checkpoint, *([] if settings.get("without") else [callback])]
    trainer = Trainer(max_epochs=2, accelerator="cpu", devices=2 // nodes, num_nodes=nodes,
                      strategy=STRATEGIES[settings["strategy"]](), logger=False, enable_progress_bar=False,
                      enable_model_summary=False, default_root_dir=settings["root"], callbacks=callbacks)
    try:
        trainer.fit(module, module.batches(), module.batches())
    except Exception as error:
        with open(os.path.join(settings["root"], f"raised-{trainer.global_rank}"), "w") as file:
            file.write(f"{type(error).__name__}: {error}")
        os._exit(3)
    hook = "forward" in module.__dict__
    artifact = None if callback.artifact is None else str(callback.artifact.directory)
    found = {"rank": trainer.global_rank, "failures": callback.failures, "hook": hook, "artifact": artifact,
             "artifacts": len(callback.artifacts), "best": checkpoint.best_model_path, "seen": recorder.seen}
    with open(os.path.join(settings["root"], f"result-{trainer.global_rank}.json"), "w") as file:
        json.dump(found, file)
    if settings.get("state") and trainer.global_rank == 0:
        state = torch.load(checkpoint.best_model_path, weights_only=True)["state_dict"]
        torch.save(state, settings["state"])


if __name__ == "__main__":
    main()
"""


def launch(tmp_path: Path, **settings: Any) -> tuple[subprocess.CompletedProcess[str], list[dict[str, Any]]]:
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(SCRIPT))
    root = Path(__file__).parents[2]
    defaults = {"root": str(tmp_path), "module": "Classifier", "when": "fit_end"}
    command = [sys.executable, str(script), json.dumps(defaults | settings)]
    environment = {**os.environ, "PYTHONPATH": str(root), "MASTER_ADDR": "127.0.0.1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, cwd=root, env=environment, check=False)
    return done, [json.loads(file.read_text()) for file in sorted(tmp_path.glob("result-*.json"))]


@pytest.mark.slow
@pytest.mark.parametrize("when", [pytest.param("fit_end", marks=pytest.mark.nightly), "checkpoint"])
def test_the_training_is_the_one_without_the_callback(when: str, tmp_path: Path) -> None:
    """Losses, weights and random states after each batch, on both ranks."""
    seen = []
    for name in ("with", "without"):
        root = tmp_path / name
        root.mkdir()
        settings = {"module": "Drops", "strategy": "ddp", "when": when, "seed": 5, "without": name == "without"}
        done, results = launch(root, **settings)
        assert done.returncode == 0, done.stdout + done.stderr
        assert results[0]["artifacts"] == (name == "with")
        seen.append([result["seen"] for result in results])
    assert len(seen[0][0]) == 2  # a batch in each of two epochs
    assert seen[0] == seen[1]
    assert seen[0][0] != seen[0][1]  # each rank draws its own numbers


@pytest.mark.slow
@pytest.mark.parametrize("when", [pytest.param("fit_end", marks=pytest.mark.nightly), "checkpoint"])
def test_two_nodes_without_a_shared_disk(when: str, tmp_path: Path) -> None:
    """One artifact, on node 0; started by torchrun on both."""
    (tmp_path / "train.py").write_text(textwrap.dedent(SCRIPT))
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes = []
    for rank in range(2):
        own = tmp_path / f"node{rank}"
        own.mkdir()
        settings = json.dumps({"root": str(own), "module": "Classifier", "strategy": "ddp", "when": when, "nodes": 2})
        torchrun = ["-m", "torch.distributed.run", "--nnodes=2", f"--node-rank={rank}", "--nproc-per-node=1"]
        command = [sys.executable, *torchrun, "--master-addr=127.0.0.1", f"--master-port={port}"]
        nodes.append(subprocess.Popen([*command, str(tmp_path / "train.py"), settings], cwd=root, env=environment))
    try:
        assert [node.wait(timeout=300) for node in nodes] == [0, 0]
    finally:
        for node in nodes:
            node.kill()
    results = [json.loads((tmp_path / f"node{rank}" / f"result-{rank}.json").read_text()) for rank in range(2)]
    assert [result["failures"] for result in results] == [[], []]
    (directory,) = (p for p in (tmp_path / "node0" / "onnx").iterdir() if p.name != "index.json")
    assert ONNXArtifact.load(directory).proven
    assert not list((tmp_path / "node1").rglob("model.onnx"))


MODULES = {"ddp": "Classifier", "ddp_spawn": "Classifier", "fsdp2": "Sharded", "fsdp2_shards": "Sharded"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "when"),
    [
        ("ddp", "checkpoint"),
        ("fsdp2_shards", "checkpoint"),
        *(
            pytest.param(strategy, when, marks=pytest.mark.nightly)
            for strategy, when in [
                ("ddp", "fit_end"),
                ("ddp_spawn", "fit_end"),
                ("ddp_spawn", "checkpoint"),
                ("fsdp2", "fit_end"),
                ("fsdp2", "checkpoint"),
                ("fsdp2_shards", "fit_end"),
            ]
        ),
    ],
)
def test_two_ranks_write_one_artifact(strategy: str, when: str, tmp_path: Path) -> None:
    done, results = launch(tmp_path, strategy=strategy, module=MODULES[strategy], when=when)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(r["failures"] == [] and not r["hook"] for r in results), results[0]["failures"]
    assert len(results) == (1 if strategy == "ddp_spawn" else 2)
    (directory,) = (p for p in (tmp_path / "onnx").iterdir() if p.name != "index.json")
    artifact = ONNXArtifact.load(directory)
    assert artifact.proven
    assert artifact.manifest["source"]["weights"] == "best"
    assert results[0]["artifact"] == str(directory)
    assert results[0]["artifacts"] == 1


@pytest.mark.slow
def test_the_preflight_may_take_longer_than_a_collective(tmp_path: Path) -> None:
    done, results = launch(tmp_path, strategy="ddp_in_a_hurry")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [r["failures"] for r in results] == [[], []]
    assert results[0]["artifacts"] == 1


@pytest.mark.slow
def test_checks_do_not_run_the_validation_loop_of_several_ranks(tmp_path: Path) -> None:
    done, results = launch(tmp_path, strategy="ddp", metrics=True)
    assert done.returncode == 0, done.stdout + done.stderr
    checks = ONNXArtifact.load(results[0]["artifact"]).manifest["checks"]
    assert [check["status"] for check in checks] == ["passed", "skipped"]
    assert "this run has 2" in checks[1]["reason"]


@pytest.mark.slow
def test_spawned_processes_write_to_a_url(tmp_path: Path) -> None:
    url = f"local://{tmp_path}/far/onnx"
    done, results = launch(tmp_path, strategy="ddp_spawn", when="checkpoint", dirpath=url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert results[0]["failures"] == []
    (there,) = (tmp_path / "far" / "onnx").glob("*/manifest.json")
    assert Path(results[0]["artifact"]).name == there.parent.name
    assert results[0]["artifacts"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "preflight"),
    [
        ("fsdp2_shards", "raise"),
        pytest.param("fsdp2", False, marks=pytest.mark.nightly),
        pytest.param("fsdp2", "raise", marks=pytest.mark.nightly),
        pytest.param("fsdp2_shards", False, marks=pytest.mark.nightly),
    ],
)
def test_live_weights_of_shards(strategy: str, preflight: Any, tmp_path: Path) -> None:
    done, results = launch(tmp_path, strategy=strategy, module="Sharded", weights="live", preflight=preflight)
    assert done.returncode == 0, done.stdout + done.stderr
    assert results[0]["failures"] == []
    assert ONNXArtifact.load(results[0]["artifact"]).proven


@pytest.mark.slow
def test_shards_in_children_only(tmp_path: Path) -> None:
    done, results = launch(tmp_path, strategy="fsdp2", module="ShardedChildren")
    assert done.returncode == 0, done.stdout + done.stderr
    assert results[0]["failures"] == []
    assert ONNXArtifact.load(results[0]["artifact"]).proven


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [pytest.param("ddp", marks=pytest.mark.nightly), "fsdp2"])
def test_same_bytes_as_one_process(strategy: str, tmp_path: Path) -> None:
    """The same weights in a plain module give the same graph and the same values, byte for byte."""
    import onnx
    import torch

    from lightning_onnx import export
    from tests import models

    done, results = launch(
        tmp_path, strategy=strategy, module=MODULES[strategy], when="checkpoint", state=str(tmp_path / "state.pt")
    )
    assert done.returncode == 0, done.stdout + done.stderr
    module = models.Classifier()
    module.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    alone = export(module, torch.randn(4, 6), directory=tmp_path / "alone")
    several = ONNXArtifact.load(results[0]["artifact"])
    found = []
    for artifact in (alone, several):
        model = onnx.load(artifact.model_path)
        model.ClearField("metadata_props")  # says which epoch and precision the weights are of
        for node in model.graph.node:
            node.ClearField("metadata_props")  # says the class, which has another name here
        found.append(model.SerializeToString(deterministic=True))
    assert found[0] == found[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "module"),
    [("ddp", "CannotExport"), pytest.param("fsdp2", "ShardedCannotExport", marks=pytest.mark.nightly)],
)
def test_a_failure_on_rank_zero_reaches_all_ranks_and_none_waits(strategy: str, module: str, tmp_path: Path) -> None:
    done, _ = launch(tmp_path, strategy=strategy, module=module)
    assert done.returncode != 0
    assert (tmp_path / "raised-0").read_text().startswith("EngineError")
    assert "failed on rank zero" in (tmp_path / "raised-1").read_text()
    assert not list((tmp_path / "onnx").glob("*/model.onnx"))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", pytest.param("ddp_spawn", marks=pytest.mark.nightly)])
def test_all_ranks_wait_for_a_module_that_training_has_yet_to_finish(strategy: str, tmp_path: Path) -> None:
    done, results = launch(tmp_path, strategy=strategy, module="FittedLate", weights="live")
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(r["failures"] == [] and not r["hook"] for r in results), results[0]["failures"]
    assert ONNXArtifact.load(results[0]["artifact"]).proven


@pytest.mark.slow
@pytest.mark.parametrize("when", [pytest.param("fit_end", marks=pytest.mark.nightly), "checkpoint"])
def test_a_failure_after_training_stops_no_rank(when: str, tmp_path: Path) -> None:
    done, results = launch(tmp_path, strategy="ddp", module="FailsLater", when=when)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(results) == 2
    assert "not on this rank" in results[0]["failures"][0]
    assert Path(results[0]["best"]).exists()
