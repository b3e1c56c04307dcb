"""FramePack Resolution: upstream's sizes, and what of a picture survives the change of size."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from framepack_transitions.nodes.video.resolution import FramePackResolution
from framepack_transitions.video.resolution import nearest_bucket
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

# What upstream's find_nearest_bucket answered: (height, width) of the image and of the bucket.
RECORDED = [
    ((640, 640), (640, 608)),
    ((64, 64), (640, 608)),
    ((1080, 1920), (480, 832)),
    ((1920, 1080), (832, 480)),
    ((512, 768), (512, 768)),
    ((416, 960), (416, 960)),
    ((3000, 4000), (544, 704)),
    ((853, 480), (832, 480)),
    ((600, 1000), (480, 832)),
    ((1333, 1000), (704, 544)),
    ((1000, 1100), (608, 640)),
    ((1, 10000), (416, 960)),
    ((10000, 1), (960, 416)),
]
# Upstream's table of heights and widths.
TABLE = dict(
    zip(
        (416, 448, 480, 512, 544, 576, 608, 640, 672, 704, 768, 832, 864, 960),
        (960, 864, 832, 768, 704, 672, 640, 608, 576, 544, 512, 480, 448, 416),
    )
)
sides = st.integers(1, 8192)
resolutions = st.integers(15, 60).map(lambda steps: 16 * steps)


@pytest.mark.parametrize(("image", "bucket"), RECORDED)
def test_buckets_are_those_that_upstream_chooses(image, bucket):
    assert nearest_bucket(*image) == bucket


@given(sides, sides)
def test_no_bucket_of_the_table_is_nearer(height, width):
    # |h*W - w*H| is the distance of the shapes, measured at the image's own scale.
    chosen = nearest_bucket(height, width)
    distances = {
        shape: abs(Fraction(height) * shape[1] - Fraction(width) * shape[0]) for shape in TABLE.items()
    }
    assert distances[chosen] == min(distances.values())
    assert chosen == max(shape for shape, distance in distances.items() if distance == distances[chosen])


@given(sides, sides, resolutions)
def test_sides_are_multiples_of_16_near_the_scaled_bucket(height, width, resolution):
    base, scaled = nearest_bucket(height, width), nearest_bucket(height, width, resolution)
    for side, scaled_side in zip(base, scaled):
        assert scaled_side % 16 == 0 and scaled_side > 0
        assert abs(scaled_side - side * resolution / 640) <= 8


@given(sides, sides, resolutions)
def test_turning_an_image_turns_its_bucket(height, width, resolution):
    assume(abs(height - width) > 1)  # upstream makes squares upright
    assert nearest_bucket(width, height, resolution) == nearest_bucket(height, width, resolution)[::-1]


def picture(height: int, width: int) -> np.ndarray:
    """Smooth waves with an edge, uint8."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [127 + 90 * np.sin(x / 9), 127 + 90 * np.cos(y / 7), 127 + 60 * np.sin((x + 2 * y) / 11)]
    waves[0][y > height // 2] *= 0.5
    return np.stack(waves, axis=-1).astype(np.uint8)


def as_image(*pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures).astype(np.float32) / 255)


def resize(image: torch.Tensor, method: str, resolution: int = 240, pad_color: str = "black"):
    return FramePackResolution().resize(image, resolution, method, pad_color)


@pytest.mark.parametrize("size", [(180, 320), (320, 180), (101, 333), (333, 101), (500, 501), (77, 40)])
def test_cropping_is_pillows_resize_and_centre_crop(size):
    source = picture(*size)
    image, width, height = resize(as_image(source), "crop")
    scale = max(height / size[0], width / size[1])
    tall, wide = round(size[0] * scale), round(size[1] * scale)
    whole = Image.fromarray(source).resize((wide, tall), Image.Resampling.LANCZOS)
    left, top = (wide - width) / 2, (tall - height) / 2
    cut = np.asarray(whole.crop((left, top, left + width, top + height)), dtype=np.float32)
    assert image.shape == (1, height, width, 3)
    # Pillow rounds to bytes after each direction, and cuts off what Lanczos overshoots in between.
    difference = np.abs(image[0].numpy() * 255 - cut)
    assert difference.max() <= 3 and difference.mean() < 0.4


