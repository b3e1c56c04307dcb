"""The texts of a run as one table of token ids."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...networks.text import token_ids

_PIECE = re.compile(r"[^\W\d_]+|[^\w\s]+|[\d_]")


class TokenTable:
    """Every distinct text once, by its row; row 0 is the empty text.

    Words are looked up, since the tokenizer itself takes a tenth of a millisecond a text and a run has a million.
    """

    def __init__(self) -> None:
        self._words: dict[str, list[int]] = {}
        self._begin, self._end = token_ids("")
        self._rows: dict[str, int] = {"": 0}
        self._ids: list[list[int]] = [[self._begin, self._end]]

    def row(self, text: str) -> int:
        """The row of a text, which is added where it is new."""
        row = self._rows.setdefault(text, len(self._ids))
        if row == len(self._ids):
            self._ids.append([self._begin, *self._inner(text), self._end])
        return row

    def rows(self, texts: Iterable[str]) -> list[int]:
        """The rows of texts."""
        return [self.row(text) for text in texts]

    def lengths(self) -> NDArray[np.int64]:
        """How many tokens each row has."""
        return np.array([len(ids) for ids in self._ids])

    def tensor(self) -> Tensor:
        """All rows int32 [R,L], padded with 0."""
        lengths = self.lengths()
        table: NDArray[Any] = np.zeros((len(lengths), lengths.max()), np.int32)
        table[np.arange(table.shape[1]) < lengths[:, None]] = np.concatenate(self._ids)
        return torch.from_numpy(table)

    def _inner(self, text: str) -> list[int]:
        return [token for piece in _PIECE.findall(text.lower()) for token in self._of(piece)]

    def _of(self, piece: str) -> list[int]:
        if piece not in self._words:
            self._words[piece] = token_ids(piece)[1:-1]
        return self._words[piece]


def tokenized(texts: list[str]) -> tuple[Tensor, Tensor]:
    """Token ids [B,L] padded with 0 and what is real [B,L] bool."""
    table = TokenTable()
    rows = table.rows(texts)
    longest = int(table.lengths()[rows].max())
    real = torch.arange(longest) < torch.from_numpy(table.lengths()[rows])[:, None]
    return table.tensor()[rows, :longest].long(), real
