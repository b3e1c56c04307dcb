"""FramePack Decode and FramePack Resolution inside a real ComfyUI: the frames of core's own nodes, files where SaveVideo puts them."""

from __future__ import annotations

import io
import json
import urllib.parse
import urllib.request
from fractions import Fraction

import av
import pytest
import torch

pytestmark = [pytest.mark.host, pytest.mark.timeout(600)]
SETTINGS = {
    "window": 9,
    "overlap": 9,
    "tile_size": 64,
    "tile_frames": 0,
    "output": "both",
    "fps": 30.0,
    "crf": 10,
    "filename_prefix": "video/decoded",
}


@pytest.fixture(scope="module")
def host(comfy, tmp_path_factory):
    """The host's folders set to a fresh output folder, its core nodes, and the tiny VAE of our loader."""
    import folder_paths
    from framepack_transitions.nodes import NODE_CLASS_MAPPINGS

    import nodes as core

    before = folder_paths.get_output_directory()
    folder_paths.set_output_directory(str(tmp_path_factory.mktemp("output")))
    yield core, NODE_CLASS_MAPPINGS
    folder_paths.set_output_directory(before)


@pytest.fixture(scope="module")
def vae(host):
    _, ours = host
    return ours["FramePackTinyLoader"]().load()[2]


@pytest.fixture(scope="module")
def latents(host, vae):
    """A moving square, encoded by core's VAEEncode: 25 latent frames."""
    core, _ = host
    video = torch.full((97, 64, 64, 3), 0.3)
    for number in range(97):
        video[number, 20:36, number % 48 : number % 48 + 16, 0] = 0.9
    with torch.inference_mode():
        return core.VAEEncode().encode(vae, video)[0]


def decode(host, vae, latents, **changes):
    _, ours = host
    with torch.inference_mode():
        return ours["FramePackDecode"]().decode(latents, vae, **{**SETTINGS, **changes})


def test_one_section_is_what_vae_decode_gives(host, vae, latents):
    core, _ = host
    with torch.inference_mode():
        expected = core.VAEDecode().decode(vae, latents)[0]
    images = decode(host, vae, latents, window=33, tile_size=0, output="images")["result"][0]
    assert torch.equal(images, expected)


def test_sections_are_the_cross_fade_of_what_vae_decode_gives_for_each(host, vae, latents):
    core, _ = host
    samples = latents["samples"]
    with torch.inference_mode():
        parts = [
            core.VAEDecode().decode(vae, {"samples": samples[:, :, first:last]})[0]
            for first, last in ((0, 10), (1, 19), (10, 25))
        ]
        whole = core.VAEDecode().decode(vae, latents)[0]
    expected = torch.zeros(97, 64, 64, 3)
    weights = torch.zeros(97)
    # The frames of latents 1-9 and 10-18, less the three that a piece's first latent does not have.
    for part, start, rise, fall in (
        (parts[0], 0, None, 4),
        (parts[1], 4, 4, 40),
        (parts[2], 40, 40, None),
    ):
        for number, frame in enumerate(part, start):
            up = 1.0 if rise is None else min(1.0, (number - rise) / 32)
            down = 1.0 if fall is None else max(0.0, 1 - (number - fall) / 32) if number > fall else 1.0
            expected[number] += min(up, down) * frame
            weights[number] += min(up, down)
    torch.testing.assert_close(weights, torch.ones(97))
    for tile in (0, 64):
        images = decode(host, vae, latents, tile_size=tile, output="images")["result"][0]
        torch.testing.assert_close(images, expected, atol=1e-5, rtol=0)
    assert (images - whole).abs().max() < 0.02


def test_the_host_vae_of_hunyuanvideos_shape_takes_the_tiles(host, comfy):
    """The host's VAE class, its tiling included, around a decoder that repeats each latent over its pixels."""
    import comfy.model_patcher

    class Decoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def decode(self, x):
            frames = torch.cat([x[:, :3, :1], x[:, :3, 1:].repeat_interleave(4, dim=2)], dim=2)
            return frames.repeat_interleave(8, dim=3).repeat_interleave(8, dim=4)

    vae = object.__new__(comfy.sd.VAE)
    vae.first_stage_model = Decoder()
    vae.vae_dtype, vae.device, vae.output_device = torch.float32, torch.device("cpu"), torch.device("cpu")
    vae.disable_offload, vae.extra_1d_channel, vae.output_channels = False, None, 3
    vae.upscale_ratio = (lambda latents: max(0, latents * 4 - 3), 8, 8)
    vae.upscale_index_formula = (4, 8, 8)
    vae.latent_dim, vae.handles_tiling = 3, False  # newer hosts choose the way of tiling by them
    vae.memory_used_decode = lambda shape, dtype: 1
    vae.process_output = lambda image: (
        image.add_(1.0).div_(2.0).clamp_(0.0, 1.0)
    )  # in place, as newer hosts have it
    vae.patcher = comfy.model_patcher.ModelPatcher(vae.first_stage_model, vae.device, vae.device)
    torch.manual_seed(0)
    samples = {"samples": 2 * torch.rand(2, 16, 25, 12, 20) - 1}
    core, _ = host
    with torch.inference_mode():
        expected = core.VAEDecode().decode(vae, samples)[0]
    for tile_size, tile_frames in ((0, 0), (64, 0), (64, 16), (0, 16)):
        changes = {"tile_size": tile_size, "tile_frames": tile_frames, "output": "images"}
        images = decode(host, vae, samples, **changes)["result"][0]
        torch.testing.assert_close(images, expected, atol=1e-5, rtol=0)


