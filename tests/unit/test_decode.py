"""FramePack Decode: the pieces and the cross-fade are upstream's, and the file grows while it is decoded."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from framepack_transitions.headless.files.folders import Folders, using
from framepack_transitions.headless.host import CORE_NODES
from framepack_transitions.headless.workflows.executor import execute, prepare
from framepack_transitions.headless.workflows.workflow import parse_api
from framepack_transitions.nodes import NODE_CLASS_MAPPINGS
from framepack_transitions.nodes.video.decode import FramePackDecode
from framepack_transitions.samplers.progress import Interrupted, progress_reporting
from framepack_transitions.tiny.bundle import load_tiny
from framepack_transitions.video.decode import Tiles, decode_video, vae_decoder
from framepack_transitions.video.pieces import decode_pieces
from framepack_transitions.video.writing import VideoWriter
from hypothesis import given
from hypothesis import strategies as st


class NumberedVAE:
    """Decodes a latent to frames that say which latent they came from and where the decoding began.

    Red is the latent's number, green the first latent of the piece, both in hundredths.
    """

    def __init__(self) -> None:
        self.decoded: list[list[int]] = []
        self.tiled: list[dict] = []

    def temporal_compression_decode(self) -> int:
        return 4

    def spacial_compression_decode(self) -> int:
        return 8

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        numbers = latents[0, 0, :, 0, 0]
        self.decoded.append([round(float(number)) for number in numbers])
        colours = torch.stack([numbers, numbers[:1].expand_as(numbers), 0 * numbers], dim=-1) / 100
        frames = torch.cat([colours[:1], colours[1:].repeat_interleave(4, dim=0)])
        return frames[None, :, None, None].expand(1, -1, 8, 8, 3)

    def decode_tiled(self, latents: torch.Tensor, **tiles) -> torch.Tensor:
        self.tiled.append(tiles)
        return self.decode(latents)


def numbered(count: int, batch: int = 1) -> torch.Tensor:
    row = torch.arange(count, dtype=torch.float32).view(1, 1, -1, 1, 1)
    return row.expand(batch, 16, -1, 1, 1).clone()


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def sectionwise(vae, latents: torch.Tensor, window: int, overlap: int) -> torch.Tensor:
    pieces = decode_pieces(latents.shape[2], window, overlap)
    return torch.cat(list(decode_video(vae_decoder(vae, Tiles()), latents, pieces)))


def faded(vae, latents: torch.Tensor, window: int, overlap: int) -> np.ndarray:
    """Upstream's rule in numpy, written from its description: redo the last latents, fade what both have."""
    decode = lambda first, last: vae.decode(latents[:, :, first:last])[0].double().numpy()  # noqa: E731
    length, done = latents.shape[2], min(1 + window, latents.shape[2])
    video = decode(0, done)
    while done < length:
        stop, start = min(done + window, length), max(0, done - overlap)
        current = decode(start, stop)
        shared = len(video) - 4 * start  # the piece's first frame is the last of its latent's four
        for number in range(shared):
            new = number / (shared - 1) if shared > 1 else 0.0
            old = video[4 * start + number]
            current[number] = (1 - new) * old + new * current[number]
        video, done = np.concatenate([video[: 4 * start], current]), stop
    return video


@pytest.mark.parametrize("window", [5, 9])
@pytest.mark.parametrize("sections", range(1, 9))
def test_the_pieces_are_those_that_upstream_decodes(upstream, window, sections):
    recorded = upstream.load(f"tables/f1_window_{window}_sections_{sections}").settings
    order = recorded["history"]
    vae = NumberedVAE()
    frames = sectionwise(vae, numbered(len(order)), window, window)
    expected = [section["decoded_latents"] for section in recorded["sections"]]
    assert [[order[number] for number in piece] for piece in vae.decoded] == expected
    assert len(frames) == recorded["sections"][-1]["pixel_frames"]


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 20))
def test_every_length_gives_its_frames_blended_as_upstream_blends(length, window, overlap):
    latents = numbered(length)
    frames = sectionwise(NumberedVAE(), latents, window, overlap)
    assert len(frames) == 4 * length - 3
    np.testing.assert_allclose(frames.numpy(), faded(NumberedVAE(), latents, window, overlap), atol=1e-6)


def test_a_piece_is_no_longer_than_window_and_overlap_and_decoded_only_when_asked_for():
    vae = NumberedVAE()
    video = decode_video(vae_decoder(vae, Tiles()), numbered(100), decode_pieces(100, 6, 4))
    assert len(next(video)) == 4 * 7 - 3 - (4 * 4 - 3) and len(vae.decoded) == 1
    assert len(next(video)) == 4 * 6 and len(vae.decoded) == 2
    list(video)
    assert max(map(len, vae.decoded)) == 10


