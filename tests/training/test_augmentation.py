"""Augmentation against scalar references; every draw is repeatable."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nas_engine.errors import InputError
from nas_engine.training.augmentation import Augmentation, centre_crop, mixup


def ramps(n: int, height: int, width: int) -> Tensor:
    """Images whose channels are row, column and 0: no value is that of the padding, and every
    window is recognisable.
    """
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0], image[..., 1] = np.mgrid[:height, :width]
    return torch.tensor(image).expand(n, -1, -1, -1)


def windows(image: Tensor, padding: int, resolution: int) -> dict[bytes, tuple[int, int, bool]]:
    """Every window of a padded image, plain and mirrored, by its bytes."""
    height, width, _ = image.shape
    found = {}
    for top in range(height + 2 * padding - resolution + 1):
        for left in range(width + 2 * padding - resolution + 1):
            window = np.full((resolution, resolution, 3), 128, np.uint8)
            for y in range(resolution):
                for x in range(resolution):
                    row, column = top + y - padding, left + x - padding
                    if 0 <= row < height and 0 <= column < width:
                        window[y, x] = image[row, column]
            found[window.tobytes()] = (top, left, False)
            found[window[:, ::-1].tobytes()] = (top, left, True)
    return found


@pytest.mark.parametrize(
    ("height", "width", "padding", "resolution"),
    [(6, 6, 2, 6), (9, 7, 0, 6), (7, 8, 1, 5), (4, 4, 1, 6), (6, 6, 0, 6)],
)
def test_a_crop_is_any_window_of_the_padded_image(
    height: int, width: int, padding: int, resolution: int
) -> None:
    images = ramps(1000, height, width)
    expected = windows(images[0], padding, resolution)
    batch = Augmentation(kind="crop", padding=padding).batch(
        images, np.random.default_rng(1), resolution
    )
    assert batch.shape == (1000, resolution, resolution, 3)
    assert batch.dtype == torch.uint8
    drawn = [expected[window.numpy().tobytes()] for window in batch]
    assert set(drawn) == set(expected.values())
    assert 450 < sum(flipped for _, _, flipped in drawn) < 550


def test_a_crop_without_flip_is_never_mirrored() -> None:
    images = ramps(200, 6, 6)
    expected = windows(images[0], 1, 6)
    batch = Augmentation(kind="crop", padding=1, flip=False).batch(
        images, np.random.default_rng(0), 6
    )
    assert not any(expected[window.numpy().tobytes()][2] for window in batch)


@pytest.mark.parametrize("kind", ["none", "crop", "resized-crop"])
def test_the_same_generator_gives_the_same_batch_and_leaves_the_images_alone(kind: Any) -> None:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (8, 12, 12, 1), dtype=torch.uint8)
    before = images.clone()
    augmentation = Augmentation(kind=kind)
    first, again, other = (
        augmentation.batch(images, np.random.default_rng((3, epoch)), 10) for epoch in (5, 5, 6)
    )
    assert first.shape == (8, 10, 10, 1)
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (kind == "none")
    assert torch.equal(images, before)


def test_none_is_the_centre() -> None:
    images = ramps(2, 9, 6)
    assert torch.equal(
        Augmentation(kind="none").batch(images, np.random.default_rng(0), 4), images[:, 2:6, 1:5]
    )
    assert torch.equal(centre_crop(images, 6), images[:, 1:7])


@pytest.mark.parametrize(("height", "width"), [(120, 120), (120, 90), (60, 120)])
def test_a_resized_crop_keeps_area_and_aspect_within_their_ranges(height: int, width: int) -> None:
    smallest, resolution = 0.3, 61
    scale = 255 / 120
    images = (ramps(400, height, width).to(torch.float32) * scale).round().to(torch.uint8)
    augmentation = Augmentation(kind="resized-crop", smallest_area=smallest)
    batch = (
        augmentation.batch(images, np.random.default_rng(2), resolution).numpy().astype(float)
        / scale
    )
    # a ramp stays a ramp; inner pixels, as the outermost may repeat the border
    down = (batch[:, -2, 30, 0] - batch[:, 1, 30, 0]) * resolution / (resolution - 3)
    across = (batch[:, 30, -2, 1] - batch[:, 30, 1, 1]) * resolution / (resolution - 3)
    assert 160 < (across < 0).sum() < 240
    across = np.abs(across)
    assert 0 < down.min() < down.max() < height + 1
    assert across.max() < width + 1
    area = across * down / (height * width)
    assert smallest - 0.02 < area.min() < smallest + 0.05
    assert 0.95 < area.max() < 1.02
    if height == width:
        assert 0.73 < (across / down).min() < 0.8
        assert 1.25 < (across / down).max() < 1.36


def test_a_resized_crop_of_everything_changes_nothing() -> None:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (4, 16, 16, 3), dtype=torch.uint8)
    augmentation = Augmentation(kind="resized-crop", smallest_area=1, flip=False)
    assert torch.equal(augmentation.batch(images, np.random.default_rng(0), 16), images)
    mirrored = Augmentation(kind="resized-crop", smallest_area=1).batch(
        images, np.random.default_rng(0), 16
    )
    for image, result in zip(images, mirrored, strict=True):
        assert torch.equal(result, image) or torch.equal(result, image.flip(1))


@pytest.mark.parametrize(("kind", "size"), [("none", 31), ("crop", 23)])
def test_images_that_are_too_small(kind: Any, size: int) -> None:
    images = ramps(1, size, 40)
    with pytest.raises(
        InputError,
        match=(
            rf"^images are {'31x40' if kind == 'none' else '31x48'} pixels.*; expected at least "
            r"32x32[^\n]*$"
        ),
    ):
        Augmentation(kind=kind).batch(images, np.random.default_rng(0), 32)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "crops"}, "unknown value for kind: 'crops'; did you mean 'crop'"),
        ({"padding": -1}, "padding: is -1; expected a whole number from 0 to 128"),
        ({"padding": 2.0}, "padding: is 2.0"),
        ({"padding": True}, "padding: is True"),
        ({"flip": 1}, "flip: is 1; expected true or false"),
        ({"smallest_area": 0}, "smallest_area: is 0; expected a number above 0, up to 1"),
        ({"smallest_area": float("nan")}, "smallest_area: is nan"),
        ({"smallest_area": "half"}, "smallest_area: is 'half'"),
    ],
)
def test_refused_values(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Augmentation(**({"kind": "crop"} | values))
    assert str(caught.value).startswith(message)


def test_mixup() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 3, 4, 4)
    mixed, permutation, lam = mixup(x, np.random.default_rng(4), 0.4)
    assert 0 < lam < 1
    assert sorted(permutation.tolist()) == list(range(6))
    for i in range(6):
        torch.testing.assert_close(mixed[i], lam * x[i] + (1 - lam) * x[permutation[i]])
    again = mixup(x, np.random.default_rng(4), 0.4)
    assert torch.equal(again[0], mixed)
    assert again[2] == lam
