"""What metaest asks of torch: seeds that threads do not share, devices."""

import threading

import numpy as np
import pytest
import torch

from metaest._torch import (
    as_float_tensor,
    local_seed,
    one_intra_op_thread,
    resolve_device,
    usable_threads,
    usual_torch,
)
from metaest.exceptions import DeviceError


def test_local_seed_is_local_to_its_block_in_every_thread() -> None:
    with local_seed(0):
        expected = torch.rand(3)
    before = torch.get_rng_state()
    inside, first_draws, done = threading.Event(), [], []

    def draw_while_another_wants_to() -> None:
        with local_seed(0):
            inside.set()
            other.join(timeout=0.2)  # it waits for this block, so it does not end
            first_draws.append(torch.rand(3))

    def want_to() -> None:
        inside.wait()
        with local_seed(1):
            done.append(torch.rand(3))

    other = threading.Thread(target=want_to)
    one = threading.Thread(target=draw_while_another_wants_to)
    other.start()
    one.start()
    one.join()
    other.join()
    assert torch.equal(first_draws[0], expected)
    assert len(done) == 1
    assert torch.equal(torch.get_rng_state(), before)


def test_usual_torch_is_left_as_it_was_found_when_the_last_thread_ends() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        inside, other = usual_torch(), usual_torch()
        with torch.inference_mode():
            inside.__enter__()
            assert not torch.is_inference_mode_enabled()
            thread = threading.Thread(target=other.__enter__)
            thread.start()
            thread.join()
            inside.__exit__(None, None, None)
            assert torch.is_inference_mode_enabled()
            assert torch.get_default_dtype() == torch.float32  # the other block is still open
        other.__exit__(None, None, None)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("device", ["gpu", "meta", "cuda:999"])
def test_devices_that_cannot_be(device: str) -> None:
    with pytest.raises(DeviceError, match=rf"device='{device}' cannot .*Pass device=\"auto\"") as e:
        resolve_device(device)
    assert len(str(e.value)) < 400


def test_float_tensors_from_any_number() -> None:
    for kind in (">f8", "<f4", "u2", "?", np.longdouble):
        assert torch.equal(as_float_tensor(np.array([0, 1]).astype(kind)), torch.tensor([0.0, 1.0]))


def test_autocast_of_the_caller_stays_outside() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with usual_torch():
            assert not torch.is_autocast_enabled("cpu")
        assert torch.is_autocast_enabled("cpu")


def test_each_thread_gets_its_number_of_threads_back() -> None:
    before, found = torch.get_num_threads(), {}
    torch.set_num_threads(2)
    first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))

    def second() -> None:
        first_is_in.wait()
        with one_intra_op_thread():
            found["inside"] = torch.get_num_threads(), usable_threads()
            second_is_in.set()
            first_is_out.wait()
        found["after"] = torch.get_num_threads()

    thread = threading.Thread(target=second)
    thread.start()
    try:
        with one_intra_op_thread(), one_intra_op_thread():
            first_is_in.set()
            second_is_in.wait()
            assert (torch.get_num_threads(), usable_threads()) == (1, 2)
        assert torch.get_num_threads() == 2
        first_is_out.set()
        thread.join()
        assert torch.get_num_threads() == 2
        assert found == {"inside": (1, 2), "after": 2}
    finally:
        torch.set_num_threads(before)
