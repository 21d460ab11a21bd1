"""peft: adapters on a frozen transformer."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch

from tests.zoo.case import Case, LitKwargs, keywords
from tests.zoo.isolated.library import Library

LENGTHS = (7, 10, 9)


def _adapted(kind: str, **options: Any) -> pl.LightningModule:
    import peft
    import transformers

    config = transformers.BertConfig(
        vocab_size=60, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32, num_labels=3,
    )  # fmt: skip
    net = transformers.BertForSequenceClassification(config)
    return LitKwargs(peft.get_peft_model(net, getattr(peft, kind)(task_type="SEQ_CLS", **options)))


def _batch(size: int, variant: int) -> Any:
    shape = (size, LENGTHS[variant])
    return {
        "input_ids": torch.randint(1, 60, shape),
        "attention_mask": torch.ones(shape, dtype=torch.long),
        "labels": torch.randint(0, 3, (size,)),
    }


def _case(name: str, kind: str, **options: Any) -> Case:
    return Case(f"peft/{name}", lambda: _adapted(kind, **options), _batch, keywords("labels"), True)


LOW_RANK = {"r": 4, "lora_alpha": 8, "target_modules": ["query", "value"]}

LIBRARY = Library(
    "peft",
    cases=(
        _case("lora", "LoraConfig", **LOW_RANK, lora_dropout=0.1),
        _case("dora", "LoraConfig", **LOW_RANK, use_dora=True),
        _case(
            "ia3", "IA3Config", target_modules=["key", "value", "output.dense"], feedforward_modules=["output.dense"]
        ),
        _case("oft", "OFTConfig", r=0, oft_block_size=4, target_modules=["query", "value"]),
        _case("prompt_tuning", "PromptTuningConfig", num_virtual_tokens=4),
    ),
)
