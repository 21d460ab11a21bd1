"""Text, audio and time series in plain torch."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import rnn

from .case import Case, Lit, LitArgs, LitXY, any_loss, first, images, spread


class LitPacked(Lit):
    """Packed sequences with their lengths."""

    def __init__(self, cell: type[nn.RNNBase]):
        super().__init__()
        self.rnn = cell(5, 8, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x, lengths):
        packed = rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        out, _ = self.rnn(packed)
        out, _ = rnn.pad_packed_sequence(out, batch_first=True, total_length=x.shape[1])
        return self.head(out)

    def step(self, batch):
        return any_loss(self(batch[0], batch[1]))


def packed(b: int, v: int):
    t = 6 + 3 * v
    lengths = torch.randint(1, t, (b,))
    lengths[0] = t
    return torch.randn(b, t, 5), lengths, torch.zeros(b)


class LitSeq2Seq(LitArgs):
    """nn.Transformer with a causal mask made inside and padding masks."""

    def __init__(self):
        super().__init__()
        self.src, self.tgt = nn.Embedding(30, 16, padding_idx=0), nn.Embedding(30, 16, padding_idx=0)
        self.net = nn.Transformer(16, 2, 1, 1, 32, batch_first=True)
        self.head = nn.Linear(16, 30)

    def forward(self, src, tgt):
        causal = self.net.generate_square_subsequent_mask(tgt.size(1), device=tgt.device)
        h = self.net(
            self.src(src),
            self.tgt(tgt),
            tgt_mask=causal,
            src_key_padding_mask=src == 0,
            memory_key_padding_mask=src == 0,
        )
        return self.head(h)


def pairs(b: int, v: int):
    src = torch.randint(1, 30, (b, 7 + 2 * v))
    src[0, -2:] = 0
    return src, torch.randint(1, 30, (b, 5 + 3 * v))


class LitEncoder(Lit):
    """Plain nn.TransformerEncoder: in eval mode it returns zeros for padding."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(30, 16, padding_idx=0)
        self.net = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2)

    def forward(self, ids):
        return self.net(self.emb(ids), src_key_padding_mask=ids == 0)

    def step(self, batch):
        return any_loss(self(batch[0]))


class LitSequenceFirst(LitArgs):
    """(time, batch, features), positions from a buffer."""

    def __init__(self):
        super().__init__()
        place, step = torch.arange(64)[:, None], torch.exp(torch.arange(0, 16, 2) * (-math.log(1e4) / 16))
        table = torch.zeros(64, 1, 16)
        table[:, 0, 0::2], table[:, 0, 1::2] = torch.sin(place * step), torch.cos(place * step)
        self.register_buffer("table", table)
        self.net = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32), 2, enable_nested_tensor=False)
        self.lift, self.head = nn.Linear(6, 16), nn.Linear(16, 2)

    def forward(self, x):
        h = self.lift(x) + self.table[: x.size(0)]
        return self.head(self.net(h, mask=nn.Transformer.generate_square_subsequent_mask(x.size(0), device=x.device)))


class LitNanoGPT(Lit):
    """Loss and logits if targets are given, otherwise the last position's logits."""

    def __init__(self):
        super().__init__()
        self.token, self.place = nn.Embedding(40, 16), nn.Embedding(32, 16)
        self.qkv, self.out = nn.Linear(16, 48, bias=False), nn.Linear(16, 16, bias=False)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 40, bias=False)
        self.token.weight = self.head.weight

    def forward(self, idx, targets=None):
        b, t = idx.size()
        assert t <= 32, f"sequence of {t} is longer than 32"
        x = self.token(idx) + self.place(torch.arange(0, t, dtype=torch.long, device=idx.device))
        q, k, v = (m.view(b, t, 2, 8).transpose(1, 2) for m in self.qkv(self.norm(x)).split(16, dim=2))
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).contiguous().view(b, t, 16))
        if targets is None:
            return self.head(x[:, [-1], :]), None
        logits = self.head(x)
        return logits, functional.cross_entropy(logits.view(-1, 40), targets.reshape(-1))

    def step(self, batch):
        return self(batch[:, :-1], batch[:, 1:])[1]


class LitNanoGPTIds(LitNanoGPT):
    """The same, predicting the next token in validation."""

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", any_loss(self(batch)))


class Rotary(nn.Module):
    """Rotary positions with a cache that grows when a longer sequence comes; grouped keys; RMS norm."""

    def __init__(self):
        super().__init__()
        self.emb, self.head = nn.Embedding(20, 16), nn.Linear(16, 20)
        self.q, self.kv, self.norm = nn.Linear(16, 16), nn.Linear(16, 16), nn.RMSNorm(16)
        self.cached = 0

    def _grow(self, length, device):
        if length > self.cached:
            self.cached = length
            angle = torch.outer(
                torch.arange(length, device=device).float(), 1e4 ** (-torch.arange(2, device=device) / 2)
            )
            angle = torch.cat([angle, angle], -1)
            self.cos, self.sin = angle.cos(), angle.sin()
        return self.cos[:length], self.sin[:length]

    def _turn(self, x, cos, sin):
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat([-b, a], -1) * sin

    def forward(self, x):
        b, t = x.shape
        h = self.norm(self.emb(x))
        cos, sin = self._grow(t, x.device)
        q = self._turn(self.q(h).view(b, t, 4, 4).transpose(1, 2), cos, sin)
        k, v = self.kv(h).view(b, t, 2, 2, 4).unbind(2)
        k, v = (m.transpose(1, 2).repeat_interleave(2, 1) for m in (k, v))
        score = q @ self._turn(k, cos, sin).transpose(-1, -2) / 2
        mask = torch.full((t, t), float("-inf"), device=x.device).triu(1)
        return self.head(((score + mask).softmax(-1) @ v).transpose(1, 2).reshape(b, t, 16))


