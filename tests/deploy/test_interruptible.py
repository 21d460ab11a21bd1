"""An upload to the Hub ends soon after Ctrl-C, and later ones work."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time

import pytest

from lightning_onnx import ONNXArtifact
from lightning_onnx.deploy.hub import Hub, make_writable, push
from lightning_onnx.deploy.interruptible import interruptible
from tests.deploy.hub_server import Hub as Server

NAME = "user/net"


def test_what_it_returns_or_raises_is_that_of_the_upload() -> None:
    def fails() -> None:
        raise ConnectionError("no server")

    assert interruptible(lambda: 3) == 3
    with pytest.raises(ConnectionError, match="no server"):
        interruptible(fails)


@pytest.mark.slow
def test_an_interrupt_ends_an_upload_within_seconds(exported: ONNXArtifact, hub: Server) -> None:
    make_writable(Hub(NAME))
    place = f"/storage/{hashlib.sha256(exported.model_path.read_bytes()).hexdigest()}"
    hub.failing = (place,)

    def interrupt() -> None:
        while f"PUT {place}" not in hub.requests:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    sending = threading.Thread(target=interrupt)
    sending.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        push(exported, Hub(NAME))
    assert time.monotonic() - started < 15  # tries and pauses take more than 23 seconds
    sending.join()
    assert hub.repositories[NAME].commits == []
    hub.failing = ()
    push(exported, Hub(NAME))
    assert len(hub.repositories[NAME].commits) == 1
