"""RandomWarp: random, but a function of its generator; and harmless where it should be."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from metaest.augment import RandomWarp
from metaest.episodes import EpisodeSampler
from metaest.exceptions import InvalidParameterError
from metaest.tasks import TaskSet

OFF = dict.fromkeys(
    ("rotation", "shear", "scale", "stretch", "translation", "elastic", "thickness"), 0.0
)
STRENGTHS = {
    "rotation": 20.0,
    "shear": 0.3,
    "scale": 0.3,
    "stretch": 0.3,
    "translation": 0.2,
    "elastic": 0.1,
    "thickness": 1.0,
}


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _letters(n: int = 4, channels: int = 1, size: int = 28) -> Tensor:
    """Draw the letter L on paper of 0."""
    x = torch.zeros(n, channels, size, size)
    x[:, :, 6:22, 8:11] = 1.0
    x[:, :, 19:22, 8:20] = 1.0
    return x


def _centre(x: Tensor) -> Tensor:
    """Centre of mass of each image, in half image sizes: (n, 2) of x and y."""
    size = x.shape[-1]
    axis = (2 * torch.arange(size) + 1) / size - 1
    mass = x.sum((1, 2, 3))
    across, down = (x.sum((1, 2)) * axis).sum(-1), (x.sum((1, 3)) * axis).sum(-1)
    return torch.stack([across, down], -1) / mass.unsqueeze(-1)


def test_is_a_function_of_the_generator() -> None:
    warp = RandomWarp()
    first = warp(_letters(), _generator(1))
    assert torch.equal(first, warp(_letters(), _generator(1)))
    assert not torch.equal(first, warp(_letters(), _generator(2)))


def test_global_random_state_plays_no_part() -> None:
    before = torch.get_rng_state()
    RandomWarp()(_letters(), _generator())
    assert torch.equal(torch.get_rng_state(), before)


def test_zero_strength_changes_nothing_and_copies() -> None:
    x = _letters()
    out = RandomWarp(**OFF)(x, _generator())
    assert torch.equal(out, x)
    out.zero_()
    assert x.sum() > 0


@pytest.mark.parametrize("name", STRENGTHS)
def test_each_strength_alone_changes_images(name: str) -> None:
    x = _letters()
    out = RandomWarp(**{**OFF, name: STRENGTHS[name]})(x, _generator())
    assert (out - x).abs().amax((1, 2, 3)).min() > 0.1
    different = (out[:, None] - out[None]).abs().amax((2, 3, 4))
    assert different[~torch.eye(len(x), dtype=torch.bool)].min() > 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 1, 28, 28), (2, 3, 20, 33), (1, 1, 7, 7), (0, 1, 28, 28)])
def test_keeps_shape_and_dtype(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.rand(shape, generator=_generator(), dtype=dtype)
    out = RandomWarp()(x, _generator())
    assert out.shape == x.shape
    assert out.dtype == dtype


@pytest.mark.parametrize("enlarge", [1, 2, 3])
def test_keeps_the_range(enlarge: int) -> None:
    x = (torch.rand(32, 1, 28, 28, generator=_generator()) > 0.5).float()
    out = RandomWarp(**STRENGTHS, enlarge=enlarge)(x, _generator())
    assert out.min() >= 0
    assert out.max() <= 1


def test_does_not_change_its_input() -> None:
    x = _letters()
    before = x.clone()
    RandomWarp()(x, _generator())
    assert torch.equal(x, before)


def test_weak_warp_is_nearly_the_image() -> None:
    x = _letters()
    weak = {name: value * 1e-4 for name, value in STRENGTHS.items() if name != "thickness"}
    out = RandomWarp(**weak, thickness=0.0, enlarge=1)(x, _generator())
    torch.testing.assert_close(out, x, atol=0.01, rtol=0)


def test_translation_shifts_by_no_more_than_asked() -> None:
    x = _letters(64)
    out = RandomWarp(**{**OFF, "translation": 0.15})(x, _generator())
    shift = (_centre(out) - _centre(x)).abs()
    assert shift.max() < 0.16
    assert shift.max() > 0.1


def test_rotation_agrees_with_the_angle() -> None:
    """A point to the right of the centre turns by the angle that the generator drew."""
    x = torch.zeros(16, 1, 41, 41)
    x[:, :, 19:22, 34:37] = 1.0
    out = RandomWarp(**{**OFF, "rotation": 30.0})(x, _generator(3))
    found = torch.atan2(*_centre(out).flip(-1).unbind(-1)).rad2deg()
    drawn = (2 * torch.rand(16, generator=_generator(3)) - 1) * 30.0
    torch.testing.assert_close(found, -drawn, atol=0.5, rtol=0)


def test_thickness_makes_strokes_thicker_and_thinner() -> None:
    x = _letters(64)
    out = RandomWarp(**{**OFF, "thickness": 1.0})(x, _generator())
    ink = out.sum((1, 2, 3)) / x.sum((1, 2, 3))
    assert ink.min() < 0.9
    assert ink.max() > 1.1
    assert out[..., :4, :].abs().max() < 1e-5  # paper


def test_channels_change_alike() -> None:
    out = RandomWarp()(_letters(channels=3), _generator())
    torch.testing.assert_close(out[:, 0], out[:, 1], atol=1e-6, rtol=0)
    torch.testing.assert_close(out[:, 0], out[:, 2], atol=1e-6, rtol=0)


@pytest.mark.parametrize("x", [torch.zeros(3, 4), torch.zeros(2, 1, 8, 8, dtype=torch.uint8)])
def test_refuses_what_are_no_images(x: Tensor) -> None:
    with pytest.raises(InvalidParameterError, match="floating-point images"):
        RandomWarp()(x, _generator())


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"rotation": -1.0}, "must be 0 or more"),
        ({"thickness": 1.5}, "between 0 and 1"),
        ({"elastic_grid": 1}, "elastic_grid must be 2 or more"),
        ({"enlarge": 0}, "enlarge 1 or more"),
    ],
)
def test_refuses_bad_settings(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(InvalidParameterError, match=match):
        RandomWarp(**settings)


def test_serves_a_task_set() -> None:
    images = np.repeat(_letters(1).numpy(), 12, axis=0)
    tasks = TaskSet.from_pool(images, np.repeat(["a", "b", "c"], 4), augment=RandomWarp())
    batch = EpisodeSampler(tasks, n_ways=2, n_shots=1, n_queries=2).batch([0])
    assert batch.query_x.shape == (1, 4, 1, 28, 28)
    assert not torch.equal(batch.query_x[0, 0], batch.query_x[0, 1])


def test_an_image_does_not_depend_on_those_beside_it() -> None:
    x = _letters()
    settings = {**STRENGTHS, "thickness": 0.0}
    alone = RandomWarp(**settings)(x, _generator())
    brighter = RandomWarp(**settings)(torch.cat([x[:3], 5 * x[3:]]), _generator())
    torch.testing.assert_close(brighter[:3], alone[:3], atol=0, rtol=0)
