"""A Lightning that runs code in checkpoints is refused with the reason."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from lightning_onnx.errors import ConfigurationError
from lightning_onnx.pipeline import lightning_versions


def test_the_installed_ones_are_accepted() -> None:
    lightning_versions.check_versions()


@pytest.mark.parametrize("version", ["2.6.5", "2.6.2", "2.5.0.post0", "1.9.5", "2.6.6.dev0"])
@pytest.mark.parametrize("package", ["pytorch-lightning", "lightning"])
def test_older_ones(package: str, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(package.replace("-", "_"))
    module.__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    reason = rf"{package} {version} .*CVE-2026-58659.*pip install '{package}>=2\.6\.6'"
    with pytest.raises(ConfigurationError, match=reason):
        lightning_versions.check_versions()