@pytest.mark.parametrize(("size", "bars"), [((180, 400), "rows"), ((400, 180), "columns")])
def test_padding_keeps_the_whole_picture_between_even_bars(size, bars):
    source = np.full((*size, 3), 255, dtype=np.uint8)
    image, width, height = resize(as_image(source), "pad", resolution=640, pad_color="#204060")
    scale = min(height / size[0], width / size[1])
    tall, wide = round(size[0] * scale), round(size[1] * scale)
    bar = torch.isclose(image[0], torch.tensor([32, 64, 96]) / 255).all(dim=-1)
    white = (image[0] > 0.99).all(dim=-1)
    assert torch.all(bar | white) and int(white.sum()) == tall * wide
    lines = white.any(dim=1 if bars == "rows" else 0).nonzero()
    length, inner = (height, tall) if bars == "rows" else (width, wide)
    assert int(lines[0]) == (length - inner) // 2 and int(lines[-1] - lines[0]) == inner - 1


def test_a_padded_picture_is_pillows_at_the_same_place():
    source = picture(150, 320)
    image, width, height = resize(as_image(source), "pad")
    scale = min(height / 150, width / 320)
    tall, wide = round(150 * scale), round(320 * scale)
    expected = np.asarray(
        Image.fromarray(source).resize((wide, tall), Image.Resampling.LANCZOS), dtype=np.float32
    )
    top, left = (height - tall) // 2, (width - wide) // 2
    found = image[0, top : top + tall, left : left + wide].numpy() * 255
    assert np.abs(found - expected).max() <= 3


def test_a_picture_of_the_right_size_is_left_alone():
    image = torch.rand(2, 640, 608, 3)
    resized, width, height = resize(image, "crop", resolution=640)
    assert torch.equal(resized, image) and (width, height) == (608, 640)


def test_pictures_of_a_batch_do_not_mix():
    first, second = picture(90, 120), picture(90, 120)[::-1]
    both = resize(as_image(first, second), "crop")[0]
    assert torch.equal(both[0], resize(as_image(first), "crop")[0][0])
    assert torch.equal(both[1], resize(as_image(second), "crop")[0][0])


def test_values_stay_between_black_and_white():
    edge = np.zeros((64, 64, 3), dtype=np.uint8)
    edge[:, 32:] = 255
    image = resize(as_image(edge), "crop")[0]
    assert image.min() == 0 and image.max() == 1


def test_an_extreme_shape_takes_no_more_memory_than_its_result(monkeypatch):
    made = []
    plain = Image.Image.resize
    monkeypatch.setattr(
        Image.Image,
        "resize",
        lambda plane, size, *args, **kwargs: made.append(size) or plain(plane, size, *args, **kwargs),
    )
    image, width, height = resize(torch.rand(1, 1, 6000, 3), "crop")
    assert set(made) == {(width, height)}
    assert image.shape == (1, height, width, 3)
    assert torch.equal(image, image[:, :1].expand_as(image)), "one row of pixels fills the height"


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (None, "NoneType"),
        (torch.zeros(0, 64, 64, 3), "at least one image"),
        (torch.zeros(64, 64, 3), r"\(64, 64, 3\)"),
        (torch.zeros(1, 64, 64, 4), "4 channels.*Split Image with Alpha"),
        (torch.zeros(1, 64, 64, 1), "1 channels"),
    ],
)
def test_what_is_no_rgb_image_is_refused(image, words):
    with pytest.raises(ValueError, match=words):
        resize(image, "crop")


def test_an_unknown_colour_is_named():
    with pytest.raises(ValueError, match="pad_color is 'blackish'"):
        resize(torch.zeros(1, 64, 200, 3), "pad", pad_color="blackish")
