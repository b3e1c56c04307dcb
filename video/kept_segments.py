"""Encoded stretches of videos on disk, so that what was decoded once is not decoded again."""

from __future__ import annotations

import logging
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor

from ..samplers.store.digest import NotKeyed, digest
from ..samplers.store.environment import environment
from ..samplers.store.folder import RecordStore
from ..samplers.store.record import Record

logger = logging.getLogger(__name__)

FILE, LAST_FRAME = "file", "last_frame"


class KeptSegments:
    """Segments by what their frames are decoded from.

    store: where they are kept.
    vae: decodes them.
    settings: how, and how they are encoded.

    Raises NotKeyed for a VAE with code or contents that are not known.
    """

    def __init__(self, store: RecordStore, vae: Any, settings: Any) -> None:
        self._store = store
        surroundings = environment(getattr(vae, "device", torch.device("cpu")))
        codec = [av.__version__, av.library_versions]
        self._shared = digest(["segment", surroundings, codec, vae, settings])

    def key(self, latents: Tensor, place: Any) -> str:
        """What stands for a segment: all latents [1, 16, n, h, w] that its frames depend on, and where they lie among these."""
        return digest([self._shared, latents, place])

    def get(self, key: str) -> tuple[bytes, Tensor | None] | None:
        """The segment as a file of its own, with the last frame [1, H, W, 3] that it was kept with; None for no segment."""
        record = self._store.get(key)
        if record is None:
            return None
        return record.tensors[FILE].numpy().tobytes(), record.tensors.get(LAST_FRAME)

    def put(self, key: str, file: bytes, last_frame: Tensor | None = None) -> None:
        """Keep a segment, where a video ends with it also its last frame [1, H, W, 3]."""
        tensors = {FILE: torch.from_numpy(np.frombuffer(file, dtype=np.uint8).copy())}
        if last_frame is not None:
            tensors[LAST_FRAME] = last_frame
        self._store.put(key, Record(tensors=tensors))


def kept_segments(store: RecordStore | None, vae: Any, settings: Any) -> KeptSegments | None:
    """The segments in a store for a VAE; None without a store, and for a VAE that cannot be told from others."""
    if store is None:
        return None
    try:
        return KeptSegments(store, vae, settings)
    except NotKeyed as unknown:
        logger.info("Decoded video is not kept: the VAE is %s.", unknown)
        return None
