"""Each patch is needed with the installed torch, and is removed again."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

import pytest
import torch
import torch.nn.attention.flex_attention  # or a trace imports it, and `state` has one more
from torch.distributions import Distribution

from lightning_onnx.tracing.patches import table
from lightning_onnx.tracing.patches.patch import Patch, put_in, replaced_attribute
from lightning_onnx.tracing.patches.quiet import only_errors
from tests.tracing.patches.cases import CASES

SLOW = {f"{kind}_pool_of_the_whole_{dims}d" for kind in ("max", "avg") for dims in (2, 3)} | {
    "max_pool_of_the_whole_1d",
    "functional_conv1d_by_groups",
    "torch_conv1d_by_groups",
    "torch_conv2d_by_groups",
    "tensor_chunk",
    "tensor_corrcoef",
    "tensor_cov",
    "log2",
    "log10",
    "no_log_of_onnxscript",
    "no_log_of_torch_fx_experimental_symbolic_shapes",
    "resized_image",
    "batched_images",
    "batched_nms",
    "flexible_attention",
}
"""Cases that take longer, each like a fast one."""

GUARDED = [patch for patch in table.PATCHES if patch.case is not None]
PATCHES = [pytest.param(p, id=p.case, marks=[pytest.mark.slow] * (p.case in SLOW)) for p in GUARDED]


@pytest.fixture(autouse=True)
def _distributions_check_values() -> Iterator[None]:
    before = Distribution._validate_args
    yield
    Distribution.set_default_validate_args(before)


def test_each_patch_has_its_own_case() -> None:
    assert sorted(str(patch.case) for patch in GUARDED) == sorted(CASES)


@pytest.mark.slow
@pytest.mark.parametrize("patch", PATCHES)
def test_the_case_holds(patch: Patch, capfd: pytest.CaptureFixture[str]) -> None:
    CASES[str(patch.case)](capfd)


@pytest.mark.nightly
@pytest.mark.parametrize("patch", PATCHES)
def test_the_case_without_the_patch(
    patch: Patch, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when the installed torch no longer needs the patch."""
    monkeypatch.setattr(table, "PATCHES", tuple(p for p in table.PATCHES if p is not patch))
    is_needed = True
    with contextlib.suppress(Exception, pytest.fail.Exception):  # a marked xfail reads torch's sources to show where
        CASES[str(patch.case)](capfd)
        is_needed = False
    if is_needed:
        pytest.xfail("torch needs the patch")
    pytest.fail(f"the case '{patch.case}' holds without its patch: remove the patch")


def state() -> list[object]:
    """The current values that each patch replaces."""
    found: list[object] = [torch.backends.mha.get_fastpath_enabled(), torch._C._jit_is_onnx_log_enabled()]
    for patch in table.PATCHES:
        if patch.replace is only_errors:
            logger = logging.getLogger(patch.owner)
            found.append((logger.level, list(logger.filters)))
        elif (owner := patch.find_owner()) is not None and hasattr(owner, patch.name):
            found.append((getattr(owner, patch.name), isinstance(owner, type) and patch.name in vars(owner)))
    return [*found, list(warnings.filters), "int" in globals()]


@pytest.mark.slow
def test_nothing_stays_replaced_even_after_an_error() -> None:
    before, during = state(), []

    def fails() -> None:
        during.extend(state())
        raise KeyError

    with (
        pytest.raises(KeyError),
        table.patched("quiet", "trace", "torchscript", "traced_values", "symbolic_int", "derivatives"),
    ):
        fails()
    assert during != before
    assert state() == before


@pytest.mark.parametrize("patch", [patch for patch in table.PATCHES if patch.replace is replaced_attribute])
def test_replaced_names_exist(patch: Patch) -> None:
    """Fails if torch moves it."""
    if patch.optional:
        pytest.importorskip(patch.owner.partition(":")[0])
    assert hasattr(patch.find_owner(), patch.name)


def test_nothing_is_replaced_in_a_package_that_is_not_imported() -> None:
    patch = Patch("package_that_is_missing", "name", None, "why", "seen", None, optional=True)
    assert patch.find_owner() is None
    with put_in(patch):
        pass
