"""Metrics that options name, compared with those that the validation loop logs as soon as it has run once."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lightning.pytorch import Trainer

from lightning_onnx.checks.metrics import MetricParity
from lightning_onnx.errors import did_you_mean
from lightning_onnx.notices import warn
from lightning_onnx.pipeline.config import ExportConfig


class NamedMetrics:
    """The metrics that the options of one fit name.

    Args:
        config: The options; None for no metrics.
    """

    def __init__(self, config: ExportConfig | None = None) -> None:
        self._named = [] if config is None else list(_named(config))

    def validated(self, trainer: Trainer) -> None:
        """Warn of those that were not logged, once; in the sanity check, modules may leave out logging."""
        logged = [str(name) for name in trainer.callback_metrics]
        if not logged and trainer.sanity_checking:
            return
        if trainer.is_global_zero:
            for problem in problems(self._named, logged):
                warn(f"ONNX export: {problem}")
        self._named = []


def problems(named: Collection[tuple[str, str]], logged: Collection[str]) -> list[str]:
    """Return a sentence for each metric that is named but not logged.

    Args:
        named: Options as a user writes them, with the metric that each names.
        logged: The logged metrics.

    Example:
        >>> problems([("Int8(metric='val_mea')", "val_mea")], ["val_loss", "val_mae"])
        ["Int8(metric='val_mea') names a metric that the validation loop did not log: did you mean 'val_mae'?"]
    """
    found = []
    for option, name in named:
        if name not in logged:
            nearest = did_you_mean(name, logged)
            choices = "" if nearest.endswith("?") else f" It logged {', '.join(logged) or 'nothing'}."
            found.append(f"{option} names a metric that the validation loop did not log{nearest}{choices}")
    return found


def _named(config: ExportConfig) -> Iterator[tuple[str, str]]:
    for check in config.checks:
        if isinstance(check, MetricParity):
            for name in check.tolerances or ():
                yield f"MetricParity(tolerances={{{name!r}: ...}})", name
    for variant in config.variants:
        if variant.metric is not None:
            yield f"{type(variant).__name__}(metric={variant.metric!r})", variant.metric
