"""A DistilBert, fine-tuned with peft's LoRA, that recognizes from a few words which scikit-learn data set is described.

Run ``python examples/text_classification.py`` (``pip install transformers peft``). The texts are the descriptions that
scikit-learn ships; the model is small and its weights are random, so nothing is downloaded. Batch and number of tokens
differ from call to call, so both are dynamic. The adapters are merged into the exported weights: the graph has no
node of LoRA, and as many MatMul as the model had before peft.
"""

import argparse
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import peft
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from sklearn import datasets
from torch.nn import functional as F
from torch.utils.data import DataLoader
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from lightning_onnx import ONNXExport

LABELS = ["breast_cancer", "diabetes", "digits", "iris", "linnerud", "wine"]
TEXTS = [re.findall(r"[a-z]+", getattr(datasets, f"load_{label}")().DESCR.lower()) for label in LABELS]
WORDS = {word: number for number, word in enumerate(sorted({w for text in TEXTS for w in text}), start=1)}  # 0 pads


def snippets(test, step):
    """Cut each text into blocks of 24 words, every fifth for testing; return labeled runs of 8 to 24 words."""
    rng = np.random.default_rng(0)
    found = []
    for label, text in enumerate(TEXTS):
        for number, start in enumerate(range(0, len(text), 24)):
            for first in range(0, 16, step) if (number % 5 == 4) == test else ():
                words = text[start + first : start + rng.integers(first + 8, 25)]
                found += [(torch.tensor([WORDS[word] for word in words]), label)] if words else []
    return found


def collate(rows):
    """Pad to the longest."""
    ids = torch.nn.utils.rnn.pad_sequence([ids for ids, _ in rows], batch_first=True)
    return {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": torch.tensor([label for _, label in rows])}


class Classifier(LightningModule):
    """DistilBert with adapters in its attention, and a new head."""

    def __init__(self):
        super().__init__()
        config = DistilBertConfig(
            vocab_size=len(WORDS) + 1, dim=64, hidden_dim=128, n_layers=2, n_heads=4, num_labels=len(LABELS)
        )
        lora = peft.LoraConfig(
            task_type="SEQ_CLS", r=8, target_modules=["q_lin", "v_lin"], modules_to_save=["embeddings"]
        )
        self.model = peft.get_peft_model(DistilBertForSequenceClassification(config), lora)

    def forward(self, input_ids, attention_mask):
        """Return the logits."""
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits

    def training_step(self, batch):
        """Return the loss."""
        return F.cross_entropy(self(batch["input_ids"], batch["attention_mask"]), batch["labels"])

    def validation_step(self, batch):
        """Log loss and accuracy, both from the logits."""
        logits = self(batch["input_ids"], batch["attention_mask"])
        self.log("val_loss", F.cross_entropy(logits, batch["labels"]), batch_size=len(logits))
        self.log("val_acc", (logits.argmax(-1) == batch["labels"]).float().mean(), batch_size=len(logits))

    def configure_optimizers(self):
        """Use AdamW on the parameters that peft keeps trainable."""
        return torch.optim.AdamW((p for p in self.parameters() if p.requires_grad), lr=3e-3)


def main():
    """Train, export, inspect the graph, and run it at other sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("runs"), help="where everything goes; default: ./runs")
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    seed_everything(0)
    train = DataLoader(snippets(test=False, step=1), batch_size=32, shuffle=True, collate_fn=collate)
    test = DataLoader(snippets(test=True, step=4), batch_size=32, collate_fn=collate)
    module, callback = Classifier(), ONNXExport(output_names=["logits"])
    module.model.print_trainable_parameters()
    checkpoint = ModelCheckpoint(monitor="val_acc", mode="max")
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=options.epochs,
        default_root_dir=options.root,
        callbacks=[checkpoint, callback],
        enable_progress_bar=False,
    )
    trainer.fit(module, train, test)

    artifact = callback.artifact
    print(f"{checkpoint.best_model_score:.1%} of {len(test.dataset)} snippets right that training did not see")
    print(artifact.signature)
    graph = onnx.load(artifact.model_path).graph
    named = [x.name for x in (*graph.node, *graph.initializer)]
    print("MatMul and Gemm:", sum(n.op_type in ("MatMul", "Gemm") for n in graph.node), end="; ")
    print("nodes or weights named after LoRA:", sum("lora" in name.lower() for name in named))

    best = Classifier.load_from_checkpoint(checkpoint.best_model_path).eval()
    session = onnxruntime.InferenceSession(artifact.model_path, providers=["CPUExecutionProvider"])
    for rows, words in ((1, 3), (7, 40), (64, 100)):  # no batch of training had one of these sizes
        ids = np.random.default_rng(2).integers(1, len(WORDS), (rows, words))
        mask = (np.arange(words) < np.linspace(1, words, rows)[:, None]).astype(np.int64)
        (logits,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
        with torch.inference_mode():
            difference = np.abs(best(torch.from_numpy(ids), torch.from_numpy(mask)).numpy() - logits).max()
        print(f"{rows} texts of {words} words: largest difference to the module {difference:.0e}")


if __name__ == "__main__":
    main()
