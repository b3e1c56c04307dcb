"""Pictures and videos survive the way to a file and back."""

from __future__ import annotations

import logging
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from framepack_transitions.headless.commands import contact_sheet
from framepack_transitions.headless.files import folders, media, pictures
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
from framepack_transitions.nodes.files.reading import MOST_CHARACTERS, shortened
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
        pictures.load_image(path)
    with pytest.raises(ValueError, match="a.png cannot be read as a video"):
        media.probe_video(path)


def test_a_picture_is_loaded_exactly(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image, mask = pictures.load_image(tmp_path / "a.png")
    assert torch.equal(image, torch.from_numpy(pixels.astype(np.float32) / 255)[None])
    assert mask.shape == (1, 64, 64)
    assert not mask.any()


def test_transparency_becomes_the_mask(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 4), dtype=np.uint8)
    pixels[:2, :, 3] = 255
    Image.fromarray(pixels, "RGBA").save(tmp_path / "a.png")
    _, mask = pictures.load_image(tmp_path / "a.png")
    assert torch.equal(mask[0], torch.tensor([0.0, 0, 1, 1])[:, None].expand(4, 4))


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise by a right angle: its left half comes to lie on top
    pixels = np.zeros((16, 32, 3), dtype=np.uint8)
    pixels[:, :16] = 255
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    image, _ = pictures.load_image(tmp_path / "a.jpg")
    assert image.shape == (1, 32, 16, 3)
    assert image[0, :16].min() > 0.9 and image[0, 16:].max() < 0.1


def test_saving_and_loading_a_png_keeps_every_value(tmp_path: Path) -> None:
    image = torch.arange(256, dtype=torch.float32).div(255).view(16, 16, 1).expand(16, 16, 3)
    pictures.save_png(tmp_path / "a.png", image)
    assert torch.equal(pictures.load_image(tmp_path / "a.png")[0][0], image)


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


def test_a_contact_sheet_writes_each_prompt_below_the_frame_where_it_begins() -> None:
    prompts = [(0, "a cat"), (10, "a dog")]
    row = contact_sheet.Row("", torch.zeros(20, 16, 16, 3), switch=10, prompts=prompts)
    sheet = contact_sheet.contact_sheet([row], columns=4)
    assert sheet.height == 96 + 3 * contact_sheet.LABEL_HEIGHT
    below = np.asarray(sheet)[96 + 2 * contact_sheet.LABEL_HEIGHT :]
    written = (below != contact_sheet.BACKGROUND).any((0, 2))
    assert [bool(part.any()) for part in np.split(written, 4)] == [True, False, True, False]


def test_a_contact_sheet_takes_prompts_in_any_language() -> None:
    row = contact_sheet.Row(
        "\u591c", torch.zeros(8, 16, 16, 3), prompts=[(0, "\u7a7a\u306e\u90e8\u5c4b \u2026")]
    )
    sheet = contact_sheet.contact_sheet([row], columns=2)
    below = np.asarray(sheet)[96 + 2 * contact_sheet.LABEL_HEIGHT :]
    assert (below != contact_sheet.BACKGROUND).any()


