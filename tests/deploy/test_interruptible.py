"""An upload to the Hub ends soon after Ctrl-C, and later ones work."""

from __future__ import annotations

import hashlib
import signal
import threading
import time
from collections.abc import Iterator

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


@pytest.fixture
def sigint() -> Iterator[None]:
    """Ctrl-C is a KeyboardInterrupt, also after a tracker has replaced the handler in this process."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_an_interrupt_ends_an_upload_within_seconds(exported: ONNXArtifact, hub: Server, sigint: None) -> None:
    make_writable(Hub(NAME))
    place = f"/storage/{hashlib.sha256(exported.model_path.read_bytes()).hexdigest()}"
    hub.failing = (place,)

    def interrupt() -> None:
        while f"PUT {place}" not in hub.requests:
            time.sleep(0.02)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)  # the main thread is not woken

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
