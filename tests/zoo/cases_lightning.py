"""What LightningModules do besides computing, and their batches."""

from __future__ import annotations

import collections
import copy
import dataclasses
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
import torchmetrics
from torch import Tensor, nn
from torch.nn import functional

from .case import Case, Lit, LitArgs, LitWhole, LitXY, any_loss, first, images, keywords, spread, whole


class LitNested(LitWhole):
    """A nested dict is passed to forward, with more entries than forward uses."""

    def __init__(self):
        super().__init__()
        self.image, self.age, self.word = nn.Conv2d(3, 4, 3), nn.Linear(1, 4), nn.Embedding(10, 4)

    def forward(self, batch):
        seen = self.image(batch["image"]["left"]).mean((-2, -1)) - self.image(batch["image"]["right"]).mean((-2, -1))
        return seen + self.age(batch["meta"]["age"][:, None]) + self.word(batch["meta"]["words"]).mean(1)


def nested(b: int, v: int) -> dict[str, Any]:
    return {
        "image": {"left": torch.randn(b, 3, 8, 8), "right": torch.randn(b, 3, 8, 8)},
        "meta": {"age": torch.rand(b), "words": torch.randint(0, 10, (b, 3 + 2 * v))},
        "path": [f"image_{i}_{v}.png" for i in range(b)],
        "label": torch.zeros(b, dtype=torch.long),
    }


class Pair(NamedTuple):
    left: Tensor
    right: Tensor
    label: Tensor | None = None


class LitNamedTuple(LitWhole):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(5, 3)

    def forward(self, pair):
        return Pair(self.net(pair.left), self.net(pair.right) - self.net(pair.left))


@dataclasses.dataclass
class Record:
    ids: Tensor
    mask: Tensor
    weight: float = 1.0
    label: Tensor | None = None


@dataclasses.dataclass
class Scores:
    logits: Tensor
    hidden: Tensor | None = None
    loss: Tensor | None = None


class LitDataclass(LitWhole):
    """A dataclass in, a dataclass out."""

    def __init__(self):
        super().__init__()
        self.emb, self.head = nn.Embedding(20, 6), nn.Linear(6, 2)

    def forward(self, record):
        h = self.emb(record.ids) * record.mask[..., None] * record.weight
        return Scores(self.head(h.sum(1)), hidden=h)


def records(b: int, v: int) -> Record:
    n = 4 + 3 * v
    return Record(torch.randint(0, 20, (b, n)), torch.rand(b, n) > 0.2, 0.5, torch.zeros(b))


class LitViews(Lit):
    """A list of crops of two sizes (DINO), a list out."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

    def forward(self, views):
        return [self.net(view) for view in views]

    def step(self, batch):
        views, _ = batch
        return any_loss(self(views))


def views(b: int, v: int) -> Any:
    return [torch.randn(b, 3, 16, 16), torch.randn(b, 3, 16, 16), torch.randn(b, 3, 8, 8)], torch.zeros(b)


class LitHeads(Lit):
    """Several tasks: a nested dict with None in it, and a head for each name."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Linear(6, 8)
        self.heads = nn.ModuleDict({"kind": nn.Linear(8, 3), "age": nn.Linear(8, 1)})

    def forward(self, x, return_hidden: bool = False):
        h = self.trunk(x).relu()
        return {
            "tasks": {name: head(h) for name, head in self.heads.items()},
            "hidden": h if return_hidden else None,
            "losses": {},
            "norm": h.norm(dim=-1),
        }

    def step(self, batch):
        return any_loss(self(batch["x"]))


class LitPassThrough(Lit):
    """``forward(*args, **kwargs)``, the minimal signature."""

    def __init__(self):
        super().__init__()
        self.model = nn.Bilinear(4, 5, 3)

    def forward(self, *args, **kwargs):
        return self.model(*args, **kwargs)

    def step(self, batch):
        left, right, _ = batch
        return any_loss(self(left, right))


class LitPartial(LitWhole):
    """Strings and ints next to tensors in a flat dict, ``forward(**batch)`` with names."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(4, 2)

    def forward(self, features, name=None, index=None, weight: float = 1.0):
        return self.net(features) * weight

    def step(self, batch):
        return any_loss(self(**batch))


class LitReach(Lit):
    """Uses the trainer, the device, the epoch, the logger and metrics in forward."""

    def __init__(self):
        super().__init__()
        self.save_hyperparameters({"scale": 2.0})
        self.net = nn.Linear(6, 3)
        self.accuracy = torchmetrics.MeanMetric()
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        y = self.net(x.to(self.device)) * self.hparams.scale
        if self.training:
            self.calls += 1
        if self._trainer is not None and self.trainer.training:
            y = y * (1 + 0 * self.trainer.global_step)
        self.log("mean_output", y.mean(), batch_size=1)
        self.last_output = y
        return y + min(self.current_epoch, 0) * torch.ones_like(y)

    def step(self, batch):
        self.accuracy(batch[1])
        return any_loss(self(batch[0]))


class LitMetrics(Lit):
    """Metrics and losses with state among the submodules."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(5, 8), nn.GELU(approximate="tanh"), nn.Linear(8, 3))
        metrics = torchmetrics.MetricCollection([torchmetrics.Accuracy("multiclass", num_classes=3)])
        self.train_metrics, self.val_metrics = metrics.clone(prefix="train_"), metrics.clone(prefix="val_")
        self.loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 0.5]), label_smoothing=0.1)

    def forward(self, x):
        return self.net(x)

    def step(self, batch):
        x, y = batch
        out = self(x)
        self.log_dict(self.train_metrics(out, y), batch_size=1)
        return self.loss(out, y)