def sixteen_bit_png(path: Path, values: np.ndarray, colour: int) -> None:
    """Values [H,W,C] as a PNG of this colour type, written by the format's definition."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_are_read_at_their_value(tmp_path: Path, colour: int, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (9, 7, channels)).astype(np.uint16)
    sixteen_bit_png(tmp_path / "a.png", values, colour)
    image, mask = pictures.load_image(tmp_path / "a.png")
    expected = values.astype(np.float64) / 65535
    colours = expected[..., :3] if channels > 2 else expected[..., :1].repeat(3, axis=-1)
    np.testing.assert_allclose(image[0].double().numpy(), colours, atol=1e-6)
    if channels in (2, 4):
        np.testing.assert_allclose(mask[0].double().numpy(), 1 - expected[..., -1], atol=1e-6)
    else:
        assert mask.shape == (1, 64, 64) and not mask.any()


def test_floats_are_read_at_their_value(tmp_path: Path) -> None:
    values = np.array([[0.0, 0.25, 0.5], [1.0, 1.5, -0.5]], np.float32)
    Image.fromarray(values).save(tmp_path / "a.tiff")
    image, _ = pictures.load_image(tmp_path / "a.tiff")
    np.testing.assert_allclose(image[0, ..., 1].numpy(), values.clip(0, 1), atol=1e-7)


def one_bit_png(path: Path, side: int) -> None:
    """A white picture of one bit a pixel, as small as it can be written."""
    Image.new("1", (side, side), 1).save(path, compress_level=9)


def test_a_small_file_with_very_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    one_bit_png(tmp_path / "bomb.png", 8000)
    assert (tmp_path / "bomb.png").stat().st_size < 20_000
    with pytest.raises(ValueError, match=r"bomb.png has 64,000,000 pixels, at most 50,000,000 are read"):
        pictures.load_image(tmp_path / "bomb.png")


def test_sizes_that_pillow_refuses_are_told_in_the_same_way(tmp_path: Path) -> None:
    one_bit_png(tmp_path / "a.png", 8)
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ValueError, match=r"a.png has more pixels, at most|a.png has 3,600,000,000 pixels"):
        pictures.load_image(tmp_path / "a.png")


def test_the_frames_of_an_animated_picture_are_counted_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [Image.new("L", (10, 10), value) for value in (0, 80, 160, 240)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert len(pictures.load_image(tmp_path / "a.gif")[0]) == 4
    monkeypatch.setattr(pictures, "MOST_PIXELS", 350)
    with pytest.raises(ValueError, match="has 400 pixels, at most 350"):
        pictures.load_image(tmp_path / "a.gif")


@pytest.mark.parametrize(
    "data", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"GIF89a", b"\x89PNG\r\n\x1a\n", b""]
)
def test_what_is_no_picture_is_told_in_a_short_sentence(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="a.png cannot be read as a picture") as caught:
        pictures.load_image(path)
    assert len(str(caught.value)) < 400


# The matrix in a track's header by which a telephone says how its picture is to be turned: the directions in which its
# rows and columns are shown, (right, down) each.
MATRICES = {"right": (0, 1, -1, 0), "down": (-1, 0, 0, -1), "left": (0, -1, 1, 0)}


def turned_video(path: Path, video: torch.Tensor, direction: str) -> None:
    media.write_video(path, video, 30)
    upright, (a, b, c, d) = (1, 0, 0, 1), MATRICES[direction]

    def matrix(a: int, b: int, c: int, d: int) -> bytes:
        return struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)

    begin, *tracks = path.read_bytes().split(b"tkhd")
    turned = [part.replace(matrix(*upright), matrix(a, b, c, d), 1) for part in tracks]
    path.write_bytes(b"tkhd".join([begin, *turned]))


@pytest.mark.parametrize(("direction", "corner"), [("right", (0, -1)), ("down", (-1, -1)), ("left", (-1, 0))])
def test_a_video_of_a_telephone_is_read_upright(
    tmp_path: Path, direction: str, corner: tuple[int, int]
) -> None:
    video = torch.zeros(4, 32, 64, 3)
    video[:, :16, :16] = 1.0  # the left upper corner
    turned_video(tmp_path / "a.mp4", video, direction)
    frames, _ = media.read_video(tmp_path / "a.mp4")
    height, width = (32, 64) if direction == "down" else (64, 32)
    assert frames.shape == (4, height, width, 3)
    info = media.probe_video(tmp_path / "a.mp4")
    assert (info.width, info.height, info.frames) == (width, height, 4)
    quarters = {(row, column): frames[0, row * 8, column * 8].mean() for row in (0, -1) for column in (0, -1)}
    assert quarters.pop(corner) > 0.9 and max(quarters.values()) < 0.1


def test_a_video_that_would_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mp4"
    media.write_video(path, moving_square(), 30)
    monkeypatch.setattr(media, "MOST_VIDEO_BYTES", 9 * 48 * 32 * 12)
    with pytest.raises(ValueError, match="has too many frames of 48x32 to be loaded whole"):
        media.read_video(path)
    monkeypatch.setattr(media, "MOST_FRAME_PIXELS", 48 * 32 - 1)
    with pytest.raises(ValueError, match="has frames of 48x32, at most 1,535 pixels are read"):
        media.probe_video(path)


def test_a_text_of_a_file_is_shortened_to_one_printable_line() -> None:
    assert shortened("one\n two\x1b[31m\u202e") == "one two [31m"
    assert len(shortened("x" * 10_000)) == MOST_CHARACTERS
