"""Train on handwritten digits with MLflow, register the model, and classify with the model from the registry.

Usage: python examples/mlflow_registry.py [directory]

`mlflow ui --backend-store-uri sqlite:///<directory>/mlflow.db` shows the run, its report and the registered model.
"""

import sys
from pathlib import Path

import mlflow
from digits import DigitClassifier, digits
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import MLFlowLogger

from lightning_onnx import ONNXExport

if __name__ == "__main__":
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "runs").resolve()
    root.mkdir(parents=True, exist_ok=True)
    seed_everything(0)
    uri = f"sqlite:///{root / 'mlflow.db'}"
    logger = MLFlowLogger("digits", tracking_uri=uri, artifact_location=(root / "mlruns").as_uri())
    callback = ONNXExport(root / "onnx", output_names=["logits"], register_as="digits")
    trainer = Trainer(
        max_epochs=4,
        accelerator="cpu",
        logger=logger,
        callbacks=[ModelCheckpoint(root / "checkpoints", monitor="val_loss"), callback],
        enable_progress_bar=False,
        log_every_n_steps=10,
    )
    train, val = digits()
    trainer.fit(DigitClassifier(), train, val)

    # The rest needs only the address and the name of the model: run it anywhere.
    mlflow.set_tracking_uri(uri)
    model = mlflow.pyfunc.load_model("models:/digits@best")
    right = sum(
        int((model.predict({"images": images.numpy()})["logits"].argmax(-1) == labels.numpy()).sum())
        for images, labels in val
    )
    total = len(val.dataset)
    print(model.metadata.signature)
    print(f"models:/digits@best: {right} of {total} right, {right / total:.2%}")
