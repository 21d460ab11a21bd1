"""No thread but the tracing one sees what a trace replaces, and nothing stays replaced."""

from __future__ import annotations

import contextlib
import logging
import math
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo import utils as _dynamo_utils
from torch._functorch import aot_autograd
from torch.distributions import Normal

from lightning_onnx import export
from lightning_onnx.errors import EngineError
from lightning_onnx.tracing.captures.table import CAPTURES
from lightning_onnx.tracing.dynamo import DynamoEngine
from lightning_onnx.tracing.patches import table
from lightning_onnx.tracing.patches.quiet import only_errors
from lightning_onnx.tracing.torchscript import TorchScriptEngine
from tests.tracing.making import made
from tests.tracing.patches.test_table import state

LOGGERS = [patch.owner for patch in table.PATCHES if patch.replace is only_errors]
GROUPS = ("quiet", "trace", "torchscript", "traced_values", "symbolic_int", "derivatives")


def rounded(values: Tensor) -> list[float]:
    """Values without their last digits: torch itself turns off oneDNN while it traces."""
    return [round(value, 3) + 0.0 for value in values.detach().flatten().tolist()]


class Witness:
    """What a thread sees of the names that traces replace; each check is one line of a user's program."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, batch_first=True), 1).eval()
        self.x = torch.randn(2, 5, 8)
        self.padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
        self.seen = logging.getLogger("torch.onnx")
        self.records: list[logging.LogRecord] = []
        self.warned: list[str] = []
        self.count = self.torchs_windows = 0
        self.expected: dict[str, Any] = {}
        self.expected = {name: look() for name, look in self.looks().items()}

    def looks(self) -> dict[str, Callable[[], Any]]:
        ones, generator = torch.ones(3), torch.Generator()
        return {
            "stdout": lambda: (id(sys.stdout), id(sys.stderr)),
            "len": lambda: (len(ones), type(len(ones))),
            "math": lambda: [getattr(math, name)(4.0) for name in ("sqrt", "log", "log2", "log10", "exp")],
            "linspace": lambda: torch.linspace(0, 1, 4).tolist(),
            "fft": lambda: torch.fft.fftfreq(4).tolist() + torch.fft.rfftfreq(4).tolist(),
            "chunk": lambda: [t.tolist() for t in (*torch.chunk(ones, 2), *ones.chunk(2))],
            "cov": lambda: torch.cov(self.x[0]).tolist() + torch.corrcoef(self.x[0]).tolist(),
            "generator": lambda: torch.rand(2, generator=generator.manual_seed(3)).tolist(),
            "pool": lambda: nn.functional.max_pool1d(self.x, 5).tolist(),
            "conv": lambda: rounded(torch.conv1d(self.x, torch.ones(1, 5, 2))),
            "distribution": lambda: raises(ValueError, Normal, 0.0, -1.0),
            "log_prob": lambda: raises(ValueError, torch.distributions.Bernoulli(0.5).log_prob, torch.tensor(7.0)),
            "mha": lambda: torch.backends.mha.get_fastpath_enabled(),
            "encoder": lambda: rounded(self.encoder(self.x, src_key_padding_mask=self.padding)),
            "module_to": lambda: next(nn.Linear(1, 1).to(torch.float64).parameters()).dtype,
            "tensor_to": lambda: (ones.to(int).dtype, torch.zeros(1, dtype=int).dtype, "int" in globals()),
            "set_item": lambda: written().tolist(),
            "grad": lambda: derivative().tolist(),
            "autocast": lambda: cast().dtype,
            "warnings": self.warn,
            "log": self.log,
            "levels": lambda: [logging.getLogger(name).level for name in LOGGERS],
        }

    def warn(self) -> bool:
        self.count += 1
        windows = self.torchs_windows
        warnings.warn(f"warning {self.count}", UserWarning, stacklevel=1)
        is_disturbed_by_torch = windows != self.torchs_windows or windows % 2 == 1
        return f"warning {self.count}" in self.warned or is_disturbed_by_torch

    def log(self) -> bool:
        self.count += 1
        self.seen.warning("record %d", self.count)
        return any(r.args == (self.count,) for r in self.records)

    def differences(self) -> set[str]:
        found = set()
        for name, look in self.looks().items():
            try:
                if look() != self.expected[name]:
                    found.add(name)
            except Exception as error:
                found.add(f"{name}: {error!r}")
        return found


def raises(kind: type[Exception], function: Callable[..., Any], *args: Any) -> bool:
    try:
        function(*args)
    except kind:
        return True
    return False


def written() -> Tensor:
    x = torch.zeros(2, 3, 2)
    x[..., torch.tensor([0])] = 1.0
    return x


def derivative() -> Tensor:
    x = torch.ones(2, requires_grad=True)
    with torch.enable_grad():
        return torch.autograd.grad((x * x).sum(), x)[0]


def cast() -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return torch.ones(2, 2) @ torch.ones(2, 2)


@pytest.fixture
def witness(monkeypatch: pytest.MonkeyPatch) -> Iterator[Witness]:
    found = Witness.__new__(Witness)

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.records.append(record)

    handler = Handler()
    logger = logging.getLogger("torch.onnx")
    logger.addHandler(handler)
    monkeypatch.setattr(warnings, "showwarning", lambda message, *args, **kwargs: found.warned.append(str(message)))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        found.__init__()  # type: ignore[misc]
        yield found
    logger.removeHandler(handler)


@contextlib.contextmanager
def torchs_filters_seen(witness: Witness) -> Iterator[None]:
    """Count the beginnings and ends of blocks in which torch itself replaces all threads' filters of warnings."""
    enter, leave = warnings.catch_warnings.__enter__, warnings.catch_warnings.__exit__
    inside: list[object] = []

    def entered(block: Any) -> Any:
        if sys._getframe(1).f_globals["__name__"].partition(".")[0] == "torch":
            inside.append(block)
            witness.torchs_windows += len(inside) == 1
        return enter(block)

    def left(block: Any, *details: Any) -> None:
        leave(block, *details)
        if block in inside:
            inside.remove(block)
            witness.torchs_windows += not inside

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warnings.catch_warnings, "__enter__", entered)
        patch.setattr(warnings.catch_warnings, "__exit__", left)
        yield


