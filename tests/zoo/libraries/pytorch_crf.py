"""pytorch-crf: a tagger whose training maximizes the likelihood, and whose forward gives scores or decodes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.case import Arguments, Case, Lit
from tests.zoo.isolated.library import Library

TAGS, WORDS = 4, 30
LENGTHS = (6, 9, 8)
LOOP = "its loop over the words is one of Python, which every engine unrolls at the traced length"


class Tagger(Lit):
    """Returns the score of each tag for each word."""

    def __init__(self) -> None:
        super().__init__()
        from torchcrf import CRF

        self.embed, self.lstm = nn.Embedding(WORDS, 8), nn.LSTM(8, 8, batch_first=True, bidirectional=True)
        self.head, self.crf = nn.Linear(16, TAGS), CRF(TAGS, batch_first=True)

    def forward(self, words, mask):
        return self.head(self.lstm(self.embed(words))[0])

    def step(self, batch: Any) -> Tensor:
        words, mask, tags = batch
        return -self.crf(self(words, mask), tags, mask=mask, reduction="mean")


class Likelihood(Tagger):
    """Returns the log-likelihood of given tags."""

    def forward(self, words, mask, tags):
        emissions = self.head(self.lstm(self.embed(words))[0])
        return self.crf(emissions, tags, mask=mask, reduction="none")

    def step(self, batch: Any) -> Tensor:
        return -self(*batch).mean()


def _batch(size: int, variant: int) -> Any:
    length = LENGTHS[variant]
    words = torch.randint(0, WORDS, (size, length))
    lengths = torch.randint(2, length + 1, (size,))
    lengths[0] = length
    return words, torch.arange(length) < lengths[:, None], torch.randint(0, TAGS, (size, length))


def _words(batch: Any) -> Arguments:
    return batch[:2], {}


def _all(batch: Any) -> Arguments:
    return batch, {}


LIBRARY = Library(
    "pytorch-crf",
    cases=(
        Case("pytorch_crf/tagger", Tagger, _batch, _words, True),
        Case("pytorch_crf/likelihood", Likelihood, _batch, _all, True, limit=LOOP),
    ),
    is_quick=True,
)