class LitTeacher(Lit):
    """A student and a slow copy of it (BYOL); steps call the submodules, never forward."""

    def __init__(self):
        super().__init__()
        self.student = nn.Sequential(nn.Linear(7, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)

    def forward(self, x):
        return self.student(x)

    def step(self, batch):
        return functional.mse_loss(self.student(batch[0]), self.teacher(batch[0]))

    def on_train_batch_end(self, outputs, batch, batch_idx):
        for slow, fast in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            slow.data.lerp_(fast.data, 0.01)


class LitCycle(pl.LightningModule):
    """Two generators and two optimizers by hand, forward is one of the generators and is not called in training."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.there = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(3, 3, 3), nn.InstanceNorm2d(3), nn.Tanh())
        self.back, self.judge = copy.deepcopy(self.there), nn.Conv2d(3, 1, 4, stride=2)

    def forward(self, photo):
        return self.there(photo)

    def training_step(self, batch, batch_idx):
        make, judge = self.optimizers()
        fake = self.there(batch["photo"])
        make.zero_grad()
        self.manual_backward((self.back(fake) - batch["photo"]).abs().mean() - self.judge(fake).mean())
        make.step()
        judge.zero_grad()
        self.manual_backward((self.judge(fake.detach()) - self.judge(batch["painting"])).mean())
        judge.step()

    def configure_optimizers(self):
        makers = [*self.there.parameters(), *self.back.parameters()]
        return [torch.optim.SGD(makers, lr=1e-4), torch.optim.SGD(self.judge.parameters(), lr=1e-4)]


class LitLazy(LitXY):
    def __init__(self):
        super().__init__(
            nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
        )


class LitConfigured(Lit):
    """Built in ``configure_model``."""

    def __init__(self):
        super().__init__()
        self.net = None

    def configure_model(self):
        if self.net is None:
            self.net = nn.Sequential(nn.Linear(4, 8), nn.SiLU(), nn.Linear(8, 2))

    def forward(self, x):
        return self.net(x)

    def step(self, batch):
        return any_loss(self(batch[0]))


class LitPredict(LitXY):
    """``predict_step`` is deployed: probabilities and classes."""

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        p = self(batch[0]).softmax(-1)
        return {"probabilities": p, "classes": p.argmax(-1)}


class LitCompiled(Lit):
    def __init__(self):
        super().__init__()
        self.net = torch.compile(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)), backend="eager")

    def forward(self, x):
        return self.net(x)

    def step(self, batch):
        return any_loss(self(batch[0]))


@torch.jit.script
def _scripted_gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1.0 + torch.erf(x / 1.41421))


class Halved(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] > 100:
            return self.net(x[:100])
        return self.net(x) / 2


class LitScriptedFunction(LitXY):
    """A function under ``torch.jit.script``, as activations often are."""

    def forward(self, x):
        return _scripted_gelu(self.net(x))


class LitScriptedPart(LitXY):
    def __init__(self):
        super().__init__(torch.jit.script(Halved()))


class LitTracedPart(LitXY):
    def __init__(self):
        super().__init__(torch.jit.trace(nn.Sequential(nn.Linear(6, 8), nn.ReLU()), torch.randn(2, 6)))


class LitSchedule(Lit):
    """An argument only for training (teacher forcing), and a number that changes from step to step."""

    def __init__(self):
        super().__init__()
        self.net = nn.GRU(4, 8, batch_first=True)
        self.hint, self.head = nn.Linear(2, 8), nn.Linear(8, 2)

    def forward(self, x, target=None, temperature: float = 1.0):
        h = self.net(x)[0][:, -1]
        if target is not None:
            h = h + self.hint(target)
        return self.head(h) / temperature

    def training_step(self, batch, batch_idx):
        return any_loss(self(batch["x"], batch["y"], temperature=1.0 + batch_idx))

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", any_loss(self(batch["x"])), batch_size=1)


class LitScalarLoss(LitArgs):
    """forward returns the loss with the outputs, and takes the labels as a required argument."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(5, 3)

    def forward(self, x, y):
        logits = self.net(x)
        return {"loss": functional.cross_entropy(logits, y), "logits": logits, "correct": logits.argmax(-1) == y}


class LitAttributes(LitXY):
    """Attributes that cannot be copied or pickled: a lock, a generator, a lambda, an open file."""

    def __init__(self):
        super().__init__(nn.Linear(4, 4))
        import threading

        self.lock, self.act = threading.Lock(), lambda x: x.relu()
        self.stream = (i for i in range(3))
        self.counts = collections.defaultdict(int)

    def forward(self, x):
        with self.lock:
            self.counts["calls"] += 1
            return self.act(self.net(x))


class LitHooked(LitXY):
    """Features extracted by a forward hook."""

    def __init__(self):
        super().__init__(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)))
        self.kept: dict[str, Tensor] = {}
        self.net[0].register_forward_hook(lambda module, args, out: self.kept.__setitem__("hidden", out))

    def forward(self, x):
        return self.net(x), self.kept["hidden"]


