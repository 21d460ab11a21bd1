"""Which branches a method takes, whatever the condition is, and whether it spans one line or several.

Python calls a trace function before each instruction. The instruction after a conditional jump shows which branch was
taken, even if the condition is a number, a list or an array that was made from a tensor earlier.
"""

from __future__ import annotations

import dis
import functools
import sys
from collections import Counter
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from lightning_onnx.errors import EndlessLoop
from lightning_onnx.module.loops import heads_of
from lightning_onnx.module.user_code import is_users, location

_JUMPS = frozenset((*dis.hasjrel, *dis.hasjabs))
_KEPT = 1_000_000
"""Maximum number of recorded branches: enough to see what a Python loop over a million elements does."""

Branch = tuple[str, int, int, int]
"""``file:line`` of a conditional jump, its column, its offset in the code, and the offset of the next instruction.

The condition of a ``while`` loop is in the bytecode twice, with the same column; those of ``a and b`` have two columns.
"""

_Trace = Callable[[FrameType, str, Any], Any]


class BranchRecorder:
    """Records the branches of the user's code, in the thread that enters the context.

    Args:
        limit: The number of branches after which the code is ended by ``EndlessLoop``; None if it may take any number.

    Attributes:
        branches: The recorded branches, in order.
        steps: How often each loop began another step, by ``file:line`` of the loop.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.branches: list[Branch] = []
        self.steps: Counter[str] = Counter()
        self._limit = limit
        self._earlier: Any = None

    def __enter__(self) -> BranchRecorder:
        self._earlier = sys.gettrace()
        sys.settrace(self._on_call)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(self._earlier)

    def _on_call(self, frame: FrameType, event: str, arg: Any) -> _Trace | None:
        jumps = _jumps_of(frame.f_code)
        if not jumps or len(self.branches) > _KEPT:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        branches, steps, code, jump = self.branches, self.steps, frame.f_code, -1
        heads = _heads_of(code)

        def on_instruction(frame: FrameType, event: str, arg: Any) -> _Trace:
            nonlocal jump
            if event == "opcode":
                at = frame.f_lasti
                if jump >= 0:
                    line, column = jumps[jump]
                    branches.append((location(code.co_filename, line), column, jump, at))
                    if at <= jump and jump in heads:
                        steps[heads[jump]] += 1
                        if self._limit is not None and len(branches) > self._limit:
                            raise EndlessLoop(f"the loop at {heads[jump]} does not end")
                jump = at if at in jumps else -1
            return on_instruction

        return on_instruction


@functools.lru_cache(maxsize=4096)
def _jumps_of(code: CodeType) -> dict[int, tuple[int, int]]:
    """Return line and column of all jumps by their offset; an empty dict for code that is not the user's."""
    if not is_users(code.co_filename):
        return {}
    found: dict[int, tuple[int, int]] = {}
    line = code.co_firstlineno
    for instruction in dis.get_instructions(code):
        positions = getattr(instruction, "positions", None)  # Python 3.11 has them
        line = (positions.lineno if positions else None) or line
        if instruction.opcode in _JUMPS:
            found[instruction.offset] = (line, (positions.col_offset if positions else None) or 0)
    return found


@functools.lru_cache(maxsize=4096)
def _heads_of(code: CodeType) -> dict[int, str]:
    """Return ``file:line`` of each loop by the offsets of the jumps that begin another step of it."""
    return {offset: location(code.co_filename, line) for offset, line in heads_of(code).items()}
