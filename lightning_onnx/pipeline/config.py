"""The validated options of an export, shared by the callback and ``lightning_onnx.export``.

The file is above 300 lines because it has every option, and what each of them may be.
"""

from __future__ import annotations

import dataclasses
import os
import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from lightning_onnx.checks.base import Check
from lightning_onnx.checks.metrics import MetricParity
from lightning_onnx.checks.parity import Parity
from lightning_onnx.checks.runtimes import RuntimeParity
from lightning_onnx.contract.given import Given, check_given
from lightning_onnx.errors import ConfigurationError
from lightning_onnx.module.calls.names import InputNames
from lightning_onnx.module.calls.nested import flatten
from lightning_onnx.module.fused import Around, Part, check_part
from lightning_onnx.notices import warn
from lightning_onnx.onnxfile import compatibility
from lightning_onnx.onnxfile.installed import DEFAULT_OPSET, opsets
from lightning_onnx.pipeline.assets import check_assets
from lightning_onnx.pipeline.options import choose, instances_of
from lightning_onnx.runtimes.base import DEFAULT as DEFAULT_RUNTIME
from lightning_onnx.runtimes.base import check_names as check_runtime_names
from lightning_onnx.tracing.engines import TAKES, order
from lightning_onnx.variants.base import PROGRAM, Variant, by_name, check_options, form_of

