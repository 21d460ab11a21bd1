"""sentence-transformers: its modules in a row, trained with its own loss; the batch is a dict of features."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from tests.zoo.case import Case, Lit
from tests.zoo.isolated.library import Library

LENGTHS = (8, 12, 10)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{i}" for i in range(45))]
CONFIG = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def _sentence_transformer(pooling: str) -> Any:
    """Return a small model with random weights, which the library reads from a folder."""
    import transformers
    from sentence_transformers import SentenceTransformer, models

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
        Path(folder, "tokenizer_config.json").write_text(
            json.dumps({"tokenizer_class": "BertTokenizer"}), encoding="utf-8"
        )
        transformers.BertModel(transformers.BertConfig(**CONFIG)).save_pretrained(folder)
        words = models.Transformer(folder, max_seq_length=16)
    parts = [words, models.Pooling(16, pooling_mode=pooling), models.Dense(16, 8), models.Normalize()]
    return SentenceTransformer(modules=parts, device="cpu")


class Pairs(Lit):
    """Trains on pairs of sentences; forward gives the embedding of a dict of features."""

    def __init__(self, pooling: str) -> None:
        super().__init__()
        from sentence_transformers import losses

        self.model = _sentence_transformer(pooling)
        self.loss = losses.MultipleNegativesRankingLoss(self.model)

    def forward(self, features):
        return self.model(features)["sentence_embedding"]

    def step(self, batch: Any) -> Tensor:
        first, second, labels = batch
        return self.loss([dict(first), dict(second)], labels) + 0 * self(dict(first)).sum()


def _features(size: int, length: int) -> dict[str, Tensor]:
    ids = torch.randint(5, 50, (size, length))
    lengths = torch.randint(2, length + 1, (size, 1))
    lengths[0] = length
    return {"input_ids": ids, "attention_mask": (torch.arange(length) < lengths).long()}


def _batch(size: int, variant: int) -> Any:
    length = LENGTHS[variant]
    return _features(size, length), _features(size, length), torch.zeros(size)


def _first(batch: Any) -> Any:
    return (batch[0],), {}


def _make(pooling: str) -> Any:
    def make() -> pl.LightningModule:
        return Pairs(pooling)

    return make


LIBRARY = Library(
    "sentence-transformers",
    cases=tuple(
        Case(f"sentence_transformers/{pooling}", _make(pooling), _batch, _first, True)
        for pooling in ("mean", "cls", "max")
    ),
)
