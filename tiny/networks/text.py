"""The embedded model's text encoder, over the byte-pair tokenizer that open_clip ships.

The token table keeps all 49,408 entries, each 32 wide and projected up: 3.2 MB in fp16. A hashed table would
be smaller, but there a word that training never saw can fall on a trained one and mean the same; here it
keeps an embedding of its own.
"""

from __future__ import annotations

from functools import lru_cache
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
        from open_clip.tokenizer import SimpleTokenizer  # takes seconds: only when a text is really encoded
    except ImportError as error:
        raise ImportError(
            "The embedded text encoder needs open_clip's tokenizer, which is not installed: "
            "pip install open_clip_torch."
        ) from error
    return SimpleTokenizer()


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
