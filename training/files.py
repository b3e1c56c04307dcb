"""What a dataset's folder holds for musubi-tuner beside the caches: configurations, lists of items, and a page to read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .dataset import Dataset, Example, clip_cache, clip_folder, kind_cache, save_dataset
from .musubi.config import CLIPS_TOML, TRAIN_TOML, Value, jsonl_of, path_text, toml_of
from .one_frame import control_places, layout_named, target_place
from .shares import repeats_for, shares_of

README = "README.md"
IMAGES = "images.jsonl"


def general_of(dataset: Dataset) -> dict[str, Value]:
    """The settings that all blocks of a configuration share."""
    return {
        "resolution": list(dataset.resolution),
        "batch_size": 1,
        "enable_bucket": True,
        "bucket_no_upscale": False,
    }


def video_block(dataset: Dataset, items: Path, cache: Path) -> dict[str, Value]:
    """A block about videos; they are at 30 frames a second already, so that no rate is named."""
    longest = max((example.sections for example in dataset.examples), default=1)
    return {
        "video_jsonl_file": path_text(items),
        "cache_directory": path_text(cache),
        "frame_extraction": "full",
        "max_frames": 4 * dataset.window * longest + 1,
        "fp_latent_window_size": dataset.window,
    }


def image_block(dataset: Dataset, items: Path, cache: Path) -> dict[str, Value]:
    """A block about pictures and their controls."""
    return {
        "image_jsonl_file": path_text(items),
        "cache_directory": path_text(cache),
        "fp_latent_window_size": dataset.window,
        "fp_1f_clean_indices": list(control_places(dataset.layout, dataset.window)),
        "fp_1f_target_index": target_place(dataset.layout, dataset.window),
        "fp_1f_no_post": not layout_named(dataset.layout, dataset.window).post,
    }


def write_files(dataset: Dataset, root: Path) -> None:
    """Writes the dataset's file and everything that follows from it. Raises OSError.

    Each kind has a cache of its own, as musubi-tuner asks for, and is repeated so often that it gets its share.
    """
    save_dataset(dataset, root)
    repeats = dict.fromkeys(dataset.counts(), 1) if dataset.one_frame else used_repeats(dataset)
    blocks = []
    for kind, times in repeats.items():
        if not dataset.one_frame:
            write_text_file(
                root / f"{kind}.jsonl", jsonl_of(_item(root, example) for example in dataset.of_kind(kind))
            )
        block = image_block if dataset.one_frame else video_block
        items = root / (IMAGES if dataset.one_frame else f"{kind}.jsonl")
        blocks.append({**block(dataset, items, kind_cache(root, kind)), "num_repeats": times})
    write_text_file(root / TRAIN_TOML, toml_of(general_of(dataset), blocks))
    write_text_file(root / README, page_of(dataset, root))


def write_clip_list(dataset: Dataset, root: Path) -> None:
    """Writes what musubi-tuner needs to cache the latents of whole takes. Raises OSError."""
    clips = dict.fromkeys(example.clip for example in dataset.examples)
    items = root / "clips.jsonl"
    write_text_file(items, jsonl_of({"video_path": _clip_path(root, clip), "caption": ""} for clip in clips))
    block = video_block(dataset, items, clip_cache(root))
    write_text_file(root / CLIPS_TOML, toml_of(general_of(dataset), [block]))


def used_repeats(dataset: Dataset) -> dict[str, int]:
    """How often each kind is repeated; kinds that no share is given to are not trained."""
    return repeats_for(dataset.counts(), dataset.shares)


def described_shares(dataset: Dataset) -> Iterable[str]:
    """A line about every kind: its examples, how often they are repeated, and the share that they get."""
    repeats = {} if dataset.one_frame else used_repeats(dataset)
    got = shares_of(dataset.counts(), repeats)
    for kind in dataset.kinds:
        count = dataset.counts().get(kind, 0)
        if dataset.one_frame:
            yield f"{kind}: {count} examples"
        else:
            wanted = dataset.shares.get(kind, 0.0)
            yield (
                f"{kind}: {count} examples, repeated {repeats.get(kind, 0)} times, {got.get(kind, 0.0):.2f} of an epoch "
                f"(asked for {wanted:g})"
            )


def _item(root: Path, example: Example) -> dict[str, str]:
    """An example in a list of videos; musubi-tuner reads its caption and its name, and opens no such file."""
    return {"video_path": _clip_path(root, example.name), "caption": example.caption}


def _clip_path(root: Path, name: str) -> str:
    return path_text(clip_folder(root) / f"{name}.mp4")


def write_text_file(file: Path, text: str) -> None:
    """Writes a text whole or not at all. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{file.name}.tmp")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(file)


