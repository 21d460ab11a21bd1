"""A server that stands in for the Hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.hub_server import Hub, serving


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The server, and huggingface_hub in this process and in those that it starts made to use it, as ``user``."""
    constants = pytest.importorskip("huggingface_hub.constants")
    with serving() as found:
        # Read when huggingface_hub is imported, and here it may be already.
        monkeypatch.setattr(constants, "ENDPOINT", found.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", found.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        settings = {"HF_ENDPOINT": found.url, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "hf_writes"}
        for name, value in {**settings, "HF_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1"}.items():
            monkeypatch.setenv(name, value)
        yield found
