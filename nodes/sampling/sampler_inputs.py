"""The inputs of FramePack Sampler, with their ranges and tooltips."""

from __future__ import annotations

from typing import Any

from ...samplers.context.indices import HISTORY_1X, MAX_PADDING, MAX_RECENT_FRAMES
from ...samplers.context.plan import LAYOUTS
from ...samplers.denoising.solvers import SOLVERS
from ...samplers.settings import EMBED_INTERPOLATIONS
from .. import widgets
from ..types import TIMELINE

# The value of `padding` that leaves each section its usual distance to the start frame.
AUTOMATIC = -1.0
# Inputs that both samplers have.
NEGATIVE = ("CONDITIONING", {"tooltip": "What to avoid; only read when cfg is not 1."})
CFG = (
    "FLOAT",
    {
        **widgets.CFG,
        "tooltip": "Real classifier-free guidance. Anything but 1 uses the negative prompt and doubles the time.",
    },
)
GUIDANCE_RESCALE = (
    "FLOAT",
    {
        **widgets.GUIDANCE_RESCALE,
        "tooltip": "Pulls the contrast back to normal when cfg is high; 0 is off.",
    },
)
SOLVER = (
    list(SOLVERS),
    {
        "default": "unipc_bh1",
        "tooltip": "unipc_bh1 is upstream's; euler is the simplest. A connected SAMPLER replaces it.",
    },
)
SAMPLER = (
    "SAMPLER",
    {"tooltip": "Any sampler of ComfyUI instead of solver; CFG++ samplers are refused."},
)