def scene(frames: int) -> torch.Tensor:
    """A bright square that moves over a gradient, [T,64,64,3]."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
    video = torch.stack([x, y, 1 - x], dim=-1).repeat(frames, 1, 1, 1) * 0.6
    for number in range(frames):
        left = number % 48
        video[number, 20:36, left : left + 16] = torch.tensor([1.0, 0.2, 0.1])
    return video


@torch.inference_mode()
def test_with_the_tiny_codec_only_the_first_frames_of_an_overlap_differ_from_decoding_whole():
    vae = load_tiny().vae
    latents = vae.encode(scene(85))
    whole, pieced = vae.decode(latents)[0], sectionwise(vae, latents, 9, 9)
    # Latents further from a piece's beginning than the codec looks back decode to the same numbers as in the whole.
    blurred = torch.zeros(len(whole), dtype=torch.bool)
    for start in (1, 10):
        blurred[4 * start : 4 * (start + vae.codec.past_latents + 1)] = True
    error = (pieced - whole).abs().amax(dim=(1, 2, 3))
    assert error[~blurred].max() < 1e-6
    assert 0 < error[blurred].max() < 0.02
    one_piece = sectionwise(vae, latents, 40, 9)
    assert torch.equal(one_piece, whole)


@torch.inference_mode()
def test_frames_of_an_overlap_lie_between_the_two_decodings():
    vae = load_tiny().vae
    latents = vae.encode(scene(77))
    video = sectionwise(vae, latents, 9, 9)
    first, second = vae.decode(latents[:, :, :10])[0][4:37], vae.decode(latents[:, :, 1:19])[0][:33]
    low, high = torch.minimum(first, second), torch.maximum(first, second)
    assert torch.all((low - 1e-6 <= video[4:37]) & (video[4:37] <= high + 1e-6))
    assert torch.equal(video[4], first[0]) and torch.equal(video[36], second[-1])


class FadingVAE(NumberedVAE):
    """A decoder that looks back over all latents, ever less, and pads with its first one, as HunyuanVideo's does.

    A latent's frames show sum_k (1-m) m^k x[t-k]; a piece that begins at x[s] takes all before for x[s].
    """

    memory = 0.6

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        values = latents[0, 0, :, 0, 0]
        shown = [values[0]]
        for value in values[1:]:
            shown.append(self.memory * shown[-1] + (1 - self.memory) * value)
        frames = torch.cat([shown[0][None], torch.stack(shown)[1:].repeat_interleave(4)])
        return frames.view(1, -1, 1, 1, 1).expand(1, -1, 8, 8, 3)


def test_with_a_decoder_of_long_memory_what_a_piece_forgot_is_faded_away():
    torch.manual_seed(0)
    latents = torch.rand(200).view(1, 1, -1, 1, 1).expand(1, 16, -1, 1, 1)
    vae = FadingVAE()
    whole = vae.decode(latents)[0, :, 0, 0, 0]
    worst = {}
    for overlap in (1, 3, 9):
        error = (sectionwise(vae, latents, 9, overlap)[:, 0, 0, 0] - whole).abs()
        # k latents into a piece, m^k of what it forgot (1 at most) is left. The fade lets at most 4k of its n-1 steps
        # of that through, and all of it after the overlap.
        steps = max(1, 4 * overlap - 4)
        left = [vae.memory**k * min(1.0, 4 * k / steps) for k in range(overlap + 9)]
        worst[overlap] = float(error.max())
        assert worst[overlap] <= max(left) + 1e-6
    assert worst[9] < 0.5 * worst[3] and worst[3] < 0.75 * worst[1]


def test_tiles_reach_the_vae_in_latents():
    vae = NumberedVAE()
    decode = vae_decoder(vae, Tiles(256, 64))
    decode(numbered(3))
    vae_decoder(vae, Tiles(256, 0))(numbered(3))
    vae_decoder(vae, Tiles(0, 64))(numbered(3))
    assert vae.tiled[0] == {"tile_x": 32, "tile_y": 32, "overlap": 8, "tile_t": 16, "overlap_t": 4}
    assert vae.tiled[1] == {"tile_x": 32, "tile_y": 32, "overlap": 8, "tile_t": None, "overlap_t": None}
    assert vae.tiled[2]["tile_x"] > 10_000 and vae.tiled[2]["tile_t"] == 16


@torch.inference_mode()
def test_tiles_change_nothing_where_the_codec_reads_around_them():
    vae = load_tiny().vae
    latents = vae.encode(scene(21).repeat(1, 2, 1, 1))
    tiled = torch.cat(list(decode_video(vae_decoder(vae, Tiles(64, 12)), latents, decode_pieces(6, 3, 2))))
    torch.testing.assert_close(tiled, sectionwise(vae, latents, 3, 2), atol=1e-5, rtol=0)


# The node


def decode(vae, latents, output: str, **changes):
    settings = {"window": 4, "overlap": 4, "tile_size": 0, "tile_frames": 0, "fps": 30.0, "crf": 4}
    settings |= {"filename_prefix": "video/FramePack", **changes}
    return FramePackDecode().decode({"samples": latents}, vae, output=output, **settings)


def read(path: Path) -> tuple[torch.Tensor, list[Fraction], float]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        images = torch.stack([torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in frames])
        return images / 255, [frame.pts * stream.time_base for frame in frames], float(stream.average_rate)


def test_all_frames_of_a_batch_come_one_video_after_another(tmp_path):
    latents = numbered(11, batch=2)
    latents[1] += 50
    result = decode(NumberedVAE(), latents, "images")
    (images,) = result["result"]
    assert images.shape == (2 * 41, 8, 8, 3) and result["ui"] == {}
    torch.testing.assert_close(images[:41], sectionwise(NumberedVAE(), latents[:1], 4, 4))
    torch.testing.assert_close(images[41:], sectionwise(NumberedVAE(), latents[1:], 4, 4))


def test_the_file_holds_the_frames_at_their_times(tmp_path):
    vae = load_tiny().vae
    latents = vae.encode(scene(41))
    with using(Folders(tmp_path, tmp_path)):
        result = decode(vae, latents, "both", fps=24.0)
    assert result["ui"] == {
        "images": [{"filename": "FramePack_00001_.mp4", "subfolder": "video", "type": "output"}],
        "animated": (True,),
    }
    assert [file.name for file in (tmp_path / "video").iterdir()] == ["FramePack_00001_.mp4"]
    images, times, rate = read(tmp_path / "video" / "FramePack_00001_.mp4")
    assert times == [Fraction(number, 24) for number in range(41)] and rate == 24
    assert (images - result["result"][0]).abs().mean() < 0.02


def test_writing_only_keeps_the_last_frame_of_each_video(tmp_path):
    latents = numbered(11, batch=3)
    with using(Folders(tmp_path, tmp_path)):
        result = decode(NumberedVAE(), latents, "video")
    (images,) = result["result"]
    assert images.shape == (3, 8, 8, 3)
    torch.testing.assert_close(images[:, 0, 0, 0], torch.full((3,), 0.10))
    assert [file["filename"] for file in result["ui"]["images"]] == [
        f"FramePack_{number:05}_.mp4" for number in (1, 2, 3)
    ]


@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_a_stopped_run_keeps_what_plays_under_its_name(tmp_path, stop_at):
    def stop(step, total, info):
        if step == stop_at:
            raise Interrupted

    with using(Folders(tmp_path, tmp_path)), progress_reporting(stop), pytest.raises(Interrupted):
        decode(NumberedVAE(), numbered(20), "video")
    [file] = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert file.name == "FramePack_00001_.mp4"
    reds = [frame[..., 0].mean() for frame in frames_of(file)]
    decoded = [0, *(number for number in range(1, 20) for _ in range(4))]
    assert 0 < len(reds) < len(decoded)
    np.testing.assert_allclose(reds, [2.55 * number for number in decoded[: len(reds)]], atol=4)


def test_a_killed_run_would_leave_one_file_that_plays_or_none(tmp_path):
    seen = []

    def look(step, total, info):
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        seen.append([(path.name, len(frames_of(path))) for path in files])

    class LookingVAE(NumberedVAE):
        def decode(self, latents):
            look(0, 0, {})
            return super().decode(latents)

    with using(Folders(tmp_path, tmp_path)), progress_reporting(look):
        decode(LookingVAE(), numbered(20), "video")
    assert seen[0] == [], "no file before there is a frame"
    assert all(len(files) <= 1 for files in seen)
    names, lengths = zip(*(file for files in seen for file in files))
    assert set(names) == {"FramePack_00001_.mp4"}
    assert lengths[0] > 0 and list(lengths) == sorted(lengths)


def test_a_run_that_is_stopped_before_its_first_section_leaves_no_file(tmp_path):
    class BrokenVAE(NumberedVAE):
        def decode(self, latents):
            raise Interrupted

    with using(Folders(tmp_path, tmp_path)), pytest.raises(Interrupted):
        decode(BrokenVAE(), numbered(20), "video")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_progress_counts_the_sections_of_all_videos(tmp_path):
    steps = []
    with progress_reporting(lambda step, total, info: steps.append((step, total))):
        decode(NumberedVAE(), numbered(13, batch=2), "images")
    assert steps == [(number, 6) for number in range(1, 7)]


def test_a_workflow_runs_it_without_comfyui(tmp_path):
    settings = {"window": 9, "overlap": 9, "tile_size": 64, "tile_frames": 32, "output": "video"}
    settings |= {"fps": 30.0, "crf": 16, "filename_prefix": "clip"}
    workflow = parse_api(
        {
            "1": {"class_type": "FramePackTinyLoader", "inputs": {}},
            "2": {
                "class_type": "EmptyHunyuanLatentVideo",
                "inputs": {"width": 64, "height": 64, "length": 109, "batch_size": 1},
            },
            "3": {
                "class_type": "FramePackDecode",
                "inputs": {"samples": ["2", 0], "vae": ["1", 2], **settings},
            },
        }
    )
    nodes = {**CORE_NODES, **NODE_CLASS_MAPPINGS}
    with using(Folders(tmp_path, tmp_path)):
        execute(prepare(workflow, nodes), nodes)
    with av.open(str(tmp_path / "clip_00001_.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 109
        assert "FramePackDecode" in container.metadata["prompt"]


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (None, "NoneType without one tensor"),
        ({"samples": torch.zeros(1, 16, 8, 8)}, r"shape \(1, 16, 8, 8\), expected a video"),
        ({"samples": torch.zeros(1, 4, 3, 8, 8)}, r"expected a video \[batch, 16"),
        ({"samples": torch.zeros(1, 16, 0, 8, 8)}, "at least one frame"),
        ({"samples": torch.full((1, 16, 2, 1, 1), float("nan"))}, "NaN"),
    ],
)
def test_what_is_no_videos_latent_is_refused(samples, words):
    with pytest.raises(ValueError, match=words):
        FramePackDecode().decode(samples, NumberedVAE(), 9, 9, 0, 0, "images", 30.0, 16, "a")


def test_a_vae_that_is_missing_or_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="holds no VAE"):
        decode(None, numbered(3), "images")

    class ImageVAE(NumberedVAE):
        def temporal_compression_decode(self):
            return None

    with pytest.raises(ValueError, match="packs 1 frames of 8x8 pixels.*hunyuan_video_vae"):
        decode(ImageVAE(), numbered(3), "images")

    class ShortVAE(NumberedVAE):
        def decode(self, latents):
            return super().decode(latents)[:, 1:]

    with pytest.raises(ValueError, match=r"turned 3 latent frames into \(1, 8, 8, 8, 3\)"):
        decode(ShortVAE(), numbered(3), "images")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tile_size": 32}, "tile_size is 32"),
        ({"tile_frames": 4}, "tile_frames is 4"),
        ({"window": 0}, "window 0"),
        ({"overlap": 0}, "overlap 0"),
    ],
)
def test_settings_without_a_meaning_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        decode(NumberedVAE(), numbered(3), "images", **changes)


def test_writing_without_an_output_folder_is_refused():
    with pytest.raises(ValueError, match="no output folder"):
        decode(NumberedVAE(), numbered(3), "video")


# The file


def boxes(path: Path) -> list[str]:
    """The names of the top-level boxes of an MP4 file (ISO/IEC 14496-12)."""
    data, place, names = path.read_bytes(), 0, []
    while place < len(data):
        size, name = struct.unpack(">I4s", data[place : place + 8])
        names.append(name.decode())
        place += struct.unpack(">Q", data[place + 8 : place + 16])[0] if size == 1 else size
    return names


def test_a_growing_file_can_be_read_and_the_whole_one_is_an_ordinary_mp4(tmp_path):
    path, video = tmp_path / "a.mp4", scene(108)
    with VideoWriter(path, 30, metadata={"prompt": {"1": "ü"}}) as writer:
        for section in range(3):
            writer.write(video[36 * section : 36 * (section + 1)])
            # The muxer keeps the very last frame until it knows how long it is shown.
            assert len(read(path)[0]) >= 36 * (section + 1) - 1
        assert "moof" in boxes(path)
    images, times, rate = read(path)
    assert times == [Fraction(number, 30) for number in range(108)] and rate == 30
    assert (images - video).abs().mean() < 0.02
    assert "moof" not in boxes(path) and boxes(path).count("moov") == 1
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.frames == 108 and stream.duration * stream.time_base == Fraction(108, 30)
        assert container.metadata["prompt"] == '{"1": "\\u00fc"}'


def test_every_section_begins_with_a_key_frame(tmp_path):
    path = tmp_path / "a.mp4"
    with VideoWriter(path, 30) as writer:
        for length in (37, 36, 12):
            writer.write(scene(length))
    with av.open(str(path)) as container:
        keys = [packet.pts * packet.time_base for packet in container.demux(video=0) if packet.is_keyframe]
    assert set(keys) >= {Fraction(0), Fraction(37, 30), Fraction(73, 30)}
