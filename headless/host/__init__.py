"""The few core nodes of ComfyUI that the examples use, with ComfyUI's ids, inputs and behaviour.

They only exist outside ComfyUI. CLIP, VAE and CLIP_VISION are whatever a loader of this pack returns: the
methods called here are the ones that ComfyUI's own nodes call.
"""

from __future__ import annotations

from ..workflows.specs import NodeClass
from .conditioning import CLIPTextEncode, CLIPVisionEncode, ConditioningZeroOut
from .images import ImageFromBatch, LoadImage, PreviewImage, SaveImage
from .latents import EmptyHunyuanLatentVideo, VAEDecode, VAEDecodeTiled, VAEEncode
from .text import PreviewAny
from .videos import CreateVideo, GetVideoComponents, LoadVideo, SaveVideo

CORE_NODES: dict[str, type[NodeClass]] = {
    node.__name__: node
    for node in (
        LoadImage,
        ImageFromBatch,
        LoadVideo,
        GetVideoComponents,
        CLIPTextEncode,
        ConditioningZeroOut,
        VAEEncode,
        VAEDecode,
        VAEDecodeTiled,
        CLIPVisionEncode,
        EmptyHunyuanLatentVideo,
        CreateVideo,
        SaveVideo,
        SaveImage,
        PreviewImage,
        PreviewAny,
    )
}