def sampler_inputs() -> dict[str, Any]:
    """The inputs by kind and name, in the order in which saved workflows hold their values."""
    return {
        "required": {
            "model": (
                "MODEL",
                {
                    "tooltip": "A FramePack model, with the technique nodes you want between loader and sampler."
                },
            ),
            "positive": (
                "CONDITIONING",
                {"tooltip": "The prompt; with a timeline, the prompt until its first entry."},
            ),
            "negative": NEGATIVE,
            "start_latent": (
                "LATENT",
                {
                    "tooltip": "The start image through VAE Encode. An empty latent means text to video; its size is then the video's size."
                },
            ),
            "layout": (
                list(LAYOUTS),
                {
                    "default": "f1",
                    "tooltip": "f1 generates forward (FramePack F1 files); original generates backwards from the end (FramePackI2V files). It must match the model file.",
                },
            ),
            "seconds": (
                "FLOAT",
                {
                    **widgets.SECONDS,
                    "tooltip": "Length of the video at 30 frames per second, rounded to whole sections. More seconds mean more sections, not more GPU memory.",
                },
            ),
            "latent_frames": (
                "INT",
                {
                    **widgets.LATENT_FRAMES,
                    "tooltip": "Length in generated latent frames (4 video frames each), rounded up to whole sections; 0 uses seconds.",
                },
            ),
            "window": (
                "INT",
                {
                    **widgets.WINDOW,
                    "tooltip": "Latent frames per section. FramePack was trained with 9; smaller windows react to prompts sooner but drift more.",
                },
            ),
            "steps": (
                "INT",
                {
                    **widgets.STEPS,
                    "tooltip": "Denoising steps per section. Fewer are faster and rougher.",
                },
            ),
            "distilled_guidance": (
                "FLOAT",
                {
                    **widgets.DISTILLED_GUIDANCE,
                    "tooltip": "Guidance built into the model, at no cost. Higher follows the prompt more closely, lower gives softer motion.",
                },
            ),
            "cfg": CFG,
            "guidance_rescale": GUIDANCE_RESCALE,
            "shift": (
                "FLOAT",
                {
                    **widgets.SHIFT,
                    "tooltip": "Higher spends more steps on composition, lower on detail; 0 is upstream's automatic value (7 at usual sizes).",
                },
            ),
            "solver": SOLVER,
            "denoise": (
                "FLOAT",
                {
                    **widgets.DENOISE,
                    "tooltip": "Strength against initial_latent: lower keeps more of it. Must be 1 without one.",
                },
            ),
            "upstream_rounding": (
                "BOOLEAN",
                {
                    **widgets.UPSTREAM_ROUNDING,
                    "tooltip": "Round timestep and guidance to bfloat16 as upstream FramePack does, to reproduce its videos more closely.",
                },
            ),
            "seed": (
                "INT",
                {
                    **widgets.SEED,
                    "tooltip": "The noise of all sections. The same seed and settings give the same video.",
                },
            ),
        },
        "optional": {
            "clip_vision_output": (
                "CLIP_VISION_OUTPUT",
                {"tooltip": "The start image through CLIP Vision Encode (SigLIP, crop none)."},
            ),
            "end_latent": (
                "LATENT",
                {
                    "tooltip": "An image the video should end on, through VAE Encode. Only for layout original."
                },
            ),
            "end_clip_vision_output": (
                "CLIP_VISION_OUTPUT",
                {
                    "tooltip": "The end image through CLIP Vision Encode; sections move from the start image's tokens to these."
                },
            ),
            "initial_latent": (
                "LATENT",
                {
                    "tooltip": "A video to start from (video to video), aligned with the result; needs denoise below 1, or sigmas that start below 1."
                },
            ),
            "sampler": SAMPLER,
            "sigmas": (
                "SIGMAS",
                {
                    "tooltip": "A schedule down to 0 for every section, instead of steps, shift and denoise. Techniques still place their windows by shift."
                },
            ),
            "timeline": (
                TIMELINE,
                {
                    "tooltip": "Prompts over time; a switch lands on the nearest section border, or with landing frame on the latent frame that was asked for."
                },
            ),
            "past_latent": (
                "LATENT",
                {
                    "tooltip": "A video to go on from, through VAE Encode or from another FramePack Sampler. The result is that video with seconds of new video behind it; timeline times count from where it ends. f1 remembers its last frames; original has room for start_latent only. An empty start_latent takes the video's last frame."
                },
            ),
            "embed_interpolation": (
                list(EMBED_INTERPOLATIONS),
                {
                    "default": "linear",
                    "tooltip": "How start and end image tokens mix when both are connected: linear moves from start to end along the video, weighted_average keeps one mixture.",
                },
            ),
            "start_embed_strength": (
                "FLOAT",
                {
                    "default": 1.0,
                    "min": 0.0,
                    "max": 1.0,
                    "step": 0.01,
                    "tooltip": "Share of the start image's tokens with weighted_average; without end tokens it multiplies the start image's: lower follows the image less. Not read with linear and both images.",
                },
            ),
            "measure_memory": (
                "BOOLEAN",
                {
                    "default": False,
                    "tooltip": "Record in the trace how much of its attention every section pays to the packed memory, for the evaluators' inertia. The video stays the same; on the tiny model it takes a tenth longer.",
                },
            ),
            "vae": (
                "VAE",
                {
                    "tooltip": "Shows the video while it is sampled: each finished section is decoded at once, and FramePack Decode behind it, with the same VAE, takes over what is decoded. The video stays the same; on a small card the model makes room for the VAE after each section."
                },
            ),
            "recent_frames": (
                "INT",
                {
                    "default": HISTORY_1X,
                    "min": 1,
                    "max": MAX_RECENT_FRAMES,
                    "advanced": True,
                    "tooltip": "Latent frames next to the window that are remembered uncompressed: 1 as trained. More keep detail and motion, above all behind past_latent, but take time and memory, and new prompts come through less.",
                },
            ),
            "loop": (
                "BOOLEAN",
                {
                    "default": False,
                    "advanced": True,
                    "tooltip": "Lets the video's end run into its beginning: the later half of the sections leads from the last frame back to the start image. Layout original, two sections or more; not with end_latent, past_latent, cuts or keyframes.",
                },
            ),
            "section_seeds": (
                "STRING",
                {
                    "default": "",
                    "advanced": True,
                    "tooltip": "Draws single sections anew: the number of a section, counted from 1 as the node shows it, and its seed, such as 3: 77. Sections before it stay, those after it follow from it with their own noise.",
                },
            ),
            "reuse_sections": (
                "BOOLEAN",
                {
                    "default": True,
                    "advanced": True,
                    "tooltip": "Keeps every finished section on disk and takes it from there when the same one comes again: after a late change only what follows is sampled, and a run that was stopped goes on. Off neither keeps nor takes any.",
                },
            ),
            "colour_anchor": (
                "FLOAT",
                {
                    "default": 0.0,
                    "min": 0.0,
                    "max": 1.0,
                    "step": 0.05,
                    "advanced": True,
                    "tooltip": "Against colours that drift over a long video: brings what is remembered back to the colours of the scene's second section. Higher holds them more firmly, 0 is off; every switch and cut begins anew.",
                },
            ),
            "padding": (
                "FLOAT",
                {
                    "default": AUTOMATIC,
                    "min": AUTOMATIC,
                    "max": MAX_PADDING,
                    "step": 0.1,
                    "advanced": True,
                    "tooltip": "Layout original: how many sections lie between the start frame and each section but the last, which always touches it. -1 counts down as trained (3, 2 ... 1, 0). Lower moves more and comes back to the start image sooner, higher is calmer and holds less to it.",
                },
            ),
        },
        "hidden": {"prompt": "PROMPT", "unique_id": "UNIQUE_ID"},
    }
