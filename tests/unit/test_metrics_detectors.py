"""Detectors against the libraries' own post-processing, on small models with random weights."""

from __future__ import annotations

import builtins
import json

import numpy as np
import pytest
import torch
from framepack_transitions.metrics.features import PixelExtractor
from framepack_transitions.metrics.measuring.box_detectors import GroundingDinoDetector, Owlv2Detector
from framepack_transitions.metrics.measuring.detectors import CallableDetector, Detections, ZeroShotDetector

CONCEPTS = ["a cat", "dog"]


def frames(count: int = 3, height: int = 48, width: int = 80) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 1, (count, height, width, 3)).astype(np.float32)


def as_bytes(pictures: np.ndarray) -> list[np.ndarray]:
    return list((pictures * 255).round().astype(np.uint8))


# Anything callable


def test_a_function_is_a_detector():
    def half(pictures, concepts):
        return np.full((len(pictures), len(concepts)), 0.5)

    detector = CallableDetector(half)
    found = detector.detect(frames(), CONCEPTS)
    assert detector.name == "half" and (found.confidence == 0.5).all()
    assert found.boxes.shape == (3, 2, 4) and np.isnan(found.boxes).all()


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (np.zeros((3, 1)), r"\[3, 1\].*expected \[3, 2\]"),
        (np.zeros(3), r"\[3\]"),
        (np.full((3, 2), 1.5), "1.5..1.5"),
        (np.full((3, 2), np.nan), "not in 0..1"),
        (Detections(np.zeros((3, 2)), np.zeros((3, 4))), r"boxes \[3, 4\]"),
    ],
)
def test_what_a_function_gives_is_checked(given, problem):
    with pytest.raises(ValueError, match=problem):
        CallableDetector(lambda *_: given, "mine").detect(frames(), CONCEPTS)


# open_clip zero-shot


class Words:
    """An extractor whose features are given: one-hot texts, frames by their mean colour."""

    name, logit_scale, resolution = "words", 10.0, None
    vectors = {"red": [1, 0, 0], "green": [0, 1, 0], "blue": [0, 0, 2]}

    def images(self, pictures):
        return np.asarray(pictures).mean((1, 2))

    def texts(self, texts):
        return np.array([self.vectors[text] for text in texts], float)


def test_presence_is_the_softmax_of_concept_and_absence():
    pictures = np.zeros((2, 4, 4, 3), np.float32)
    pictures[0, ..., :2], pictures[1] = (0.6, 0.3), (0.1, 0.2, 0.9)
    found = ZeroShotDetector(Words(), absence=["green", "blue"]).detect(pictures, ["red"])
    means = pictures.mean((1, 2)).astype(float)
    logits = 10 * means / np.linalg.norm(means, axis=1, keepdims=True)
    against = np.maximum(logits[:, 1], logits[:, 2])
    expected = np.exp(logits[:, 0]) / (np.exp(logits[:, 0]) + np.exp(against))
    assert found.confidence[:, 0] == pytest.approx(expected, abs=1e-6)
    assert np.isnan(found.boxes).all() and found.boxes.shape == (2, 1, 4)


def test_zero_shot_needs_texts():
    with pytest.raises(ValueError, match="no text tower"):
        ZeroShotDetector(PixelExtractor())
    with pytest.raises(ValueError, match="no text of absence"):
        ZeroShotDetector(Words(), absence=())


# transformers