@contextlib.contextmanager
def alongside(work: Callable[[], None], pause: float = 0.0) -> Iterator[None]:
    """Do work again and again in another thread while the block runs."""
    over = threading.Event()

    def again() -> None:
        while not over.wait(pause):
            work()

    thread = threading.Thread(target=again)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def watched(witness: Witness) -> Iterator[None]:
    """Let another thread look again and again, and compare what it saw."""
    differences, looks = set(), 0

    def look() -> None:
        nonlocal looks
        differences.update(witness.differences())
        looks += 1

    with torchs_filters_seen(witness), alongside(look):
        yield
    assert differences == set()
    assert looks


class Sizes(nn.Module):
    """Calls what is replaced in the tracing thread."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.linear(x).relu_().chunk(2, dim=1)  # torch decomposes what writes in place
        return first * second * math.sqrt(x.shape[0]) + len(x)


@pytest.mark.slow
def test_another_thread_sees_no_patch(witness: Witness) -> None:
    before = state()
    with table.patched(*GROUPS):
        differences: list[set[str]] = []
        thread = threading.Thread(target=lambda: differences.append(witness.differences()))
        thread.start()
        thread.join()
    assert differences == [set()]
    assert state() == before


@pytest.mark.parametrize(
    "engine",
    [*(DynamoEngine(c) for c in CAPTURES), TorchScriptEngine()],
    ids=lambda e: type(getattr(e, "capture", e)).__name__,
)
@pytest.mark.slow
def test_another_thread_is_not_disturbed_by_a_trace(engine: Any, witness: Witness) -> None:
    flat, request = made(Sizes(), torch.randn(3, 4), axes=({0: "batch"},))
    before = state()
    with watched(witness), contextlib.suppress(EngineError):
        engine.trace(flat, request, 20, {})
    assert state() == before


def test_a_replaced_filter_of_warnings_is_seen(witness: Witness) -> None:
    def replace() -> None:
        with watched(witness), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            time.sleep(0.3)

    with pytest.raises(AssertionError, match="warnings"):
        replace()


@pytest.mark.slow
def test_two_exports_in_two_threads_leave_nothing_replaced(tmp_path: Path) -> None:
    before, artifacts = state(), {}

    def make(number: int) -> None:
        for again in range(2):
            artifacts[number, again] = export(Sizes(), torch.randn(3, 4), directory=tmp_path / f"{number}-{again}")

    threads = [threading.Thread(target=make, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [a.proven for a in artifacts.values()] == [True] * 4
    assert state() == before


def drawing(drawn: list[float]) -> contextlib.AbstractContextManager[None]:
    """Draw random numbers in another thread while the block runs."""
    return alongside(lambda: drawn.append(float(torch.rand(1, dtype=torch.float64))), pause=0.0005)


@pytest.mark.slow
def test_only_what_is_drawn_while_torch_traces_is_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[float] = []
    in_windows = 0
    kept = aot_autograd.preserve_rng_state

    @contextlib.contextmanager
    def window() -> Iterator[None]:
        nonlocal in_windows
        before = len(drawn)
        with kept():
            yield
        in_windows += len(drawn) - before

    for module in (aot_autograd, _dynamo_utils):  # torch's own window
        monkeypatch.setattr(module, "preserve_rng_state", window)
    with drawing(drawn):
        artifact = export(Sizes(), torch.randn(3, 4), directory=tmp_path / "made")
    assert artifact.proven
    assert in_windows
    assert len(drawn) - len(set(drawn)) <= in_windows + 2  # one at each end


@pytest.mark.slow
def test_a_module_that_draws_is_known_also_beside_a_thread_that_draws(tmp_path: Path) -> None:
    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.randn_like(x)

    with drawing([]):
        artifact = export(Noisy(), torch.randn(3, 4), directory=tmp_path / "made")
    (parity,) = artifact.record.checks
    assert parity.status == "skipped", parity.reason
