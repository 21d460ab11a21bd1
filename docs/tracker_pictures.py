"""Takes the pictures of trackers' own pages: ``python -m docs.tracker_pictures``.

It is not part of ``make docs``, because servers take minutes to start.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator

from docs.made import IMAGES, ROOT, find_browser, photograph

TENSORBOARD, MLFLOW = 6106, 6107
"""Ports of the servers, which this machine alone can reach."""

TRAINING = """
from digits import DigitClassifier, digits
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning_onnx import ONNXExport

seed_everything(0)
callbacks = [ModelCheckpoint(monitor="val_loss", save_top_k=-1), ONNXExport(when="checkpoint")]
Trainer(max_epochs=4, accelerator="cpu", logger=TensorBoardLogger("runs", "digits"), callbacks=callbacks).fit(
    DigitClassifier(), *digits()
)
"""

SCALARS = "#scalars&tagFilter=onnx&_smoothingWeight=0"
"""TensorBoard's page of the figures, not smoothed."""

NEWEST = """
import sys, mlflow

mlflow.set_tracking_uri(sys.argv[1])
experiment = mlflow.get_experiment_by_name("digits").experiment_id
(model, *_) = mlflow.search_logged_models([experiment], output_format="list")
print(f"experiments/{experiment}/models/{model.model_id}")
"""


def main() -> None:
    """Train, serve and take the pictures."""
    browser = find_browser()
    if browser is None:
        raise SystemExit("There is no Chromium here: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        run(folder, "-c", f"import sys; sys.path.insert(0, {str(ROOT / 'examples')!r})\n{TRAINING}")
        with served(folder, TENSORBOARD, "tensorboard.main", "--logdir", "runs") as url:
            photograph(browser, f"{url}/{SCALARS}", IMAGES / "tensorboard.png", (1280, 745))
            photograph(browser, f"{url}/#text", IMAGES / "tensorboard_report.png", (1125, 760))
        run(folder, str(ROOT / "examples" / "mlflow_registry.py"), folder)
        database = f"sqlite:///{folder}/mlflow.db"
        place = run(folder, "-c", NEWEST, database).split()[-1]
        with served(folder, MLFLOW, "mlflow", "server", "--backend-store-uri", database, "--workers", "1") as url:
            photograph(browser, f"{url}/#/{place}", IMAGES / "mlflow.png", (1125, 760))


def run(folder: str, *arguments: str) -> str:
    """Run Python in a folder, and return what it prints."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


@contextlib.contextmanager
def served(folder: str, port: int, *arguments: str) -> Iterator[str]:
    """Run a server while the block runs, and give its address as soon as it answers."""
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", *arguments, "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, cwd=folder)
    try:
        for _ in range(120):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(url, timeout=5).close()
                break
            time.sleep(1)
        yield url
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
