"""How many images a node of a workflow gives, and from which video, as far as the nodes before it say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from ...video.timing import VideoTiming, video_timing
from ..comfyui import inside_comfyui
from ..run_folders import input_folder
from .graph import Step, WorkflowGraph, is_link

KEEPS_COUNT = (
    "ImageScale",
    "ImageScaleBy",
    "ImageScaleToTotalPixels",
    "ImageScaleToMaxDimension",
    "ResizeAndPadImage",
    "ImageCrop",
    "ImagePadForOutpaint",
    "ImageInvert",
    "ImageBlur",
    "ImageSharpen",
)


@dataclass(frozen=True, kw_only=True)
class Images:
    """What is known of an IMAGE before it is there.

    count: how many images it holds; None where that is not known.
    file: the name of the video that they are frames of; "" where that is not known.
    timing: of that video.
    """

    count: int | None = None
    file: str = ""
    timing: VideoTiming | None = None


UNKNOWN = Images()


def images_of(graph: WorkflowGraph, step: Step | None) -> Images:
    """What is known of the images that a node gives; nothing for nodes that are not in the table."""
    rule = _RULES.get(str(step["class_type"])) if step is not None else None
    return UNKNOWN if rule is None or step is None else rule(graph, step)


def _same(graph: WorkflowGraph, step: Step) -> Images:
    return images_of(graph, graph.source(step, "image", "input"))


def _resized(graph: WorkflowGraph, step: Step) -> Images:
    """FramePack Resolution, which says itself what becomes of its images."""
    return replace(_same(graph, step), count=None)


def _picture(graph: WorkflowGraph, step: Step) -> Images:
    path = _input_path(step["inputs"].get("image"))
    if path is None:
        return UNKNOWN
    try:
        with Image.open(path) as picture:
            return Images(count=getattr(picture, "n_frames", 1))
    except OSError:
        return UNKNOWN


def _video(graph: WorkflowGraph, step: Step) -> Images:
    source = graph.source(step, "video")
    if source is None or source.get("class_type") != "LoadVideo":
        return UNKNOWN
    return _frames_of(source["inputs"].get("file"))


def _video_helper(graph: WorkflowGraph, step: Step) -> Images:
    """Load Video of ComfyUI-VideoHelperSuite, which can change the rate and leave frames out."""
    loaded = _frames_of(step["inputs"].get("video"))
    rate = step["inputs"].get("force_rate", 0)
    if isinstance(rate, int | float) and rate > 0:
        return Images(file=loaded.file, timing=VideoTiming(frames=0, fps=float(rate), constant=True))
    return replace(loaded, count=None)


def _joined(graph: WorkflowGraph, step: Step) -> Images:
    links = [name for name, value in step["inputs"].items() if is_link(value)]
    return _total([images_of(graph, graph.source(step, name)) for name in links])


def _total(parts: list[Images]) -> Images:
    """Images behind one another; the video is that of the first part."""
    counts = [part.count for part in parts if part.count is not None]
    known = bool(parts) and len(counts) == len(parts)
    return replace(parts[0], count=sum(counts) if known else None) if parts else UNKNOWN


def _repeated(graph: WorkflowGraph, step: Step) -> Images:
    images, amount = _same(graph, step), step["inputs"].get("amount")
    known = images.count is not None and isinstance(amount, int)
    return replace(images, count=images.count * amount if known else None)


def _chosen(graph: WorkflowGraph, step: Step) -> Images:
    """Image From Batch: some images of several; an index or a length beyond them stops at the last one."""
    images = _same(graph, step)
    first, length = step["inputs"].get("batch_index"), step["inputs"].get("length")
    if not isinstance(first, int) or not isinstance(length, int):
        return replace(images, count=None)
    if images.count is None:
        return replace(images, count=1 if length == 1 else None)
    return replace(images, count=min(length, images.count - min(first, images.count - 1)))


def _frames_of(name: object) -> Images:
    path = _input_path(name)
    timing = None if path is None else video_timing(path)
    return UNKNOWN if timing is None else Images(count=timing.frames, file=str(name), timing=timing)


def _input_path(name: object) -> Path | None:
    """The file of this name in the input folder; None where it is not there, or the name comes over a link."""
    if not isinstance(name, str):
        return None
    try:
        if inside_comfyui():
            import folder_paths

            path = Path(folder_paths.get_annotated_filepath(name))
        else:
            folder = input_folder()
            if folder is None:
                return None
            path = folder.input_file(name)
    except ValueError:
        return None
    return path if path.is_file() else None


_RULES: dict[str, Callable[[WorkflowGraph, Step], Images]] = {
    **dict.fromkeys(KEEPS_COUNT, _same),
    "FramePackResolution": _resized,
    "LoadImage": _picture,
    "GetVideoComponents": _video,
    "VHS_LoadVideo": _video_helper,
    "ImageBatch": _joined,
    "BatchImagesNode": _joined,
    "RepeatImageBatch": _repeated,
    "ImageFromBatch": _chosen,
}