class LitBfloat(LitXY):
    """Trained in bf16-true."""

    def __init__(self):
        super().__init__(
            nn.Sequential(nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2))
        )


class LitDouble(LitXY):
    """Trained in 64-true."""

    def __init__(self):
        super().__init__(nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)))


class LitReadsInt(LitArgs):
    """uint8 images scaled inside, and int32 ids."""

    def __init__(self):
        super().__init__()
        self.net, self.emb = nn.Conv2d(3, 4, 3), nn.Embedding(9, 4)

    def forward(self, image, kind):
        return self.net(image.float().div(255)).mean((2, 3)) + self.emb(kind)


def table(b: int, v: int) -> dict[str, Any]:
    return {"features": torch.randn(b, 4), "name": [f"row {i}" for i in range(b)], "index": list(range(b))}


CASES = [
    Case("lightning/nested_dict_batch", LitNested, nested, whole, True, fast=True),
    Case("lightning/named_tuple", LitNamedTuple, lambda b, v: Pair(torch.randn(b, 5), torch.randn(b, 5)), whole),
    Case("lightning/dataclass", LitDataclass, records, whole, True),
    Case("lightning/list_of_crops", LitViews, views, first),
    Case("lightning/heads_none_nested", LitHeads, lambda b, v: {"x": torch.randn(b, 6)}, keywords()),
    Case("lightning/pass_through", LitPassThrough, lambda b, v: (torch.randn(b, 4), torch.randn(b, 5), torch.zeros(b)),
         lambda batch: (batch[:2], {})),
    Case("lightning/strings_in_batch", LitPartial, table, keywords("name", "index")),
    Case("lightning/reaches_for_trainer", LitReach, images((6,)), first),
    Case("lightning/metrics_inside", LitMetrics, lambda b, v: (torch.randn(b, 5), torch.arange(b) % 3), first),
    Case("lightning/teacher_copy", LitTeacher, images((7,)), first),
    Case("lightning/cycle_gan", LitCycle, lambda b, v: {"photo": torch.randn(b, 3, 12, 12), "painting": torch.randn(b, 3, 12, 12)},
         keywords("painting")),
    Case("lightning/lazy", LitLazy, images((3, 6, 6)), first),
    Case("lightning/configure_model", LitConfigured, images((4,)), first),
    Case("lightning/predict_step", lambda: LitPredict(nn.Linear(5, 3)), images((5,)), lambda batch: ((batch, 0), {}),
         options={"method": "predict_step"}),
    Case("lightning/compiled_part", LitCompiled, images((6,)), first),
    Case("lightning/scripted_function", lambda: LitScriptedFunction(nn.Linear(6, 4)), images((6,)), first),
    Case("lightning/scripted_part", LitScriptedPart, images((6,)), first),
    Case("lightning/traced_part", LitTracedPart, images((6,)), first),
    Case("lightning/teacher_forcing", LitSchedule, lambda b, v: {"x": torch.randn(b, 5 + v, 4), "y": torch.randn(b, 2)},
         keywords("y"), True),
    Case("lightning/loss_from_forward", LitScalarLoss, lambda b, v: (torch.randn(b, 5), torch.arange(b) % 3), spread),
    Case("lightning/uncopyable_attributes", LitAttributes, images((4,)), first),
    Case("lightning/forward_hook", LitHooked, images((4,)), first),
    Case("lightning/bf16_true", LitBfloat, images((3, 8)), first, trainer={"precision": "bf16-true"}),
    Case("lightning/double_true", LitDouble, lambda b, v: (torch.randn(b, 3, dtype=torch.float64), torch.zeros(b)), first,
         trainer={"precision": "64-true"}),
    Case("lightning/small_integers", LitReadsInt,
         lambda b, v: (torch.randint(0, 256, (b, 3, 8, 8), dtype=torch.uint8), torch.randint(0, 9, (b,), dtype=torch.int32)), spread),
]  # fmt: skip