_CHOICES: dict[str, tuple[object, ...]] = {
    "engine": ("auto", "dynamo", "torchscript"),
    "test_data": ("synthetic", "observed", None),
}
_NAME = re.compile(r"[^\s/]+")
_RESERVED = {
    "args", "kwargs", "f", "model", "verbose", "input_names", "output_names", "opset_version", "dynamic_axes",
    "dynamic_shapes", "dynamo", "external_data", "optimize", "verify", "report", "profile", "dump_exported_program",
    "artifacts_dir", "fallback", "training", "export_modules_as_functions",
}  # fmt: skip
"""Parameters of ``torch.onnx.export`` that this package sets itself."""


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """What to export and how; each option is described in the callback's docstring.

    Raises:
        ConfigurationError: If a value is invalid.
    """

    method: str = "forward"
    sample: Any = None
    input_names: InputNames | None = None
    output_names: Sequence[str] | None = None
    opset_version: int | None = None
    target: str | None = None
    dynamic_axes: Mapping[str, Mapping[int, str] | Sequence[int]] | str | None = "auto"
    exclude_inputs: Sequence[str] = ("labels",)
    engine: str = "auto"
    checks: Sequence[Check] = (Parity(),)
    default_checks: bool | None = None
    variants: Sequence[Variant] = ()
    runtimes: Sequence[str] = (DEFAULT_RUNTIME,)
    require: Sequence[str] = ()
    test_data: str | None = "synthetic"
    metadata: Mapping[str, str] | None = None
    assets: Sequence[str | os.PathLike[str]] = ()
    preprocess: Part | None = None
    postprocess: Part | None = None
    labels: Sequence[str] | None = None
    contract: Mapping[str, Any] | Literal[False] | None = None
    export_options: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Check everything that can be checked before a module is known."""
        for option, choices in _CHOICES.items():
            choose(option, getattr(self, option), choices)
        if not isinstance(self.method, str) or not self.method.isidentifier():
            raise ConfigurationError(f"method={self.method!r} is not the name of a method. Give one such as 'forward'.")
        _check_sample(self.sample)
        inputs = _given_names(self.input_names)
        _check_names("input_names", inputs)
        _check_names("output_names", self.output_names)
        both = sorted(set(inputs or ()) & set(self.output_names or ()))
        if both:
            raise ConfigurationError(
                f"input_names and output_names share {both}; names in a graph are unique. Rename one of each."
            )
        _check_opset(self.opset_version, self.engine)
        _check_target(self.target, self.opset_version)
        _check_axes(self.dynamic_axes)
        _check_strings("exclude_inputs", self.exclude_inputs)
        _check_checks(self.checks)
        choose("default_checks", self.default_checks, (None, True, False))
        self._add_default_checks()
        object.__setattr__(self, "variants", by_name(self.variants))
        _check_variants(self.variants)
        _check_runtimes(self.runtimes, self.require)
        _check_metadata(self.metadata)
        check_given(self.labels, self.contract)
        check_assets(self.assets)
        check_part("preprocess", self.preprocess)
        check_part("postprocess", self.postprocess)
        _check_export_options(self.export_options)
        _check_engine_options(self.export_options or {}, self.engine, self.opset)

    def _add_default_checks(self) -> None:
        """Add ``Parity`` if it is asked for; warn where a list without it replaces it in silence."""
        if self.default_checks is False or any(isinstance(check, Parity) for check in self.checks):
            return
        if self.default_checks:
            object.__setattr__(self, "checks", (Parity(), *self.checks))
            return
        warn(
            f"checks={list(self.checks)!r} replaces the default check, Parity. The next version will add to it: say "
            "default_checks=False to keep what this list does now, or default_checks=True to have Parity as well.",
            FutureWarning,
        )

    @property
    def given(self) -> Given | None:
        """What the user says of inputs and outputs; None without a contract."""
        return check_given(self.labels, self.contract)

    @property
    def around(self) -> Around:
        """What the graph does before and after the method."""
        return Around(self.method, self.preprocess, self.postprocess)

    @property
    def traced_method(self) -> str:
        """The method that is traced: the exported one, with what is around it."""
        return self.around.traced_method

    @property
    def has_weights(self) -> bool:
        """Whether the file will hold the weights."""
        return (self.export_options or {}).get("export_params", True) is not False

    @property
    def every_check(self) -> tuple[Check, ...]:
        """The checks, plus a comparison in other runtimes if ``runtimes`` names any."""
        if set(self.runtimes) <= {DEFAULT_RUNTIME} or any(isinstance(c, RuntimeParity) for c in self.checks):
            return tuple(self.checks)
        return (*self.checks, RuntimeParity(tuple(self.runtimes), tuple(self.require), parity=self.parity))

    @property
    def parity(self) -> Parity:
        """How outputs are compared: the ``Parity`` in ``checks``, or the default one."""
        return next((c for c in self.checks if isinstance(c, Parity)), Parity())

    @property
    def metrics(self) -> MetricParity:
        """How the validation loop is run: the ``MetricParity`` in ``checks``, or the default one."""
        return next((c for c in self.checks if isinstance(c, MetricParity)), MetricParity())

    @property
    def needs_validation(self) -> bool:
        """Whether a check or a variant runs the validation loop, which must happen in the training thread."""
        return any(getattr(x, "needs_validation", False) for x in (*self.every_check, *self.variants))

    @property
    def keeps_program(self) -> bool:
        """Whether a variant saves the captured program, so that a trace has to keep it."""
        return any(form_of(variant) is PROGRAM for variant in self.variants)

    @property
    def opset(self) -> int:
        """The opset to write."""
        if self.opset_version is not None:
            return self.opset_version
        if self.target is None:
            return DEFAULT_OPSET
        possible = opsets()
        highest = possible.highest if self.engine == "auto" else possible.engines[self.engine][1]
        return min(compatibility.find_target(self.target).opset, highest)


def check_not_empty(what: str, tensors: Sequence[Tensor]) -> None:
    """Raise if tensors have no element: an answer to none can be compared with nothing.

    Raises:
        ConfigurationError: If all of them are empty.
    """
    if tensors and not any(t.numel() for t in tensors):
        shape = list(tensors[0].shape)
        rows = tuple(size or 2 for size in shape)
        raise ConfigurationError(
            f"{what} is empty: its shape is {shape}. Give at least one row, such as torch.zeros{rows}."
        )


def _check_sample(sample: object) -> None:
    if sample is None:
        return
    tensors = flatten(sample)[1]
    check_not_empty("sample", tensors)
    if not tensors:
        raise ConfigurationError(
            f"sample={reprlib.repr(sample)} has no tensor. Give the arguments of one call, such as "
            "torch.zeros(1, 3, 224, 224)."
        )


_EXAMPLES = {"input_names": "images", "output_names": "logits", "exclude_inputs": "labels", "require": "openvino"}


def _given_names(names: InputNames | None) -> Sequence[str] | None:
    """Return the names that inputs are to have.

    Raises:
        ConfigurationError: If they are a mapping of anything else than names.
    """
    if not isinstance(names, Mapping):
        return names
    if not all(isinstance(name, str) for pair in names.items() for name in pair):
        raise ConfigurationError(
            f"input_names={dict(names)!r} is not a dict of names to names. Give one such as {{'x': 'images'}}."
        )
    if len(set(names.values())) < len(names):
        raise ConfigurationError(f"input_names={dict(names)!r} gives a name twice. Give each input its own name.")
    return list(names.values())


def _check_names(option: str, names: Sequence[str] | None) -> None:
    if names is None:
        return
    _check_strings(option, names)
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise ConfigurationError(f"{option}={list(names)} names {twice} more than once. Give each tensor its own name.")
    bad = [name for name in names if not _NAME.fullmatch(name)]
    if bad:
        raise ConfigurationError(f"{option} has {bad}, which are not valid tensor names. Remove white space and '/'.")


def _check_strings(option: str, values: object) -> None:
    if isinstance(values, str):
        raise ConfigurationError(f"{option}={values!r} is one string. Give a list: {option}=[{values!r}].")
    if not isinstance(values, (list, tuple)) or not all(isinstance(v, str) for v in values):
        raise ConfigurationError(
            f"{option}={values!r} is not a list of strings. Give a list such as ['{_EXAMPLES[option]}']."
        )


def _check_opset(opset_version: object, engine: str) -> None:
    if opset_version is None:
        return
    possible = opsets()
    if isinstance(opset_version, bool) or not isinstance(opset_version, int):
        raise ConfigurationError(f"opset_version={opset_version!r} is not an integer. Give one such as 20.")
    lowest, highest = (possible.lowest, possible.highest) if engine == "auto" else possible.engines[engine]
    if not lowest <= opset_version <= highest:
        raise ConfigurationError(
            f"opset_version={opset_version} is not supported with engine={engine!r}: the installed torch, onnx and "
            f"onnxruntime support {lowest} to {highest}. Choose one of these (see lightning_onnx.opsets())."
        )


def _check_target(target: str | None, opset_version: int | None) -> None:
    if target is None:
        return
    found = compatibility.find_target(target)
    if opset_version is not None and opset_version > found.opset:
        raise ConfigurationError(
            f"opset_version={opset_version} is higher than target={target!r} supports ({found.opset}). "
            "Leave one of them out."
        )


def _check_axes(axes: object) -> None:
    if axes is None or axes == "auto":
        return
    if not isinstance(axes, Mapping):
        raise ConfigurationError(
            f"dynamic_axes={axes!r} is neither 'auto', None nor a dict. Give one such as {{'input': {{0: 'batch'}}}}."
        )
    for name, dims in axes.items():
        if not isinstance(dims, (Mapping, list, tuple)) or not all(type(d) is int for d in dims):
            raise ConfigurationError(
                f"dynamic_axes[{name!r}]={dims!r} is neither a dict of axis to name nor a list of axes. "
                f"Give one such as {{{name!r}: {{0: 'batch'}}}}."
            )
        wrong = [n for n in (dims.values() if isinstance(dims, Mapping) else ()) if not str(n).isidentifier()]
        if wrong:
            raise ConfigurationError(
                f"dynamic_axes[{name!r}] has the dim names {wrong}. Use letters, digits and '_', such as 'batch'."
            )


def _check_checks(checks: Sequence[Check]) -> None:
    instances_of("checks", checks, Check, "Parity()")
    names = [c.name for c in checks]
    if len(set(names)) < len(names):
        raise ConfigurationError(f"checks has two with the same name: {names}. Give each check once.")


def _check_variants(variants: Sequence[Variant]) -> None:
    instances_of("variants", variants, Variant, "Float16()")
    for variant in variants:
        check_options(variant)
    names = [v.name for v in variants]
    if len(set(names)) < len(names):
        raise ConfigurationError(
            f"variants has two with the same name: {names}. Give each its own name: Int8(name='int8-b')."
        )


def _check_runtimes(names: Sequence[str], required: Sequence[str]) -> None:
    check_runtime_names("runtimes", names)
    _check_strings("require", required)
    missing = [name for name in required if name not in names]
    if missing:
        raise ConfigurationError(f"require has {missing}, missing in runtimes={list(names)}. Add them to runtimes.")


def _check_metadata(metadata: object) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, Mapping) or not all(isinstance(x, str) for kv in metadata.items() for x in kv):
        raise ConfigurationError(
            f"metadata={metadata!r} is not a dict of str to str. Convert its keys and values to strings."
        )
    own = [key for key in metadata if key.startswith("lightning_onnx.")]
    if own:
        raise ConfigurationError(
            f"metadata has the keys {own}; 'lightning_onnx.' is reserved for this package. Rename them."
        )


def _check_engine_options(options: Mapping[str, object], engine: str, opset: int) -> None:
    if not order(engine, opset, options):
        raise ConfigurationError(
            f"export_options has {sorted(options)}, but no engine allowed by engine={engine!r} and opset {opset} takes "
            f"all of them; {', '.join(f'only {e} takes {sorted(o)}' for e, o in TAKES.items())}. Leave some out."
        )


def _check_export_options(options: object) -> None:
    if options is None:
        return
    import inspect

    import torch

    known = set(inspect.signature(torch.onnx.export).parameters) - _RESERVED
    if not isinstance(options, Mapping) or not set(options) <= known:
        unknown = sorted(set(options) - known) if isinstance(options, Mapping) else options
        raise ConfigurationError(
            f"export_options has {unknown!r}, which torch.onnx.export does not take or this package sets itself. "
            f"Choose from {', '.join(sorted(known))}."
        )
