"""A random module as a list of steps: made from a seed, printed as code, and made from that code."""

from __future__ import annotations

import dataclasses
import linecache
import random
import re
from collections.abc import Mapping

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.property.steps.base import CHOICES, Step
from tests.property.steps.table import ENDS, TABLE

INPUTS = {
    "rows": "rows",
    "sequence": "sequence",
    "masked sequence": "sequence",
    "tokens": "sequence",
    "image": "image",
    "integers": "integers",
}
"""The kind of a module's first value."""

VOCABULARY = 11
Sizes = dict[str, int]
"""Sizes of the dims: ``batch``, and ``length`` or ``height`` and ``width``."""


@dataclasses.dataclass(frozen=True)
class Line:
    """A step with its placeholders filled in, except ``{n}`` for its number."""

    step: Step
    words: Mapping[str, object]
    number: int

    def text(self, template: str) -> list[str]:
        """Return lines of code."""
        filled = template
        for word, value in {**self.words, "n": self.number}.items():
            filled = filled.replace(f"{{{word}}}", repr(value))
        return [line for line in filled.split("\n") if line.strip()]


@dataclasses.dataclass(frozen=True)
class Program:
    """A module.

    Attributes:
        seed: Seed of its weights and inputs.
        takes: A key of ``INPUTS``.
        lines: What it does.
        end: How ``forward`` ends.
        observed: Sizes of the batches that training and validation see; the last one has fewer rows.
    """

    seed: int
    takes: str
    lines: tuple[Line, ...]
    end: str
    observed: tuple[Sizes, ...]

    @property
    def is_valid(self) -> bool:
        """Whether each step accepts the result of the previous one."""
        kind = INPUTS[self.takes]
        for line in self.lines:
            if kind not in line.step.takes or (line.step.uses_mask and self.takes != "masked sequence"):
                return False
            kind = line.step.gives or kind
        return True

    @property
    def source(self) -> str:
        """The module as Python code."""
        init = [text for line in self.lines for text in line.text(line.step.init)]
        forward = [text for line in self.lines for text in line.text(line.step.forward)]
        if self.takes == "tokens":
            init.insert(0, f"self.embedding = nn.Embedding({VOCABULARY}, 6)")
            forward.insert(0, "x = self.embedding(x)")
        arguments = "x, mask" if self.takes == "masked sequence" else "x"
        return "\n".join(
            [
                "class Generated(pl.LightningModule):",
                "    def __init__(self):",
                "        super().__init__()",
                *(f"        {text}" for text in init),
                "",
                f"    def forward(self, {arguments}):",
                *(f"        {text}" for text in (*forward, self.end)),
                "",
            ]
        )

    def module(self) -> pl.LightningModule:
        """Return a module with random weights."""
        source = f"{self.source}\n{_TRAINING}"
        name = f"<generated {self.seed}>"
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        space: dict[str, object] = {"pl": pl, "torch": torch, "nn": nn, "F": functional, "__name__": "generated"}
        exec(compile(source, name, "exec"), space)
        torch.manual_seed(self.seed)
        made = space["Generated"]()  # type: ignore[operator]
        assert isinstance(made, pl.LightningModule)
        return made

    def __str__(self) -> str:
        return f"# takes {self.takes}; observed {list(self.observed)}\n{self.source}"


_TRAINING = """
    def training_step(self, batch):
        with torch.no_grad():
            self(*batch)

    def validation_step(self, batch):
        self(*batch)

    def configure_optimizers(self):
        return None
"""
"""The rest of the module, the same for all: training runs the module but does not change weights."""


def generate(seed: int, longest: int = 4) -> Program:
    """Return the module of a seed.

    Args:
        seed: Any integer.
        longest: The largest number of steps.
    """
    chance = random.Random(seed)
    while True:
        takes = chance.choice(list(INPUTS))
        kind = INPUTS[takes]
        lines: list[Line] = []
        for number in range(chance.randint(1, longest)):
            fitting = [s for s in TABLE if kind in s.takes and (not s.uses_mask or takes == "masked sequence")]
            masked = [s for s in fitting if s.uses_mask]
            step = chance.choice(masked if masked and chance.random() < 0.4 else fitting)
            words = re.findall(r"\{(\w+)\}", f"{step.init} {step.forward}")
            chosen = {w: chance.choice(CHOICES[w]) for w in dict.fromkeys(words) if w != "n"}
            lines.append(Line(step, chosen, number))
            kind = step.gives or kind
        program = Program(seed, takes, tuple(lines), chance.choice(ENDS), _observed(takes, chance))
        if program.is_valid and runs(program):
            return program


def _observed(takes: str, chance: random.Random) -> tuple[Sizes, ...]:
    """Return the sizes of three batches; dims vary between them, or not, in two of three modules."""
    rows = chance.choice([4, 6, 8])
    varies = chance.random() < 2 / 3
    batches: list[Sizes] = []
    fixed = {"length": chance.choice([5, 8, 10]), "height": chance.choice([8, 12, 16]), "width": chance.choice([8, 10])}
    for batch in (rows, rows, max(2, rows - 3)):
        drawn = {
            "length": chance.choice([3, 5, 6, 8, 9, 12]),
            "height": chance.choice([8, 9, 12, 16]),
            "width": chance.choice([8, 10, 11, 16]),
        }
        batches.append({"batch": batch, **{n: (drawn if varies else fixed)[n] for n in _dims(takes)}})
    return tuple(batches)


def _dims(takes: str) -> tuple[str, ...]:
    kind = INPUTS[takes]
    return ("height", "width") if kind == "image" else ("length",) if kind == "sequence" else ()


def runs(program: Program) -> bool:
    """Whether the module runs on what it observes."""
    try:
        module = program.module().eval()
        with torch.no_grad():
            for sizes in program.observed:
                module(*make_inputs(program.takes, sizes, "normal", program.seed))
    except Exception:
        return False
    return True


NEAR = ("normal", "zeros", "equal rows", "one zero row")
"""Values that can occur: within the observed range."""
BEYOND = ("times 30", "shifted")
"""Values outside the observed range."""


def make_inputs(takes: str, sizes: Sizes, values: str, seed: int) -> tuple[Tensor, ...]:
    """Return the arguments of a call.

    Args:
        takes: A key of ``INPUTS``.
        sizes: Sizes of the dims.
        values: One of ``NEAR`` and ``BEYOND``; integers and tokens stay in their range.
        seed: Seed of the values.
    """
    chance = torch.Generator().manual_seed(seed)
    shape = {"rows": (6,), "integers": (6,), "image": (4, sizes.get("height", 0), sizes.get("width", 0))}.get(
        takes, (sizes.get("length", 0), 6)
    )
    if takes == "tokens":
        x = torch.randint(0, VOCABULARY, (sizes["batch"], sizes["length"]), generator=chance)
    elif takes == "integers":
        x = torch.randint(-9, 10, (sizes["batch"], 6), generator=chance)
    else:
        x = torch.randn(sizes["batch"], *shape, generator=chance)
    mask = torch.rand(sizes["batch"], sizes.get("length", 0), generator=chance) > 0.3
    match values:
        case "zeros":
            x, mask = torch.zeros_like(x), torch.zeros_like(mask)
        case "equal rows":
            x, mask = x[:1].expand_as(x).contiguous(), torch.ones_like(mask)
        case "one zero row":
            x[-1], mask[-1] = 0, False
        case "times 30":
            x = x * 30 if x.is_floating_point() else x
        case "shifted":
            x = x + 4 if x.is_floating_point() else x
    return (x, mask) if takes == "masked sequence" else (x,)
