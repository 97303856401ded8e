"""What metaest asks of torch: seeds that threads do not share, devices."""

import threading

import numpy as np
import pytest
import torch

from metaest._torch import as_float_tensor, local_seed, resolve_device, usual_torch
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
