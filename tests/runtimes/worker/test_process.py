"""A worker process that crashes, hangs or raises ends one call and nothing else."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from lightning_onnx.errors import WorkerEnded, WorkerError, WorkerReplaced
from lightning_onnx.runtimes.worker.process import Worker
from lightning_onnx.runtimes.worker.waiting import Wait, interruptible
from tests.processes import assert_ends


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.stop()


def test_exceptions_of_the_function_are_returned(worker):
    with pytest.raises(WorkerError, match=r"ValueError: invalid literal .* 'x'"):
        worker.call("builtins:int", "x")
    assert worker.call("builtins:int", "3") == 3


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_crash_is_reported_and_the_next_call_works(worker, number):
    with pytest.raises(WorkerError, match=rf"died by {number.name}"):
        worker.call("signal:raise_signal", int(number))
    assert worker.call("builtins:abs", -1) == 1


def test_exit_is_reported(worker):
    with pytest.raises(WorkerError, match="died with exit code 3"):
        worker.call("os:_exit", 3)


@pytest.mark.slow
def test_hang_ends_at_the_limit(worker):
    with pytest.raises(WorkerError, match=r"no answer within 0\.5 s"):
        worker.ask("time:sleep", 60, time_limit=0.5)
    assert worker.call("builtins:abs", -1) == 1


def test_process_ends_with_its_parent():
    code = (
        "import os; from lightning_onnx.runtimes.worker.client import _worker; "
        "print(_worker.call('os:getpid'), flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert_ends(int(done.stdout))


@pytest.mark.slow
def test_calls_after_interrupts_get_their_own_answers(worker):
    """An interrupt at any moment loses one call: its answer is never taken for that of the next."""

    def ask_for_ever() -> None:
        while True:
            worker.call("builtins:abs", -100)

    chosen = random.Random(0)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for number in range(10):
            worker.call("builtins:abs", 0)  # started
            signal.setitimer(signal.ITIMER_REAL, chosen.uniform(0.001, 0.02))
            with pytest.raises(KeyboardInterrupt):
                ask_for_ever()
            assert worker.call("builtins:abs", -number) == number
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_an_interrupted_poll_blocks_no_later_stop(worker):
    pid = worker.call("os:getpid")
    worker._process._waitpid_lock.acquire()  # where an interrupt comes between this and the ``try`` that releases it
    worker.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert worker.call("builtins:abs", -1) == 1


def test_an_answer_of_another_number_is_dropped(worker):
    assert worker.call("builtins:abs", -1) == 1
    worker._channel.send((-1, "builtins:abs", (-7,), ()))
    assert worker.call("builtins:abs", -2) == 2


def test_an_interrupted_call_ends_the_process(worker):
    pid = worker.call("os:getpid")
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            worker.call("time:sleep", 60)
    finally:
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.slow
def test_a_stopped_process_does_not_block_the_sender(worker):
    """It reads nothing: a request that is larger than the socket's buffer cannot be sent."""
    os.killpg(worker.call("os:getpid"), signal.SIGSTOP)
    with pytest.raises(WorkerEnded, match="no answer within"):
        worker.ask("builtins:len", bytes(50_000_000), time_limit=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [True, False])
def test_a_function_can_end_the_wait(worker, stopped):
    def interrupt(wait: Wait) -> None:
        raise SystemExit

    pid = worker.call("os:getpid")
    if stopped:
        os.killpg(pid, signal.SIGSTOP)
    with interruptible(interrupt), pytest.raises(SystemExit):
        worker.call("time:sleep", 60)
    assert worker.call("os:getpid") != pid


def test_large_values_arrive_whole(worker):
    value = np.random.default_rng(0).normal(size=1_000_000)
    np.testing.assert_array_equal(worker.call("numpy:negative", value), -value)


def test_an_answer_can_be_read_later(worker):
    posted = worker.post("builtins:abs", -1)
    assert worker.collect(posted).value == 1
    failing = worker.post("builtins:int", "x")
    with pytest.raises(WorkerError, match="ValueError"):
        worker.collect(failing)


def test_the_next_request_waits_for_an_answer_that_is_outstanding(worker):
    """Or else two large messages would meet, and each process would wait for the other to read."""
    value = np.zeros(1_000_000)
    posted = worker.post("numpy:negative", value)
    assert worker.call("builtins:abs", -2) == 2
    other = worker.post("numpy:negative", value)
    np.testing.assert_array_equal(worker.collect(posted).value, value)
    np.testing.assert_array_equal(worker.collect(other).value, value)


def test_a_crash_of_a_posted_request_is_told_to_the_one_who_posted_it(worker):
    posted = worker.post("signal:raise_signal", int(signal.SIGKILL))
    assert worker.call("builtins:abs", -1) == 1
    with pytest.raises(WorkerEnded, match="died by SIGKILL"):
        worker.collect(posted)


def test_an_answer_is_lost_with_its_process(worker):
    posted = worker.post("time:sleep", 60)
    worker.stop()
    with pytest.raises(WorkerReplaced):
        worker.collect(posted)


def test_a_posted_request_has_a_time_limit(worker):
    posted = worker.post("time:sleep", 60, time_limit=0.3)
    with pytest.raises(WorkerEnded, match=r"no answer within 0\.3 s"):
        worker.collect(posted)


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [True, False])
def test_a_long_answer_is_one_that_the_process_took_long_for(worker, ahead):
    """What the caller did before it asked for an answer is no reason to wait longer for the next one."""
    longest: list[float | None] = []

    def answered(seconds: float) -> None:
        if ahead:
            posted = worker.post("time:sleep", seconds)
            time.sleep(0.4 - seconds)
            worker.collect(posted)
        else:
            worker.call("time:sleep", seconds)
        longest.append(worker._longest_answer)

    worker.collect(worker.post("builtins:abs", -1))  # waits for the process to start
    worker._longest_answer = None
    answered(0.0)
    answered(0.3)
    assert longest[0] < 0.3 <= longest[1], longest


def test_a_process_is_started_ahead_once_and_what_it_did_is_dropped(worker):
    worker.start("builtins:int", "not a number")
    worker.start("os:_exit", 3)
    assert (worker.call("builtins:abs", -1), worker.generation) == (1, 1)


def test_closing_the_sessions_of_a_stopped_process_takes_no_time_of_its_own(worker):
    """They are closed with the next request, whose time limit is the only one."""
    os.killpg(worker.call("os:getpid"), signal.SIGSTOP)
    for number in range(3):
        worker.close_later(worker.generation, number)
    with pytest.raises(WorkerEnded, match=r"no answer within 0\.3 s"):
        worker.ask("builtins:abs", -1, time_limit=0.3)