class Windowed(nn.Module):
    """Attention in windows: the length is padded to a multiple of four and cut again."""

    def __init__(self):
        super().__init__()
        self.att = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        b, t, c = x.shape
        x = functional.pad(x, (0, 0, 0, -t % 4))
        w = x.reshape(-1, 4, c)
        out, share = self.att(w, w, w)
        return out.reshape(b, -1, c)[:, :t], share.mean()


class CRNN(nn.Module):
    """Text in an image of any width; (time, batch, characters) for CTC."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12),
            nn.ReLU(), nn.MaxPool2d((2, 1)),
        )  # fmt: skip
        self.rnn, self.head = nn.LSTM(48, 16, bidirectional=True), nn.Linear(32, 11)

    def forward(self, x):
        h = self.conv(x)
        b, c, height, width = h.size()
        h, _ = self.rnn(h.reshape(b, c * height, width).permute(2, 0, 1))
        return self.head(h).log_softmax(2)


class TCN(nn.Module):
    """Dilated causal convolutions; the padding is cut off behind."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.utils.parametrizations.weight_norm(nn.Conv1d(3 if d == 1 else 8, 8, 3, padding=2 * d, dilation=d))
                for d in (1, 2, 4)
            ]
        )
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)[:, :, : -2 * layer.dilation[0]].contiguous().relu()
        return self.head(x[:, :, -1])


class NBeats(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 16)) for _ in range(3)])

    def forward(self, history):
        level = history.abs().max(dim=1, keepdim=True).values.clamp_min(1e-6)
        rest, total = history / level, 0
        for block in self.blocks:
            back, ahead = block(rest).split([12, 4], 1)
            rest, total = rest - back, total + ahead
        return total * level


class Mel(nn.Module):
    """Spectrogram by convolution with a windowed Fourier basis, mel-like filters, then an encoder."""

    def __init__(self):
        super().__init__()
        angle = 2 * math.pi * torch.arange(17)[:, None] * torch.arange(32) / 32
        basis = torch.cat([angle.cos(), -angle.sin()]) * torch.hann_window(32)
        self.register_buffer("basis", basis[:, None])
        self.register_buffer("filters", torch.rand(8, 17))
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 6)

    def forward(self, wave):
        wave = functional.pad(wave.unsqueeze(1), (16, 16), mode="reflect")
        real, imaginary = functional.conv1d(wave, self.basis, stride=16).chunk(2, 1)
        mel = torch.log(self.filters @ (real**2 + imaginary**2) + 1e-5)
        mel = (mel - mel.mean(-1, keepdim=True)) / (mel.std(-1, keepdim=True) + 1e-5)
        return self.head(self.encoder(mel.transpose(1, 2))).log_softmax(-1)


class WaveNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.into = nn.Conv1d(1, 8, 1)
        self.gates = nn.ModuleList([nn.Conv1d(8, 16, 2, dilation=d) for d in (1, 2, 4)])
        self.out = nn.Sequential(nn.ConvTranspose1d(8, 4, 4, stride=2), nn.ELU(), nn.Conv1d(4, 1, 1))

    def forward(self, x):
        x = self.into(x[:, None])
        for d, gate in zip((1, 2, 4), self.gates, strict=True):
            a, b = gate(functional.pad(x, (d, 0))).chunk(2, 1)
            x = x + a.tanh() * b.sigmoid()
        return self.out(x).squeeze(1)


class Fourier(nn.Module):
    """Mixing by Fourier transform with complex weights."""

    def __init__(self):
        super().__init__()
        self.lift, self.head = nn.Linear(2, 8), nn.Linear(8, 1)
        self.weight = nn.Parameter(torch.randn(8, 8, 4, dtype=torch.cfloat) * 0.1)

    def forward(self, x):
        h = self.lift(x).transpose(1, 2)
        f = torch.fft.rfft(h, dim=-1)
        mixed = torch.zeros_like(f)
        mixed[..., :4] = torch.einsum("bit,iot->bot", f[..., :4], self.weight)
        h = functional.gelu(torch.fft.irfft(mixed, n=x.shape[1], dim=-1) + h)
        return self.head(h.transpose(1, 2))


