"""Which way a method went at each of its branches, with any condition, on one line or on several.

Python tells a trace function of each instruction. What follows a conditional jump says how it was decided, also where
the condition is a number, a list or an array that came from a tensor earlier.
"""

from __future__ import annotations

import dis
import functools
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from lightning_onnx.module.user_code import is_users, told

_JUMPS = frozenset((*dis.hasjrel, *dis.hasjabs))
_KEPT = 1_000_000
"""Branches recorded at most: a Python loop over a million elements has shown by then how it goes on."""

Branch = tuple[str, int, int, int]
"""``file:line`` of a conditional jump, its column, its offset in the code, and the offset of what ran next.

The condition of a ``while`` loop stands twice in the code, at the same column; those of ``a and b`` at two columns.
"""

_Trace = Callable[[FrameType, str, Any], Any]


class BranchRecorder:
    """Records the branches of the user's code, in the thread that enters the context.

    Attributes:
        branches: What was recorded so far, in order.
    """

    def __init__(self) -> None:
        self.branches: list[Branch] = []
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
        branches, code, jump = self.branches, frame.f_code, -1

        def on_instruction(frame: FrameType, event: str, arg: Any) -> _Trace:
            nonlocal jump
            if event == "opcode":
                at = frame.f_lasti
                if jump >= 0:
                    line, column = jumps[jump]
                    branches.append((told(code.co_filename, line), column, jump, at))
                jump = at if at in jumps else -1
            return on_instruction

        return on_instruction


@functools.lru_cache(maxsize=4096)
def _jumps_of(code: CodeType) -> dict[int, tuple[int, int]]:
    """Return line and column of all jumps of the user's code by their offset; none for code of others."""
    if not is_users(code.co_filename):
        return {}
    found: dict[int, tuple[int, int]] = {}
    line = code.co_firstlineno
    for instruction in dis.get_instructions(code):
        positions = instruction.positions
        line = (positions.lineno if positions else None) or line
        if instruction.opcode in _JUMPS:
            found[instruction.offset] = (line, (positions.col_offset if positions else None) or 0)
    return found