@pytest.fixture(scope="module")
def owl(tmp_path_factory):
    """A folder with a small OWLv2 with random weights, as the hub would hold it."""
    transformers = pytest.importorskip("transformers", reason="transformers is missing")
    folder = tmp_path_factory.mktemp("owl")
    torch.manual_seed(0)
    tower = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.Owlv2Config(
        text_config={**tower, "vocab_size": 64, "max_position_embeddings": 16, "eos_token_id": 63},
        vision_config={**tower, "image_size": 64, "patch_size": 16},
        projection_dim=32,
    )
    transformers.Owlv2ForObjectDetection(config).eval().save_pretrained(folder)
    letters = [f"{letter}{end}" for letter in "abcdefghijklmnopqrstuvwxyz" for end in ("", "</w>")]
    words = letters + [f"extra{number}" for number in range(64 - len(letters) - 2)]
    vocabulary = {word: index for index, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    tokenizer = transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer.model_max_length = 16
    images = transformers.Owlv2ImageProcessor(size={"height": 64, "width": 64})
    transformers.Owlv2Processor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("size", [(48, 80), (80, 48), (64, 64)])
def test_owlv2_gives_the_best_box_of_the_librarys_own(owl, size):
    from transformers import Owlv2ForObjectDetection, Owlv2Processor

    pictures = frames(3, *size)
    model = Owlv2ForObjectDetection.from_pretrained(owl, local_files_only=True).eval()
    processor = Owlv2Processor.from_pretrained(owl, local_files_only=True)
    found = Owlv2Detector(owl, batch=2).detect(pictures, CONCEPTS)
    assert found.confidence.shape == (3, 2) and found.boxes.shape == (3, 2, 4)
    for number, picture in enumerate(as_bytes(pictures)):
        for column, concept in enumerate(CONCEPTS):
            inputs = processor(images=[picture], text=[[concept]], return_tensors="pt")
            with torch.no_grad():
                outputs = model(**inputs)
            boxes = processor.post_process_grounded_object_detection(
                outputs, threshold=0.0, target_sizes=torch.tensor([size])
            )[0]
            best = boxes["scores"].argmax()
            assert found.confidence[number, column] == pytest.approx(boxes["scores"][best].item(), abs=1e-4)
            left, top, right, bottom = boxes["boxes"][best].numpy()
            shares = np.array([left / size[1], top / size[0], right / size[1], bottom / size[0]]).clip(0, 1)
            assert found.boxes[number, column] == pytest.approx(shares, abs=1e-3)


@pytest.fixture(scope="module")
def dino(tmp_path_factory):
    """A folder with a small Grounding DINO with random weights, as the hub would hold it."""
    transformers = pytest.importorskip("transformers", reason="transformers is missing")
    folder = tmp_path_factory.mktemp("dino")
    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "a", "cat", "dog"]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    tokenizer = transformers.BertTokenizer(str(folder / "vocab.txt"))
    text = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
    )
    backbone = transformers.SwinConfig(
        image_size=64,
        embed_dim=16,
        depths=[1, 1, 1, 1],
        num_heads=[1, 2, 2, 2],
        window_size=4,
        out_features=["stage2", "stage3", "stage4"],
    )
    config = transformers.GroundingDinoConfig(
        backbone_config=backbone,
        text_config=text,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_queries=8,
        max_text_len=16,
    )
    transformers.GroundingDinoForObjectDetection(config).eval().save_pretrained(folder)
    images = transformers.GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 100})
    transformers.GroundingDinoProcessor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("size", [(48, 80), (80, 48)])
def test_grounding_dino_gives_the_best_box_of_the_librarys_own(dino, size):
    from transformers import GroundingDinoForObjectDetection, GroundingDinoProcessor

    pictures = frames(3, *size)
    model = GroundingDinoForObjectDetection.from_pretrained(dino, local_files_only=True).eval()
    processor = GroundingDinoProcessor.from_pretrained(dino, local_files_only=True)
    found = GroundingDinoDetector(dino, batch=2).detect(pictures, CONCEPTS)
    assert found.confidence.shape == (3, 2) and found.boxes.shape == (3, 2, 4)
    for number, picture in enumerate(as_bytes(pictures)):
        for column, text in enumerate(["a cat.", "dog."]):
            inputs = processor(images=[picture], text=[text], return_tensors="pt")
            with torch.no_grad():
                outputs = model(**inputs)
            boxes = processor.post_process_grounded_object_detection(
                outputs, inputs["input_ids"], threshold=0.0, target_sizes=[size]
            )[0]
            best = boxes["scores"].argmax()
            assert found.confidence[number, column] == pytest.approx(boxes["scores"][best].item(), abs=1e-4)
            shares = boxes["boxes"][best].numpy() / [size[1], size[0], size[1], size[0]]
            assert found.boxes[number, column] == pytest.approx(shares.clip(0, 1), abs=1e-3)


@pytest.mark.parametrize("detector", [Owlv2Detector, GroundingDinoDetector])
def test_models_that_are_not_on_this_machine_are_not_downloaded(detector, monkeypatch, tmp_path):
    pytest.importorskip("transformers", reason="transformers is missing")

    def refuse(*_, **__):
        raise AssertionError("the network was touched")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    with pytest.raises(FileNotFoundError, match="hf download someone/detector"):
        detector("someone/detector")
    with pytest.raises(FileNotFoundError, match="is not on this machine"):
        detector(tmp_path)


@pytest.mark.parametrize("detector", [Owlv2Detector, GroundingDinoDetector])
def test_pickled_weights_are_not_read(detector, owl, dino, tmp_path):
    source = owl if detector is Owlv2Detector else dino
    for file in source.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(FileNotFoundError, match=".safetensors"):
        detector(tmp_path)


@pytest.mark.parametrize("detector", [Owlv2Detector, GroundingDinoDetector])
def test_without_transformers_it_is_said_what_to_do(detector, monkeypatch, tmp_path):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "transformers":
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match="pip install transformers"):
        detector(tmp_path)