class LitStateful(Lit):
    """A language model that takes and returns its state; (layers, batch, hidden)."""

    def __init__(self):
        super().__init__()
        self.emb, self.rnn, self.head = (
            nn.Embedding(20, 6),
            nn.LSTM(6, 8, num_layers=2, batch_first=True),
            nn.Linear(8, 20),
        )

    def forward(self, tokens, state):
        out, state = self.rnn(self.emb(tokens), state)
        return self.head(out), state

    def step(self, batch):
        zero = torch.zeros(2, batch.shape[0], 8, device=self.device)
        return any_loss(self(batch, (zero, zero)))


class Loop(nn.Module):
    """A cell stepped in a Python loop."""

    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.GRUCell(3, 6), nn.Linear(6, 2)

    def forward(self, x):
        h, out = torch.zeros(x.shape[0], 6, device=x.device), []
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
            out.append(self.head(h))
        return torch.stack(out, 1)


class LitBags(LitArgs):
    """Bags of words: tokens in one row and where each bag begins."""

    def __init__(self):
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(50, 8, mode="mean"), nn.Linear(8, 3)

    def forward(self, tokens, offsets):
        return self.head(self.bag(tokens, offsets))


def bags(b: int, v: int):
    sizes = torch.randint(1, 5, (b,))
    return torch.randint(0, 50, (int(sizes.sum()),)), torch.cat(
        [torch.zeros(1, dtype=torch.long), sizes.cumsum(0)[:-1]]
    )


class Conformer(nn.Module):
    """Convolution and attention with relative positions by the shift trick."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.place = nn.Embedding(129, 4)
        self.conv = nn.Sequential(nn.Conv1d(8, 16, 1), nn.GLU(1), nn.Conv1d(8, 8, 5, padding=2, groups=8), nn.SiLU())

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = (m(x).view(b, t, 2, 4).transpose(1, 2) for m in (self.q, self.k, self.v))
        step = torch.arange(t, device=x.device)
        far = (step[None] - step[:, None]).clamp(-64, 64) + 64
        score = q @ k.transpose(-1, -2) + torch.einsum("bhqd,qkd->bhqk", q, self.place(far))
        x = x + (score.softmax(-1) @ v).transpose(1, 2).flatten(2)
        return x + self.conv(x.transpose(1, 2)).transpose(1, 2)


def ids(b: int, v: int):
    return torch.randint(0, 20, (b, 6 + 3 * v)), torch.zeros(b)


def steps(features: int, start: int = 8, more: int = 4):
    return images(*((start + more * v, features) for v in range(3)))


CASES = [
    Case("sequence/packed_lstm", lambda: LitPacked(nn.LSTM), packed, lambda batch: (batch[:2], {}), True),
    Case("sequence/packed_gru", lambda: LitPacked(nn.GRU), packed, lambda batch: (batch[:2], {}), True),
    Case("sequence/transformer_two_lengths", LitSeq2Seq, pairs, spread, True),
    Case("sequence/encoder_padding", LitEncoder, pairs, first, True),
    Case("sequence/time_first", LitSequenceFirst, lambda b, v: (torch.randn(6 + 3 * v, b, 6),), spread, True),
    Case("sequence/nanogpt_loss", LitNanoGPT, lambda b, v: torch.randint(0, 40, (b, 8 + 4 * v)),
         lambda batch: ((batch[:, :-1], batch[:, 1:]), {}), True),
    Case("sequence/nanogpt_next", LitNanoGPTIds, lambda b, v: torch.randint(0, 40, (b, 8 + 4 * v)),
         lambda batch: ((batch,), {}), True),
    Case("sequence/rotary_cache", lambda: LitXY(Rotary()), ids, first, True),
    Case("sequence/windowed_attention", lambda: LitXY(Windowed()), steps(8, 6, 3), first, True),
    Case("sequence/crnn_ctc", lambda: LitXY(CRNN()), images((1, 16, 32), (1, 16, 48), (1, 16, 72)), first, True),
    Case("sequence/tcn", lambda: LitXY(TCN()), images((3, 20), (3, 24), (3, 31)), first, True),
    Case("sequence/nbeats", lambda: LitXY(NBeats()), images((12,)), first),
    Case("sequence/mel_transformer", lambda: LitXY(Mel()), images((320,), (480,), (720,)), first, True),
    Case("sequence/wavenet", lambda: LitXY(WaveNet()), images((40,), (56,), (75,)), first, True),
    Case("sequence/fourier_fixed", lambda: LitXY(Fourier()), steps(2, 16, 0), first),
    Case("sequence/fourier", lambda: LitXY(Fourier()), steps(2, 16, 8), first, True),
    Case("sequence/state_in_and_out", LitStateful, lambda b, v: torch.randint(0, 20, (b, 5 + 2 * v)),
         lambda batch: ((batch, (torch.zeros(2, batch.shape[0], 8),) * 2), {}), True),
    Case("sequence/python_loop_fixed", lambda: LitXY(Loop()), steps(3, 5, 0), first),
    Case("sequence/python_loop", lambda: LitXY(Loop()), steps(3, 5, 2), first, True,
         limit="a loop of Python over a dim is unrolled by every engine"),
    Case("sequence/embedding_bag", LitBags, bags, spread),
    Case("sequence/conformer", lambda: LitXY(Conformer()), steps(8, 6, 3), first, True),
]  # fmt: skip
