"""A progress bar for long stages, drawn like the Trainer's own, and only if the Trainer draws one.

Where the output is neither a terminal nor a notebook, each stage is a line instead.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from lightning.pytorch import Trainer

from lightning_onnx.notices import info

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

log = logging.getLogger(__name__)

DELAY = 2.0
"""Seconds before anything is shown: shorter work needs no bar."""

_REFRESH = 0.25
"""Seconds between two redraws; the running time shows that the program is alive."""


class Stages:
    """Keeps track of the running stage; any thread may call it.

    Args:
        total: Number of stages; None if unknown.
    """

    def __init__(self, total: int | None = None) -> None:
        self.total = total
        self._lock = threading.Lock()
        self._begun = 0
        self._name = ""

    def step(self, name: str) -> None:
        """Start the next stage.

        Args:
            name: Name of the stage, such as ``"tracing"``.
        """
        with self._lock:
            self._begun += 1
            self._name = name

    def state(self) -> tuple[str, int]:
        """Return the name of the running stage, and the number of finished stages."""
        with self._lock:
            done = max(self._begun - 1, 0)
            return self._name, done if self.total is None else min(done, self.total)


class _Bar(Protocol):
    def draw(self, name: str, done: int) -> None: ...

    def close(self) -> None: ...


@contextlib.contextmanager
def stages(trainer: Trainer | None, total: int | None = None, *, delay: float = DELAY) -> Iterator[Stages]:
    """Show the running stage of the block, after the block has run for a while.

    Nothing is shown on ranks other than zero, without a Trainer, or if the Trainer's own progress bar is off. An error
    while drawing is logged, and does not stop the block.

    Args:
        trainer: The Trainer whose progress bar decides whether and how to draw; with None, nothing is drawn.
        total: Number of stages, if known.
        delay: Seconds before anything is shown.

    Yields:
        The stages; the block calls ``Stages.step``.

    Example:
        >>> with stages(None, total=2) as progress:
        ...     progress.step("tracing")
        ...     progress.step("checking")
    """
    shown = Stages(total)
    if trainer is None or not _is_on(trainer):
        yield shown
        return
    over = threading.Event()
    thread = threading.Thread(target=_draw, args=(trainer, shown, over, delay), name="onnx-progress", daemon=True)
    thread.start()
    try:
        yield shown
    finally:
        over.set()
        thread.join()


def _is_on(trainer: Trainer) -> bool:
    callback = getattr(trainer, "progress_bar_callback", None)
    return callback is not None and trainer.is_global_zero and bool(getattr(callback, "is_enabled", True))


def _draw(trainer: Trainer, shown: Stages, over: threading.Event, delay: float) -> None:
    if over.wait(delay):
        return
    try:
        callback = trainer.progress_bar_callback
        if not _can_redraw():
            _tell(shown, over)
            return
        # By name, because there are two packages of Lightning.
        is_rich = any(parent.__name__ == "RichProgressBar" for parent in type(callback).__mro__)
        bar: _Bar = _Rich(callback, shown.total, delay) if is_rich else _Tqdm(callback, shown.total, delay)
        try:
            while True:
                bar.draw(*shown.state())
                if over.wait(_REFRESH):
                    break
        finally:
            bar.close()
    except Exception:
        log.debug("the progress bar failed", exc_info=True)


def _can_redraw() -> bool:
    """Tell whether what is written can be drawn over; a redrawn bar would fill a log file."""
    return sys.stdout.isatty() or "ipykernel" in sys.modules


def _tell(shown: Stages, over: threading.Event) -> None:
    """Tell of each stage in a line; of tracing there is one already."""
    told = "tracing"
    while True:
        name, _ = shown.state()
        if name not in ("", told):
            info(f"ONNX export: {name}")
            told = name
        if over.wait(_REFRESH):
            return


class _Tqdm:
    """A bar below those of training and validation."""

    def __init__(self, callback: Any, total: int | None, elapsed: float) -> None:
        from tqdm.auto import tqdm  # type: ignore[import-untyped]

        # tqdm draws once at the start; without a description, this would leave an empty line.
        counts = "" if total is None else "|{bar:20}| {n_fmt}/{total_fmt} "
        position = 2 * getattr(callback, "process_position", 0) + 2
        self._bar = tqdm(
            desc="ONNX export",
            total=total,
            leave=False,
            position=position,
            file=sys.stdout,
            bar_format=f"{{desc}} {counts}[{{elapsed}}]",
        )
        self._bar.start_t -= elapsed

    def draw(self, name: str, done: int) -> None:
        self._bar.n = done
        self._bar.set_description_str(f"ONNX export: {name}", refresh=False)
        self._bar.refresh()

    def close(self) -> None:
        self._bar.close()


class _Rich:
    """A task in Lightning's own display while it is live, because two displays would draw over each other."""

    def __init__(self, callback: Any, total: int | None, elapsed: float) -> None:
        self._callback, self._total = callback, total
        self._started = time.monotonic() - elapsed
        self._shown: tuple[Progress, TaskID] | None = None
        self._is_own = False

    def draw(self, name: str, done: int) -> None:
        theirs = getattr(self._callback, "progress", None)
        live = theirs if theirs is not None and theirs.live.is_started else None
        if self._shown is None or (live is not None and live is not self._shown[0]):
            self.close()
            self._shown = self._open(live)
        progress, task = self._shown
        seconds = time.monotonic() - self._started
        words = f"ONNX export: {name}" + ("" if self._is_own else f" {seconds:.0f} s")
        progress.update(task, description=words, completed=done)
        progress.refresh()

    def _open(self, live: Progress | None) -> tuple[Progress, TaskID]:
        self._is_own = live is None
        progress = _own_progress() if live is None else live
        return progress, progress.add_task("", total=float("inf") if self._total is None else self._total)

    def close(self) -> None:
        if self._shown is None:
            return
        progress, task = self._shown
        progress.remove_task(task)
        if self._is_own:
            progress.stop()
        else:
            progress.refresh()
        self._shown = None


def _own_progress() -> Progress:
    import rich
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    progress = Progress(*columns, transient=True, console=rich.get_console())
    progress.start()
    return progress