def test_a_file_is_named_as_save_video_names_it_and_an_interrupt_keeps_what_plays(host, vae, latents, comfy):
    from pathlib import Path

    import comfy.model_management
    import comfy.utils
    import folder_paths

    folder = Path(folder_paths.get_output_directory())
    shown = [decode(host, vae, latents, output="video")["ui"] for _ in range(2)]
    assert [ui["images"] for ui in shown] == [
        [{"filename": f"decoded_{number:05}_.mp4", "subfolder": "video", "type": "output"}]
        for number in (1, 2)
    ]
    hook = comfy.utils.PROGRESS_BAR_HOOK
    seen = []

    def interrupt(value, total, preview, node_id=None):
        seen.append((value, total, preview, len(list((folder / "video").iterdir()))))
        raise comfy.model_management.InterruptProcessingException

    comfy.utils.set_progress_bar_global_hook(interrupt)
    try:
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            decode(host, vae, latents, output="video")
    finally:
        comfy.utils.set_progress_bar_global_hook(hook)
    # A picture would hide the video that the node shows.
    assert seen == [(1, 3, None, 3)], "the third file was there, growing"
    assert len(list((folder / "video").iterdir())) == 3
    import av

    with av.open(str(folder / "video" / "decoded_00003_.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) > 0


def test_a_cropped_image_is_where_core_puts_it(host):
    """Core's Upscale Image crops at whole pixels of the source and goes through bytes, cutting fractions off."""
    core, ours = host
    y, x = torch.meshgrid(torch.linspace(0, 1, 300), torch.linspace(0, 1, 700), indexing="ij")
    image = torch.stack([x, y, (x + y) / 2], dim=-1)[None]
    found, width, height = ours["FramePackResolution"]().resize(image, 640, "crop", "black")
    expected = core.ImageScale().upscale(image, "lanczos", width, height, "center")[0]
    assert (width, height) == (960, 416)
    assert (found - expected).abs().max() < 2 / 255


def test_the_server_shows_the_video_and_keeps_its_workflow(server):
    workflow = {
        "1": {"class_type": "FramePackTinyLoader", "inputs": {}},
        "2": {"class_type": "LoadImage", "inputs": {"image": "framepack_transitions_start.png"}},
        "3": {
            "class_type": "FramePackResolution",
            "inputs": {"image": ["2", 0], "resolution": 240, "method": "pad", "pad_color": "white"},
        },
        "4": {"class_type": "VAEEncode", "inputs": {"pixels": ["3", 0], "vae": ["1", 2]}},
        "5": {
            "class_type": "EmptyHunyuanLatentVideo",
            "inputs": {"width": ["3", 1], "height": ["3", 2], "length": 73, "batch_size": 1},
        },
        "6": {
            "class_type": "FramePackDecode",
            "inputs": {"samples": ["5", 0], "vae": ["1", 2], **SETTINGS, "output": "video"},
        },
        "7": {
            "class_type": "FramePackDecode",
            "inputs": {"samples": ["4", 0], "vae": ["1", 2], **SETTINGS, "output": "images"},
        },
        "8": {"class_type": "PreviewImage", "inputs": {"images": ["7", 0]}},
    }
    entry = server.wait(server.queue(workflow))
    assert entry["status"]["status_str"] == "success", entry["status"]
    assert entry["outputs"]["6"]["animated"] == [True]
    (file,) = entry["outputs"]["6"]["images"]
    with urllib.request.urlopen(f"{server.url}/view?{urllib.parse.urlencode(file)}") as response:
        video = av.open(io.BytesIO(response.read()))
    frames = list(video.decode(video=0))
    assert len(frames) == 73 and video.streams.video[0].average_rate == Fraction(30)
    assert (frames[0].width % 16, frames[0].height % 16) == (0, 0)
    assert json.loads(video.metadata["prompt"])["6"]["class_type"] == "FramePackDecode"
    assert len(entry["outputs"]["8"]["images"]) == 1


@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        ("link/clip", "leads out of the output folder"),
        (".clip", "would be hidden"),
        ("a/", "does not name a file"),
    ],
)
def test_a_prefix_that_leads_out_of_the_output_folder_or_is_hidden_is_refused(
    host, vae, latents, comfy, tmp_path, prefix, words
):
    from pathlib import Path

    import folder_paths

    link = Path(folder_paths.get_output_directory()) / "link"
    if not link.is_symlink():
        link.symlink_to(tmp_path)
    with pytest.raises(ValueError, match=words):
        decode(host, vae, latents, output="video", filename_prefix=prefix)
    assert not list(tmp_path.iterdir())
    link.unlink()
