"""Embeddings by content: what was embedded once need not be again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import torch
from PIL import Image

_Item = TypeVar("_Item")


class EmbeddingCache:
    """The last embeddings, by key; the one that was not used for longest goes first.

    Args:
        size: how many are kept; 0 keeps none.

    Attributes:
        hits: how many embeddings came from the cache.
        misses: how many were computed.
    """

    def __init__(self, size: int) -> None:
        self.size, self.hits, self.misses = size, 0, 0
        self._kept: OrderedDict[Hashable, torch.Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def embed(
        self,
        items: Sequence[_Item],
        keys: Sequence[Hashable],
        embed: Callable[[Sequence[_Item]], torch.Tensor],
        *,
        batch_size: int,
    ) -> torch.Tensor:
        """Embeddings of items, (n, e); those that are not kept are computed, each content once.

        Args:
            items: n of them, at least 1.
            keys: what decides an item's embedding, one each.
            embed: up to `batch_size` items -> (k, e).
            batch_size: items at once.
        """
        rows = {key: self._kept[key] for key in keys if key in self._kept}
        new = {key: item for key, item in zip(keys, items, strict=True) if key not in rows}
        self.hits, self.misses = self.hits + len(keys) - len(new), self.misses + len(new)
        for start in range(0, len(new), batch_size):
            batch = list(new)[start : start + batch_size]
            rows.update(zip(batch, embed([new[key] for key in batch]), strict=True))
        for key in keys:
            self._kept[key] = rows[key]
            self._kept.move_to_end(key)
        while len(self._kept) > self.size:
            self._kept.popitem(last=False)
        return torch.stack([rows[key] for key in keys])


def picture_key(image: Image.Image) -> Hashable:
    """What decides a picture's embedding: its mode, size and pixels."""
    return image.mode, image.size, hashlib.blake2b(image.tobytes(), digest_size=20).digest()
