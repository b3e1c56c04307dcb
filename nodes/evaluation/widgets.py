"""Inputs that the evaluation nodes share, and their tooltips."""

from __future__ import annotations

from ..types import TIMELINE, TRACE
from .models import FEATURES, MODEL, PRETRAINED

IMAGES = (
    "IMAGE",
    {"tooltip": "All frames of the video: the decoded latent of FramePack Sampler, start frame included."},
)
COMMON_INPUTS = {
    "features": (
        list(FEATURES),
        {
            "default": "clip",
            "tooltip": "What frames are compared by. clip understands the prompts; its weights must be on this machine. pixel needs nothing but reads no text. tiny knows the embedded model's world only. clip_vision uses the connected model and reads no text.",
        },
    ),
    "model": (
        "STRING",
        {
            "default": MODEL,
            "tooltip": "open_clip's name of the model behind clip. Larger ones tell finer differences and take longer.",
        },
    ),
    "pretrained": (
        "STRING",
        {
            "default": PRETRAINED,
            "tooltip": "Weights of that model: a tag of open_clip that is in the cache of this machine, or the path of a safetensors file. Nothing is downloaded.",
        },
    ),
    "fps": (
        "FLOAT",
        {
            "default": 30.0,
            "min": 1.0,
            "max": 240.0,
            "step": 0.01,
            "tooltip": "Frames per second of the video; times and the half second that a change must last follow it.",
        },
    ),
    "window": (
        "INT",
        {
            "default": 9,
            "min": 0,
            "max": 128,
            "tooltip": "Latent frames per section, as in the sampler: the timeline's switches move to the section borders where they really happened. 0 takes the timeline's times as they are. Not read with a trace.",
        },
    ),
    "first_prompt": (
        "STRING",
        {
            "default": "",
            "tooltip": "The prompt before the timeline's first entry, where it is the sampler's positive: conditioning carries no text. Scores that read text compare with it.",
        },
    ),
}
PROMPT_INPUTS = {
    "trace": (
        TRACE,
        {"tooltip": "FramePack Sampler's trace: says exactly which frame each prompt begins at."},
    ),
    "timeline": (
        TIMELINE,
        {
            "tooltip": "The prompts and their times, for a video without a trace; with one, the times asked for."
        },
    ),
}
CLIP_VISION = ("CLIP_VISION", {"tooltip": "The vision model of clip_vision, through CLIP Vision Loader."})
REFERENCE = (
    "IMAGE",
    {
        "tooltip": "The new prompt generated without the old history, such as a video from a new start image. It shows what could be had: GAS needs it, STF and DDI are measured against it."
    },
)
TARGET = (
    "IMAGE",
    {
        "tooltip": "One or more pictures of what should be seen after the switch. TL then waits for them instead of where the video ends up, and STF works without a text model."
    },
)
DISTRACTORS = (
    "STRING",
    {
        "default": "",
        "tooltip": "What else might be seen: half-changed, the old subject in the new place, nothing, another subject. Texts between semicolons; the new state has to win against all of them. Empty takes texts that follow from the prompts (English only), none compares old and new alone.",
    },
)
PENALTY = (
    "FLOAT",
    {
        "default": 1.0,
        "min": 0.0,
        "max": 10.0,
        "step": 0.1,
        "tooltip": "Lambda of DDI: how much motion off the new prompt weighs against motion on it. Higher punishes it more; 0 counts motion on the prompt alone.",
    },
)
LPIPS = (
    "STRING",
    {
        "default": "",
        "tooltip": "A safetensors file with the weights of LPIPS: the change from frame to frame, and with it the founding TL, is then measured by it. Empty compares features. Needs the library lpips.",
    },
)
