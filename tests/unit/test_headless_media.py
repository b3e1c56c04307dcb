"""Pictures and videos survive the way to a file and back."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from framepack_transitions.headless.commands import contact_sheet
from framepack_transitions.headless.files import folders, media
from framepack_transitions.headless.files.folders import Folders
from framepack_transitions.headless.host import (
    ConditioningZeroOut,
    CreateVideo,
    GetVideoComponents,
    ImageFromBatch,
    LoadVideo,
    PreviewAny,
    PreviewImage,
    SaveImage,
    SaveVideo,
    VAEDecodeTiled,
)
from PIL import Image


def moving_square(frames: int = 10, height: int = 32, width: int = 48) -> torch.Tensor:
    video = torch.full((frames, height, width, 3), 0.2)
    for number in range(frames):
        video[number, 8:24, 2 * number : 2 * number + 16, 0] = 0.9
    return video


@pytest.mark.parametrize("fps", [30.0, 24, Fraction(30000, 1001), 12.5])
def test_a_video_keeps_its_frames_rate_and_size(tmp_path: Path, fps: float | Fraction) -> None:
    path, video = tmp_path / "a.mp4", moving_square()
    media.write_video(path, video, fps)
    assert media.probe_video(path) == media.VideoInfo(10, pytest.approx(float(fps), abs=1e-3), 48, 32)
    frames, rate = media.read_video(path)
    assert frames.shape == video.shape
    assert rate == pytest.approx(float(fps), abs=1e-3)
    assert (frames - video).abs().mean() < 0.02


def test_videos_are_h264_with_the_workflow_inside(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    media.write_video(path, moving_square(), 30, {"prompt": {"1": "ü"}})
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
        assert container.metadata["prompt"] == '{"1": "\\u00fc"}'


def test_odd_sizes_are_made_even_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "odd.mp4"
    with caplog.at_level(logging.WARNING):
        media.write_video(path, moving_square(4, 33, 47), 30)
    assert "47x33" in caplog.text
    info = media.probe_video(path)
    assert (info.width, info.height, info.frames) == (48, 34, 4)


def test_a_single_frame_is_a_video(tmp_path: Path) -> None:
    media.write_video(tmp_path / "one.mp4", moving_square(1), 30)
    assert media.probe_video(tmp_path / "one.mp4").frames == 1


@pytest.mark.parametrize("shape", [(32, 48, 3), (0, 32, 48, 3), (2, 32, 48, 1)])
def test_what_is_no_video_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\[frames, height, width, 3\], got"):
        media.write_video(tmp_path / "a.mp4", torch.zeros(shape), 30)


def test_files_that_are_no_media_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("no picture", encoding="utf-8")
    with pytest.raises(ValueError, match="a.png cannot be read as a picture"):
        media.load_image(path)
    with pytest.raises(ValueError, match="a.png cannot be read as a video"):
        media.probe_video(path)


def test_a_picture_is_loaded_exactly(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image, mask = media.load_image(tmp_path / "a.png")
    assert torch.equal(image, torch.from_numpy(pixels.astype(np.float32) / 255)[None])
    assert mask.shape == (1, 64, 64)
    assert not mask.any()


def test_transparency_becomes_the_mask(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 4), dtype=np.uint8)
    pixels[:2, :, 3] = 255
    Image.fromarray(pixels, "RGBA").save(tmp_path / "a.png")
    _, mask = media.load_image(tmp_path / "a.png")
    assert torch.equal(mask[0], torch.tensor([0.0, 0, 1, 1])[:, None].expand(4, 4))


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise by a right angle: its left half comes to lie on top
    pixels = np.zeros((16, 32, 3), dtype=np.uint8)
    pixels[:, :16] = 255
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    image, _ = media.load_image(tmp_path / "a.jpg")
    assert image.shape == (1, 32, 16, 3)
    assert image[0, :16].min() > 0.9 and image[0, 16:].max() < 0.1


def test_saving_and_loading_a_png_keeps_every_value(tmp_path: Path) -> None:
    image = torch.arange(256, dtype=torch.float32).div(255).view(16, 16, 1).expand(16, 16, 3)
    media.save_png(tmp_path / "a.png", image)
    assert torch.equal(media.load_image(tmp_path / "a.png")[0][0], image)


def test_the_save_nodes_name_their_files_as_comfyui_does(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    images = moving_square(2)
    with folders.using(Folders(tmp_path / "in", tmp_path / "out")):
        (video,) = CreateVideo().create(images, 30.0)
        saved = SaveVideo().save(video, "video/clip", "auto", "auto", {"1": {}})
        pictures = SaveImage().save_images(images, "frame_%batch_num%")
        previews = PreviewImage().save_images(images)
    assert saved["ui"]["images"] == [{"filename": "clip_00001_.mp4", "subfolder": "video", "type": "output"}]
    assert [entry["filename"] for entry in pictures["ui"]["images"]] == [
        "frame_0_00001_.png",
        "frame_1_00001_.png",
    ]
    assert previews["ui"]["images"][1] == {
        "filename": "ComfyUI_00002_.png",
        "subfolder": "previews",
        "type": "temp",
    }
    for entry in (*saved["ui"]["images"], *pictures["ui"]["images"], *previews["ui"]["images"]):
        assert (tmp_path / "out" / entry["subfolder"] / entry["filename"]).stat().st_size > 0


def test_a_saved_video_is_loaded_again_as_frames_and_rate(tmp_path: Path) -> None:
    media.write_video(tmp_path / "a.mp4", moving_square(), 24)
    with folders.using(Folders(tmp_path, tmp_path / "out")):
        assert LoadVideo.INPUT_TYPES()["required"]["file"][0] == ["a.mp4"]
        assert LoadVideo.VALIDATE_INPUTS("a.mp4") is True
        assert "no file 'b.mp4'" in str(LoadVideo.VALIDATE_INPUTS("b.mp4"))
        (video,) = LoadVideo().load("a.mp4")
    images, audio, fps = GetVideoComponents().take_apart(video)
    assert (images - moving_square()).abs().mean() < 0.02
    assert audio is None
    assert fps == 24


@pytest.mark.parametrize(
    ("index", "length", "numbers"), [(2, 3, [2, 3, 4]), (8, 5, [8, 9]), (4095, 1, [9]), (0, 1, [0])]
)
def test_a_choice_of_images_stops_at_the_last_one(index: int, length: int, numbers: list[int]) -> None:
    images = torch.arange(10.0).view(10, 1, 1, 1)
    (chosen,) = ImageFromBatch().frombatch(images, index, length)
    assert chosen.flatten().tolist() == numbers


def test_sound_is_refused() -> None:
    with pytest.raises(ValueError, match="sound"):
        CreateVideo().create(moving_square(), 30.0, audio={})


def test_zeroed_conditioning_leaves_the_original_alone() -> None:
    extras = {"pooled_output": torch.ones(1, 2), "attention_mask": torch.ones(1, 3)}
    original = [[torch.ones(1, 3, 4), extras]]
    (((zeroed, zeroed_extras),),) = ConditioningZeroOut().zero_out(original)
    assert not zeroed.any() and not zeroed_extras["pooled_output"].any()
    assert zeroed_extras["attention_mask"].all()
    assert original[0][0].all() and extras["pooled_output"].all()


def test_tiles_are_given_to_the_vae_in_latent_units() -> None:
    class Vae:
        def spacial_compression_decode(self) -> int:
            return 8

        def temporal_compression_decode(self) -> int:
            return 4

        def decode_tiled(self, samples: torch.Tensor, **tiles: int) -> torch.Tensor:
            self.tiles = tiles
            return torch.zeros(2, 5, 16, 16, 3)

    vae = Vae()
    (images,) = VAEDecodeTiled().decode({"samples": torch.zeros(2, 16, 2, 2, 2)}, vae, 256, 128, 32, 8)
    assert vae.tiles == {"tile_x": 32, "tile_y": 32, "overlap": 8, "tile_t": 8, "overlap_t": 2}
    assert images.shape == (10, 16, 16, 3)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (None, "None"),
        (0.5, "0.5"),
        ({"a": [1]}, '{"a": [1]}'),
        (Path("x"), "x"),
    ],
)
def test_any_value_is_shown_as_text(value: object, text: str) -> None:
    assert PreviewAny().main(value) == {"ui": {"text": (text,)}}


def test_a_contact_sheet_marks_where_sections_begin() -> None:
    marked = contact_sheet.contact_sheet([contact_sheet.Row("", torch.zeros(20, 16, 16, 3), [10])], columns=4)
    plain = contact_sheet.contact_sheet([contact_sheet.Row("", torch.zeros(20, 16, 16, 3))], columns=4)
    assert marked.size == plain.size == (4 * 98, 96 + 36)
    line = 2 * 98 - 2
    assert marked.getpixel((line, 60)) == contact_sheet.BORDER
    assert plain.getpixel((line, 60)) != contact_sheet.BORDER


def test_a_contact_sheet_holds_one_strip_for_each_video(tmp_path: Path) -> None:
    rows = [contact_sheet.Row("plain", moving_square(3)), contact_sheet.Row("treated", moving_square(30))]
    path = contact_sheet.save_sheet(tmp_path / "new" / "contact_sheet.png", rows)
    with Image.open(path) as picture:
        assert picture.height == 2 * (96 + 36)


def test_a_contact_sheet_marks_the_switch() -> None:
    frames = torch.zeros(20, 16, 16, 3)
    marked = contact_sheet.contact_sheet([contact_sheet.Row("", frames, [5, 10], switch=10)], columns=4)
    colours = {
        marked.getpixel((position * (96 + contact_sheet.GAP) - contact_sheet.GAP, 60)) for position in (1, 2)
    }
    assert colours == {contact_sheet.BORDER, contact_sheet.SWITCH}
