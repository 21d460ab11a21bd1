"""A runtime that crashes, hangs or raises fails a check and nothing else."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from lightning_onnx import ONNXArtifact, export
from lightning_onnx.errors import WorkerEnded, WorkerError
from lightning_onnx.runtimes import base
from lightning_onnx.runtimes.worker import client
from lightning_onnx.runtimes.worker.process import Answer


@pytest.fixture(scope="module")
def linear(tmp_path_factory) -> ONNXArtifact:
    return export(torch.nn.Linear(4, 2), torch.zeros(3, 4), directory=tmp_path_factory.mktemp("linear") / "a")


def test_runs_a_file_as_onnxruntime_does(linear):
    runtime = client.hosted("onnxruntime")
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    (want,) = onnxruntime.InferenceSession(linear.model_path).run(None, {"input": x})
    np.testing.assert_array_equal(runtime.load(linear.model_path).run({"input": x})["output"], want)
    assert runtime.version() == onnxruntime.__version__


def test_process_has_neither_torch_nor_lightning(linear):
    runtime = client.hosted("onnxruntime", own_process=True)
    runtime.load(linear.model_path)
    for heavy in ("torch", "lightning"):
        assert runtime.call_function("builtins:eval", f"'{heavy}' in __import__('sys').modules") is False


def test_sessions_are_forgotten(linear):
    runtime = client.hosted("onnxruntime")
    session = runtime.load(linear.model_path)
    count = "len(__import__('lightning_onnx.runtimes.worker.server').runtimes.worker.server._sessions)"
    before = client._worker.call("builtins:eval", count)
    del session
    assert client._worker.call("builtins:eval", count) == before - 1


def test_files_of_the_user_are_not_imported(tmp_path, linear):
    (tmp_path / "onnxruntime.py").write_text("raise RuntimeError('not this one')")
    code = "from lightning_onnx.runtimes.worker import client; print(client.hosted('onnxruntime').version())"
    env = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == onnxruntime.__version__


@pytest.mark.slow
def test_a_session_is_loaded_again_where_another_call_ended_the_process(linear):
    session = client.hosted("onnxruntime").load(linear.model_path)
    with pytest.raises(WorkerError, match="died by SIGKILL"):
        client._worker.call("signal:raise_signal", int(signal.SIGKILL))
    assert session.run({"input": np.zeros((1, 4), np.float32)})["output"].shape == (1, 2)


@pytest.mark.slow
def test_a_session_that_ended_the_process_is_not_loaded_again(linear):
    session = client.hosted("onnxruntime").load(linear.model_path)
    os.killpg(client._worker.call("os:getpid"), signal.SIGSTOP)
    with pytest.raises(WorkerEnded, match="no answer within"):
        client.hosted("onnxruntime", time_limit=0.3).call("describe", session._number, generation=session._generation)
    assert session.describe().device == "CPU"
    session._runtime._time_limit = 0.3
    os.killpg(client._worker.call("os:getpid"), signal.SIGSTOP)
    for message in ("no answer within", "an earlier call of this session"):
        with pytest.raises(WorkerEnded, match=message):
            session.describe()


@pytest.mark.slow
def test_what_the_program_was_given_when_it_ended_is_told(linear):
    for begins in (True, False):
        session = client.hosted("onnxruntime", ahead=begins).load(linear.model_path)
        session._runtime._time_limit = 0.3
        os.killpg(client._worker.call("os:getpid"), signal.SIGSTOP)
        with pytest.raises(WorkerEnded, match=r"no answer within .* \(inputs: input float32\[3, 4\]\)"):
            session.run({"input": np.zeros((3, 4), np.float32)})
    client.hosted("onnxruntime").version()  # the next test has a process again


class Replaced(client.HostedRuntime):
    """Another thread's call ends the worker, and a third one starts it again, as soon as a file is loaded."""

    def load_as(self, number: int, model_path: Path) -> Answer:
        loaded = super().load_as(number, model_path)
        if loaded.generation == 1:
            self.worker.stop()
            self.worker.call("os:getpid")
        return loaded


@pytest.mark.slow
def test_a_session_knows_its_process_where_another_thread_replaces_it(linear):
    runtime = Replaced("onnxruntime", base.RUNTIMES["onnxruntime"], own_process=True)
    session = runtime.load(linear.model_path)
    assert session.run({"input": np.zeros((1, 4), np.float32)})["output"].shape == (1, 2)
    runtime.close()


def test_a_file_is_loaded_and_run_while_the_caller_goes_on(linear):
    runtime = client.hosted("onnxruntime")
    x = np.ones((2, 4), np.float32)
    waits = runtime.begin_load(linear.model_path)
    session = waits()
    outputs = session.begin({"input": x})
    np.testing.assert_array_equal(outputs()["output"], session.run({"input": x})["output"])
    assert session.load_seconds > 0
    with pytest.raises(WorkerError, match="No such file"):
        runtime.begin_load(linear.model_path.with_name("none.onnx"))()


def test_a_run_that_was_begun_is_repeated_where_another_call_ended_the_process(linear):
    session = client.hosted("onnxruntime").load(linear.model_path)
    outputs = session.begin({"input": np.zeros((1, 4), np.float32)})
    client._worker.stop()
    assert outputs()["output"].shape == (1, 2)


def test_a_run_that_ends_the_process_is_not_repeated(linear):
    runtime = client.hosted("onnxruntime", time_limit=0.3)
    session = runtime.load(linear.model_path)
    os.killpg(client._worker.call("os:getpid"), signal.SIGSTOP)
    outputs = session.begin({"input": np.zeros((1, 4), np.float32)})
    for message in ("no answer within", "an earlier call of this session"):
        with pytest.raises(WorkerEnded, match=message):
            outputs()
        outputs = session.begin({"input": np.zeros((1, 4), np.float32)})
