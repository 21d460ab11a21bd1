"""A linear regression on scikit-learn's diabetes data, and the same graph built by hand with ``onnx.helper``.

Run ``python examples/linear_regression.py``. It shows that nothing but the arithmetic is in the exported file: one
MatMul and one Add, with the weights A and B that training found. Four R² on rows that nobody has trained on stand side
by side: the module, the artifact, the graph built by hand, and scikit-learn's own solution.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset

from lightning_onnx import ONNXExport


class Linear(LightningModule):
    """One linear layer, Y = X A + B."""

    def __init__(self, features: int):
        super().__init__()
        self.A = torch.nn.Parameter(torch.zeros(features, 1))
        self.B = torch.nn.Parameter(torch.zeros(1))

    def forward(self, X):
        """Map rows [batch, features] to values [batch, 1]."""
        return X @ self.A + self.B

    def training_step(self, batch):
        """Return the mean squared error."""
        return torch.nn.functional.mse_loss(self(batch[0]), batch[1])

    def configure_optimizers(self):
        """Use L-BFGS: the loss is quadratic, so a few steps over all rows find its minimum."""
        return torch.optim.LBFGS(self.parameters(), line_search_fn="strong_wolfe")


def by_hand(a: np.ndarray, b: np.ndarray, opset: int) -> onnx.ModelProto:
    """Build the graph Y = X A + B."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["X", "A"], ["XA"]), helper.make_node("Add", ["XA", "B"], ["Y"])],
        "linear_regression",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["batch", len(a)])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(a, "A"), numpy_helper.from_array(b, "B")],
    )
    model = helper.make_model_gen_version(graph, opset_imports=[helper.make_opsetid("", opset)])
    onnx.checker.check_model(model, full_check=True)
    return model


def main():
    """Train, export, build, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("runs"), help="where everything goes; default: ./runs")
    root = parser.parse_args().root
    seed_everything(0)
    data = load_diabetes()
    x, test_x, y, test_y = train_test_split(*(v.astype(np.float32) for v in (data.data, data.target)), random_state=0)
    rows = TensorDataset(torch.from_numpy(x), torch.from_numpy(y[:, None]))
    module, callback = Linear(x.shape[1]), ONNXExport(output_names=["Y"])
    trainer = Trainer(
        accelerator="cpu", max_epochs=20, default_root_dir=root, callbacks=[callback], enable_progress_bar=False
    )
    trainer.fit(module, DataLoader(rows, batch_size=len(rows)))

    exported = onnx.load(callback.artifact.model_path)
    opset = next(o.version for o in exported.opset_import if o.domain == "")
    built = by_hand(module.A.detach().numpy(), module.B.detach().numpy(), opset)
    onnx.save(built, root / "by_hand.onnx")

    outputs = {"module": module.eval()(torch.from_numpy(test_x)).detach().numpy()}
    for name, model in {"artifact": exported, "built by hand": built}.items():
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        (outputs[name],) = session.run(["Y"], {"X": test_x})
        nodes = "  ".join(f"{n.op_type}({', '.join(n.input)}) -> {n.output[0]}" for n in model.graph.node)
        print(f"{name:<14} opset {opset}  {nodes}")
    outputs["scikit-learn"] = LinearRegression().fit(x, y).predict(test_x)[:, None]

    weights, own = ({t.name: numpy_helper.to_array(t) for t in m.graph.initializer} for m in (exported, built))
    operators, by_hands = ([n.op_type for n in m.graph.node] for m in (exported, built))
    print("same operators:", operators == by_hands)
    print("same A and B:", all(np.array_equal(weights[name], own[name]) for name in ("A", "B")))
    print("same outputs, bit for bit:", np.array_equal(outputs["artifact"], outputs["built by hand"]))
    print("\n".join(f"{name:<14} R2 {r2_score(test_y, output):.6f}" for name, output in outputs.items()))


if __name__ == "__main__":
    main()
