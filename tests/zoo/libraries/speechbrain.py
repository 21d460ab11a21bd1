"""speechbrain: a Conformer on waveforms with CTC, and an encoder of speakers; lengths are relative to the longest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.case import Arguments, Case, Lit
from tests.zoo.isolated.library import Library

WORDS, MELS = 12, 16
UNFITTED = {"num_sanity_val_steps": 0}
"""For a module that cannot run in eval mode before its statistics are those of a training batch."""


class Recognizer(Lit):
    """Filterbanks, statistics over the training data, and a Conformer, as in the recipes for speech recognition."""

    def __init__(self) -> None:
        super().__init__()
        from speechbrain.lobes.features import Fbank
        from speechbrain.lobes.models.transformer.TransformerASR import TransformerASR
        from speechbrain.processing.features import InputNormalization

        self.features, self.normalize = Fbank(n_mels=MELS), InputNormalization(norm_type="global")
        self.transformer = TransformerASR(
            WORDS,
            MELS,
            d_model=16,
            nhead=2,
            num_encoder_layers=1,
            num_decoder_layers=0,
            d_ffn=32,
            encoder_module="conformer",
            attention_type="RelPosMHAXL",
            normalize_before=True,
            causal=False,
        )
        self.head = nn.Linear(16, WORDS)

    def forward(self, wavs, wav_lens):
        encoded = self.transformer.encode(self.normalize(self.features(wavs), wav_lens), wav_lens)
        return self.head(encoded).log_softmax(dim=-1)

    def step(self, batch: Any) -> Tensor:
        from speechbrain.nnet.losses import ctc_loss

        wavs, wav_lens, words = batch
        return ctc_loss(self(wavs, wav_lens), words, wav_lens, torch.ones(len(words)), blank_index=0)


class Speakers(Lit):
    """ECAPA-TDNN, which gives an embedding of a speaker."""

    def __init__(self) -> None:
        super().__init__()
        from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN, Classifier

        self.encoder = ECAPA_TDNN(
            MELS, lin_neurons=12, channels=[16, 16, 16, 16, 48], attention_channels=8, res2net_scale=4, se_channels=8
        )
        self.classifier = Classifier(12, lin_neurons=8, out_neurons=3)

    def forward(self, features, lengths):
        return self.encoder(features, lengths)

    def step(self, batch: Any) -> Tensor:
        features, lengths, speakers = batch
        return nn.functional.cross_entropy(self.classifier(self(features, lengths)).squeeze(1), speakers)


def _lengths(size: int) -> Tensor:
    lengths = 0.5 + 0.5 * torch.rand(size)
    return lengths / lengths.max()


def _waves(size: int, variant: int) -> Any:
    return torch.randn(size, (3200, 4000, 4800)[variant]), _lengths(size), torch.randint(1, WORDS, (size, 3))


def _features(size: int, variant: int) -> Any:
    return torch.randn(size, (20, 30, 25)[variant], MELS), _lengths(size), torch.randint(0, 3, (size,))


def _with_lengths(batch: Any) -> Arguments:
    return (batch[0], batch[1]), {}


LIBRARY = Library(
    "speechbrain",
    cases=(
        Case("speechbrain/conformer", Recognizer, _waves, _with_lengths, True, trainer=UNFITTED),
        Case("speechbrain/ecapa", Speakers, _features, _with_lengths, True),
    ),
)
