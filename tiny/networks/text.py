"""The embedded model's text encoder, over the byte-pair tokenizer that open_clip ships.

The token table keeps all 49,408 entries, each 32 wide and projected up: 3.2 MB in fp16. A hashed table would
be smaller, but there a word that training never saw can fall on a trained one and mean the same; here it
keeps an embedding of its own.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ..config import TEXT, TinyTextConfig
from .transformer import TransformerBlock


@lru_cache(maxsize=1)
def tokenizer() -> Any:
    """Give open_clip's byte-pair tokenizer; its vocabulary lies in the package, so no network is needed.

    Raises ImportError when open_clip is not installed.
    """
    try:
        return _tokenizer_module().SimpleTokenizer()
    except ImportError as error:
        raise ImportError(
            "The embedded text encoder needs open_clip's tokenizer, which is not installed: "
            "pip install open_clip_torch."
        ) from error


def _tokenizer_module() -> ModuleType:
    """open_clip.tokenizer by itself where it can be: the package around it takes seconds to import, and imports transformers."""
    package = None if "open_clip" in sys.modules else find_spec("open_clip")
    if package is None or package.origin is None:
        return import_module("open_clip.tokenizer")
    file = Path(package.origin).with_name("tokenizer.py")
    spec = spec_from_file_location("open_clip_tokenizer", file)
    if spec is None or spec.loader is None:
        return import_module("open_clip.tokenizer")
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (ImportError, OSError):  # it needs the package, or lies elsewhere in it
        return import_module("open_clip.tokenizer")
    return module


def token_ids(text: str, max_tokens: int = TEXT.max_tokens) -> list[int]:
    """Turn text into token ids between a start and an end token; what exceeds `max_tokens` in all is cut."""
    bpe = tokenizer()
    words = bpe.encode(text)[: max_tokens - 2]
    return [bpe.sot_token_id, *words, bpe.eot_token_id]


class TinyText(nn.Module):
    """Bidirectional transformer: token ids to a state for each token and a pooled vector."""

    def __init__(self, config: TinyTextConfig = TEXT) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.embedding)
        self.widen = nn.Linear(config.embedding, config.width)
        self.position = nn.Parameter(torch.randn(config.max_tokens, config.width) * 0.1)
        blocks = (TransformerBlock(config.width, config.heads) for _ in range(config.layers))
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(config.width)
        self.pool = nn.Linear(config.width, config.pooled)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode ids int64 [B,L] to a state for each token [B,L,width] and a pooled vector [B,pooled].

        mask [B,L] is nonzero where a token is real (None: all are), real ones first; the pooled vector is
        read at the last real one. Raises ValueError for more tokens than there are positions.
        """
        length = ids.shape[1]
        if length > self.config.max_tokens:
            limit = self.config.max_tokens
            raise ValueError(f"The text encoder takes {limit} tokens, but got {length}: cut the text.")
        mask = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
        x = self.widen(self.embedding(ids)) + self.position[:length]
        for block in self.blocks:
            x = block(x, mask)
        states = self.norm(x)
        last = mask.sum(1) - 1
        return states, self.pool(states[torch.arange(len(ids), device=ids.device), last])
