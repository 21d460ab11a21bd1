"""The loops of a method: which of them may run for ever, and a limit that ends those that do.

An adaptive solver, or a search that goes on until a tolerance is met, ends on the values that training has. On other
values, such as NaN, its loop may never end.
"""

from __future__ import annotations

import contextlib
import dis
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import CodeType, FrameType
from typing import Any

from torch import Tensor

from lightning_onnx.errors import EndlessLoop
from lightning_onnx.module.user_code import is_users, location

_ENDLESS_ITERATORS = frozenset({"count", "cycle"})
"""Names of functions whose iterators do not end by themselves."""

_FEW = 2_000
"""Lines of such loops that any call may run."""

_TIMES = 20
"""How many times as many as in the longest known call, for as many elements, a call may run."""

_Trace = Callable[[FrameType, str, Any], Any]


class LoopLimit:
    """Ends calls whose loops run much longer than those of earlier calls; the first call may take any time.

    Only functions are counted that have a loop which may run for ever. Nothing is counted under a debugger or another
    trace function of Python's.
    """

    def __init__(self) -> None:
        self._most = -1  # the most lines in a call that ended; negative before the first
        self._elements = 1  # of its inputs

    @contextlib.contextmanager
    def of_call(self, tensors: Sequence[Tensor]) -> Iterator[None]:
        """Limit a call of the method.

        Args:
            tensors: The inputs of the call.

        Raises:
            EndlessLoop: If a loop of the user's code runs on and on.
        """
        if sys.gettrace() is not None:
            yield
            return
        elements = max(1, sum(t.numel() for t in tensors))
        counter = _Counter(self.allowed(elements))
        sys.settrace(counter.on_call)
        try:
            yield
        finally:
            sys.settrace(None)
        self._add(counter.lines, elements)

    def allowed(self, elements: int) -> int | None:
        """Return how many lines of loops a call may run; None before the first call has ended.

        Args:
            elements: The number of elements of its inputs.
        """
        if self._most < 0:
            return None
        return _FEW + _TIMES * self._most * max(1, -(-elements // self._elements))

    def _add(self, lines: int, elements: int) -> None:
        if lines > self._most:
            self._most, self._elements = lines, elements


class _Counter:
    """Counts the lines that run in functions with a loop that may run for ever."""

    def __init__(self, limit: int | None) -> None:
        self.lines = 0
        self.limit = limit

    def on_call(self, frame: FrameType, event: str, arg: Any) -> _Trace | None:
        return self._on_line if _may_run_for_ever(frame.f_code) else None

    def _on_line(self, frame: FrameType, event: str, arg: Any) -> _Trace:
        self.lines += event == "line"
        if self.limit is not None and self.lines > self.limit:
            raise EndlessLoop(f"the loop at {location(frame.f_code.co_filename, frame.f_lineno)} does not end")
        return self._on_line


def heads_of(code: CodeType) -> Mapping[int, int]:
    """Return the first line of each loop by the offsets of the jumps that begin another step of it.

    Args:
        code: The code of a function.
    """
    lines = [(start, end, line) for start, end, line in code.co_lines() if line is not None]

    def line_at(offset: int) -> int:
        return next((line for start, end, line in lines if start <= offset < end), code.co_firstlineno)

    return {i.offset: min(line_at(i.argval), line_at(i.offset)) for i in dis.get_instructions(code) if _jumps_back(i)}


_KNOWN: dict[int, tuple[CodeType, bool]] = {}
"""By id; codes are kept, because Python reuses the ids of dead objects, and comparing them takes longer."""


def _may_run_for_ever(code: CodeType) -> bool:
    known = _KNOWN.get(id(code))
    if known is None:
        known = _KNOWN[id(code)] = code, is_users(code.co_filename) and has_open_loop(code)
    return known[1]


def has_open_loop(code: CodeType) -> bool:
    """Tell whether code has a loop that may run for ever: ``while``, or ``for`` over ``itertools.count``.

    Args:
        code: The code of a function.
    """
    instructions = list(dis.get_instructions(code))
    names: dict[int, str] = {}
    for i in reversed(instructions):
        names[i.offset] = names[i.offset + 2] if i.opname == "EXTENDED_ARG" else i.opname
    targets = {names[i.argval] for i in instructions if _jumps_back(i)}
    if targets - {"FOR_ITER", "SEND"}:
        return True
    return "FOR_ITER" in targets and bool(_ENDLESS_ITERATORS & {*code.co_names, *code.co_freevars})


def _jumps_back(instruction: dis.Instruction) -> bool:
    is_jump = instruction.opcode in dis.hasjrel or instruction.opcode in dis.hasjabs
    return is_jump and instruction.argval <= instruction.offset