def page_of(dataset: Dataset, root: Path) -> str:
    """The page that says what the folder holds and what to run next."""
    commands = "\n\n".join(f"{step}\n\n```sh\n{command}\n```" for step, command in steps_of(dataset, root))
    shares = "\n".join(f"- {line}" for line in described_shares(dataset))
    return (
        f"# Training data for FramePack, layout {dataset.layout}\n\n{shares}\n\n"
        f"Run these in the folder of musubi-tuner; what is written in capitals are your own files.\n\n{commands}\n"
    )


def steps_of(dataset: Dataset, root: Path) -> list[tuple[str, str]]:
    """What to do with the folder, step by step, each with its command. Source: kohya-ss/musubi-tuner, `docs/framepack.md`."""
    flags = _cache_flags(dataset)
    config = TRAIN_TOML if dataset.one_frame else CLIPS_TOML
    latents = (
        f"python src/musubi_tuner/fpack_cache_latents.py --dataset_config {_quoted(root / config)} --vae VAE "
        f"--image_encoder SIGLIP --vae_chunk_size 32{flags}"
    )
    texts = (
        f"python src/musubi_tuner/fpack_cache_text_encoder_outputs.py --dataset_config {_quoted(root / TRAIN_TOML)} "
        "--text_encoder1 LLAMA --text_encoder2 CLIP_L --batch_size 16"
    )
    own = "framepack-transitions dataset"
    prune = (
        []
        if dataset.one_frame
        else [("Give every section its own name and folder:", f"{own} prune {_quoted(root)}")]
    )
    encode = [("Encode the pictures:", latents), *prune, ("Encode the captions:", texts)]
    return [
        *([] if dataset.encoded else encode),
        ("Look for contradictions:", f"{own} check {_quoted(root)}"),
        ("Train:", train_command(dataset, root)),
    ]


def _cache_flags(dataset: Dataset) -> str:
    if not dataset.one_frame:
        return " --f1" if dataset.layout == "f1" else ""
    layout = layout_named(dataset.layout, dataset.window)
    no_2x = "" if layout.history_2x else " --one_frame_no_2x"
    return " --one_frame" + no_2x + ("" if layout.history_4x else " --one_frame_no_4x")


def train_command(dataset: Dataset, root: Path) -> str:
    """The documented training command of musubi-tuner, on this folder."""
    kind = " --f1" if dataset.layout == "f1" else " --one_frame" if dataset.one_frame else ""
    return (
        "accelerate launch --num_cpu_threads_per_process 1 --mixed_precision bf16 "
        "src/musubi_tuner/fpack_train_network.py --dit DIT --vae VAE --text_encoder1 LLAMA --text_encoder2 CLIP_L "
        f"--image_encoder SIGLIP --dataset_config {_quoted(root / TRAIN_TOML)} --sdpa --mixed_precision bf16 "
        "--optimizer_type adamw8bit --learning_rate 2e-4 --gradient_checkpointing --timestep_sampling shift "
        "--weighting_scheme none --discrete_flow_shift 3.0 --max_data_loader_n_workers 2 "
        "--persistent_data_loader_workers --network_module networks.lora_framepack --network_dim 32 "
        f"--max_train_epochs 16 --save_every_n_epochs 1 --seed 42{kind} --output_dir OUT --output_name NAME"
    )


def _quoted(path: Path) -> str:
    text = path_text(path)
    return f'"{text}"' if " " in text else text
