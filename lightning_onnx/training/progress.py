"""A bar for stages that take long: drawn as the Trainer draws its own, and not at all where that draws none."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol

log = logging.getLogger(__name__)

DELAY = 2.0
"""Seconds before anything is shown: what is done by then needs no bar."""

_REFRESH = 0.25
"""Seconds between two drawings; the time that runs tells that the program does."""


class Stages:
    """Says what is being done now; any thread may do so.

    Args:
        total: Number of steps, None where unknown.
    """

    def __init__(self, total: int | None = None) -> None:
        self.total = total
        self._lock = threading.Lock()
        self._begun = 0
        self._name = ""

    def step(self, name: str) -> None:
        """Begin the next stage.

        Args:
            name: What is done in it, as ``"tracing"``.
        """
        with self._lock:
            self._begun += 1
            self._name = name

    def state(self) -> tuple[str, int]:
        """Return the name of the stage and how many are done."""
        with self._lock:
            done = max(self._begun - 1, 0)
            return self._name, done if self.total is None else min(done, self.total)


class _Bar(Protocol):
    def draw(self, name: str, done: int) -> None: ...

    def close(self) -> None: ...


@contextlib.contextmanager
def stages(trainer: Any, total: int | None = None, *, delay: float = DELAY) -> Iterator[Stages]:
    """Show the stages of what is done inside, once it has taken a while.

    Nothing is shown on ranks other than zero, without a Trainer, and where the Trainer's own progress bar is off. What
    goes wrong with the drawing is logged and stops nothing.

    Args:
        trainer: The Trainer whose progress bar says whether and how to draw; None: nothing is drawn.
        total: Number of steps, where known.
        delay: Seconds before anything is shown.

    Yields:
        What to call ``Stages.step`` on.

    Example:
        >>> with stages(None, total=2) as progress:
        ...     progress.step("tracing")
        ...     progress.step("checking")
    """
    shown = Stages(total)
    if not _is_on(trainer):
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


def _is_on(trainer: Any) -> bool:
    callback = getattr(trainer, "progress_bar_callback", None)
    return callback is not None and trainer.is_global_zero and bool(getattr(callback, "is_enabled", True))


def _draw(trainer: Any, shown: Stages, over: threading.Event, delay: float) -> None:
    if over.wait(delay):
        return
    try:
        callback = trainer.progress_bar_callback
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
        log.debug("the progress bar", exc_info=True)


class _Tqdm:
    """Below the bars of training and validation."""

    def __init__(self, callback: Any, total: int | None, elapsed: float) -> None:
        from tqdm.auto import tqdm  # type: ignore[import-untyped]

        # Without a description in the first drawing, which tqdm does by itself, there would be an empty line.
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
    """A task of Lightning's own display while that is live, for two displays would draw over each other."""

    def __init__(self, callback: Any, total: int | None, elapsed: float) -> None:
        self._callback, self._total = callback, total
        self._started = time.monotonic() - elapsed
        self._progress: Any = None
        self._task: Any = None
        self._is_own = False

    def draw(self, name: str, done: int) -> None:
        theirs = getattr(self._callback, "progress", None)
        live = theirs if theirs is not None and theirs.live.is_started else None
        if self._progress is None or (live is not None and live is not self._progress):
            self.close()
            self._open(live)
        seconds = time.monotonic() - self._started
        words = f"ONNX export: {name}" + ("" if self._is_own else f" {seconds:.0f} s")
        self._progress.update(self._task, description=words, completed=done)
        self._progress.refresh()

    def _open(self, live: Any) -> None:
        self._is_own = live is None
        self._progress = _own_progress() if live is None else live
        self._task = self._progress.add_task("", total=float("inf") if self._total is None else self._total)

    def close(self) -> None:
        if self._progress is None:
            return
        self._progress.remove_task(self._task)
        if self._is_own:
            self._progress.stop()
        else:
            self._progress.refresh()
        self._progress = None


def _own_progress() -> Any:
    import rich
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    progress = Progress(*columns, transient=True, console=rich.get_console())
    progress.start()
    return progress
