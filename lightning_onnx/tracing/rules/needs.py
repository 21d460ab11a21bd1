"""TODO."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def is_complex(node: Any) -> bool:
    value = node.args[0].meta["val"] if hasattr(node.args[0], "meta") else None
    return isinstance(value, Tensor) and value.is_complex()


def by_size(node: Any) -> bool:
    return not isinstance(node.args[1], (int, float))


def always(node: Any) -> bool:
    return True
