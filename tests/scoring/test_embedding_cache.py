"""What was embedded is kept, is bounded, and is never another's."""

from __future__ import annotations

import torch
from PIL import Image

from linea_diffusion.scoring.embedding_cache import EmbeddingCache, picture_key


def lengths(words):
    """An embedding that tells the word."""
    return torch.tensor([[float(len(word)), float(ord(word[0]))] for word in words])


def test_each_content_is_embedded_once_and_in_order():
    cache, calls = EmbeddingCache(10), []

    def embed(words):
        calls.append(list(words))
        return lengths(words)

    words = ["b", "aa", "b", "ccc"]
    assert torch.equal(cache.embed(words, words, embed, batch_size=2), lengths(words))
    assert calls == [["b", "aa"], ["ccc"]]
    assert torch.equal(cache.embed(["ccc", "d"], ["ccc", "d"], embed, batch_size=2), lengths(["ccc", "d"]))
    assert calls[2:] == [["d"]]
    assert (cache.hits, cache.misses) == (2, 4)


def test_it_is_bounded_and_forgets_what_was_not_used_for_longest():
    cache = EmbeddingCache(2)
    for word in ("a", "bb", "a", "ccc"):
        cache.embed([word], [word], lengths, batch_size=1)
    assert len(cache) == 2
    cache.embed(["a"], ["a"], lengths, batch_size=1)
    assert (cache.hits, cache.misses) == (2, 3)
    cache.embed(["bb"], ["bb"], lengths, batch_size=1)
    assert cache.misses == 4


def test_more_items_than_it_holds_still_come_out_right():
    words = ["a" * n for n in range(1, 8)]
    for size in (0, 3):
        cache = EmbeddingCache(size)
        assert torch.equal(cache.embed(words, words, lengths, batch_size=2), lengths(words))
        assert len(cache) == size


def test_what_it_gave_out_may_be_changed():
    cache = EmbeddingCache(2)
    cache.embed(["a"], ["a"], lengths, batch_size=1).zero_()
    assert torch.equal(cache.embed(["a"], ["a"], lengths, batch_size=1), lengths(["a"]))


def test_pictures_of_the_same_bytes_and_another_shape_are_others():
    wide, tall = Image.new("RGB", (4, 2), "red"), Image.new("RGB", (2, 4), "red")
    assert wide.tobytes() == tall.tobytes()
    assert picture_key(wide) != picture_key(tall)
    assert picture_key(wide) == picture_key(wide.copy())
    assert picture_key(wide) != picture_key(Image.new("RGB", (4, 2), "#fe0000"))
