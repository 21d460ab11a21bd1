"""Warnings point to the user's own code."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from lightning_onnx import notices

SCRIPT = """
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning_onnx import ONNXExport, export


class Net(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 2)
    def forward(self, x, unused):
        return self.layer(x)
    def training_step(self, batch):
        return self(*batch).sum()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(6, 4), torch.randn(6, 1)), batch_size=3)
trainer = Trainer(max_epochs=1, callbacks=[ONNXExport()], logger=False, enable_checkpointing=False, accelerator="cpu")
trainer.fit(Net(), data)  # the line of fit
export(Net(), (torch.randn(2, 4), torch.randn(2, 1)), directory="out")  # the line of export
"""


@pytest.mark.slow
def test_a_warning_is_at_the_line_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = SCRIPT.splitlines()
    for what in ("fit", "export"):
        number = next(i for i, line in enumerate(lines, 1) if line.endswith(f"# the line of {what}"))
        assert re.search(rf"train\.py:{number}: (UserWarning: )?ONNX export: input 'unused' has no effect", done.stderr)


def test_without_code_of_a_user_it_is_at_the_caller(recwarn: pytest.WarningsRecorder) -> None:
    notices.warn("a text\x1b[31m")
    (warning,) = recwarn
    assert warning.filename == __file__
    assert str(warning.message) == "a text\\x1b[31m"


def test_the_category() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FutureWarning, match="later"):
            notices.warn("later", FutureWarning)


BARS = """
import sys
import lightning.pytorch
from rich.console import Console
from rich.progress import Progress
from tqdm import tqdm
from lightning_onnx import notices

with tqdm(total=3, file=sys.stdout, position=0) as bar:
    bar.update()
    notices.info("ONNX export: beside tqdm")
with Progress(console=Console(force_terminal=True, width=80)) as progress:
    progress.add_task("training", total=3)
    notices.info("ONNX export: beside rich")
    progress.stop()
"""


@pytest.mark.slow
def test_lines_stand_beside_bars(tmp_path: Path) -> None:
    (tmp_path / "bars.py").write_text(BARS)
    command = [sys.executable, "-u", str(tmp_path / "bars.py")]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
    shown = done.stdout.decode()
    before, after = shown.split("ONNX export: beside tqdm\n")
    assert before.endswith("\r")
    assert not before.rpartition("\r")[0].rpartition("\r")[2].strip()  # the bar was cleared
    assert "1/3" in after
    rows = re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", shown).splitlines()
    assert any(row.strip() == "ONNX export: beside rich" for row in rows)
