"""litgpt: language models from its configurations, trained as its documentation on Lightning does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tests.zoo.case import Case, Lit, first
from tests.zoo.isolated.library import Library

VOCABULARY = 40
SIZES = {"n_layer": 2, "n_head": 4, "n_embd": 32, "block_size": 32, "padded_vocab_size": VOCABULARY}


class Language(Lit):
    """A decoder that learns the next token."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__()
        import litgpt

        self.model = litgpt.GPT(litgpt.Config.from_name(name, **(SIZES | options)))

    def forward(self, idx):
        return self.model(idx)

    def step(self, batch: Any) -> Tensor:
        from litgpt.utils import chunked_cross_entropy

        idx, targets = batch
        return chunked_cross_entropy(self(idx)[..., :-1, :], targets[..., 1:])


def _batch(size: int, variant: int) -> Any:
    tokens = torch.randint(0, VOCABULARY, (size, (12, 16, 9)[variant]))
    return tokens, tokens


def _case(what: str, name: str, limit: str | None = None, **options: Any) -> Case:
    return Case(f"litgpt/{what}", lambda: Language(name, **options), _batch, first, True, limit=limit)


LIBRARY = Library(
    "litgpt",
    requires=("jsonargparse[signatures]<=4.41", "typer-slim"),
    without_dependencies=("litgpt",),  # It asks for an older huggingface_hub than transformers does.
    cases=(
        _case("llama", "Llama-3.2-1B", n_query_groups=2, intermediate_size=48),
        _case(
            "gemma_2",
            "Gemma-2-2b",
            "a Python loop over the sequence fills the mask of the sliding window row by row",
            n_query_groups=2,
            intermediate_size=48,
            head_size=8,
            sliding_window_size=6,
        ),
        _case("experts", "Mixtral-8x7B-v0.1", n_query_groups=2, intermediate_size=48, n_expert=4),
    ),
)
