"""Operations along a length that varies."""

from __future__ import annotations

from tests.property.steps.base import SERIES, Step

SEQUENCES = [
    Step(SERIES, "x = self.rnn{n}(x)[0]", "self.rnn{n} = nn.GRU(6, 6, batch_first=True)"),
    Step(SERIES, "x = self.rnn{n}(x)[0]", "self.rnn{n} = nn.LSTM(6, 3, batch_first=True, bidirectional=True)"),
    Step(
        SERIES, "x = self.rnn{n}(x)[1][-1]", "self.rnn{n} = nn.GRU(6, 6, num_layers=2, batch_first=True)", gives="rows"
    ),
    Step(
        SERIES,
        "h = torch.zeros_like(x[:, 0])\n"
        "for k in range(min(x.shape[1], {size})):\n"
        "    h = torch.tanh(self.cell{n}(x[:, k]) + h)\n"
        "x = x + h.unsqueeze(1)",
        "self.cell{n} = nn.Linear(6, 6)",
    ),
    Step(SERIES, "x = torch.cat([c - c.mean(1, keepdim=True) for c in x.split({size}, dim=1)], 1)"),
    Step(SERIES, "x = torch.cat([c.flip(1) for c in x.chunk({small}, 1)], 1)"),
    Step(SERIES, "a, b = x.tensor_split(2, dim=1)\nx = torch.cat([b, a], 1)"),
    Step(SERIES, "x = x.cumsum(1) / torch.arange(1, x.shape[1] + 1, device=x.device)[:, None]"),
    Step(SERIES, "x = x.sort(1).values"),
    Step(SERIES, "x = x.gather(1, x.argsort(1, descending=True))"),
    Step(SERIES, "x = x.topk(min(x.shape[1], {small}), dim=1).values", gives="steps"),
    Step(SERIES, "x = x - x.median(1, keepdim=True).values"),
    Step(SERIES, "x = torch.fft.rfft(x, dim=1).abs()", gives="steps"),
    Step(SERIES, "x = torch.fft.irfft(torch.fft.rfft(x, dim=-1) * {number}, n=6, dim=-1)"),
    Step(SERIES, "x = F.max_pool1d(x.transpose(1, 2), 2, ceil_mode={flag}).transpose(1, 2)", gives="steps"),
    Step(SERIES, "x = F.avg_pool1d(x.transpose(1, 2), 3, 1, 1).transpose(1, 2)"),
    Step(SERIES, "x = F.adaptive_avg_pool1d(x.transpose(1, 2), {small}).transpose(1, 2)", gives="steps"),
    Step(
        SERIES,
        "x = F.interpolate(x.transpose(1, 2), size=x.shape[1] * 2, mode='linear').transpose(1, 2)",
        gives="steps",
    ),
    Step(SERIES, "x = x.unfold(1, {small}, 1).mean(-1)", gives="steps"),
    Step(SERIES, "x = torch.diff(x, dim=1, prepend=x[:, :1])"),
    Step(SERIES, "x = x + x.logsumexp(1, keepdim=True)"),
    Step(SERIES, "x = x.roll({small}, 1) + x[:, -1:]"),
    Step(
        SERIES,
        "m = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()\n"
        "x = F.scaled_dot_product_attention(x, x, x, attn_mask=m)",
    ),
    Step(
        SERIES,
        "x = self.attention{n}(x, x, x, need_weights=False)[0]",
        "self.attention{n} = nn.MultiheadAttention(6, 2, batch_first=True)",
    ),
    Step(SERIES, "x = self.encoder{n}(x)", "self.encoder{n} = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)"),
    Step(SERIES, "x = x.mean(1)", gives="rows"),
    Step(SERIES, "x = x.amax(1)", gives="rows"),
    Step(SERIES, "x = x[:, -1]", gives="rows"),
    Step(SERIES, "x = x.std(1, unbiased=False)", gives="rows"),
]
