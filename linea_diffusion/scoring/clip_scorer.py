"""`ClipScorer`: CLIP scores of pictures by any open_clip model, with embeddings kept."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from PIL import Image
from torch.nn.functional import normalize

from ..concepts.words import listed_words, spelled_words
from ..errors import LineaError
from .clip_models import load_clip, text_length, word_pieces
from .embedding_cache import EmbeddingCache, picture_key
from .formulas import clip_score, cosine, directional_similarity, text_probabilities
from .images.opening import as_rgb, check_color


class ClipScorer:
    """Scores pictures against texts and against each other.

    Embeddings are unit vectors in float32 on the CPU. All cosines are raw (in [-1, 1], neither scaled by 2.5 nor cut at
    0) but those of `clip_score`; conventions and sources: `linea_diffusion.scoring.figures.SCORES`.

    Args:
        model: ``shapeland-clip`` (embedded), an open_clip architecture, a folder with ``open_clip_config.json``, or a
            Hub id (``org/name`` or ``hf-hub:org/name``) of an open_clip model.
        pretrained: for an architecture: a pretrained tag of open_clip, a local checkpoint file, or a folder with one.
        device: where to score.
        dtype: of the weights: ``torch.float32``, ``torch.float16`` or ``torch.bfloat16``.
        batch_size: pictures or texts at once.
        cache_size: embeddings that are kept, by content; 0 for none.
        mean: of the channels in the preprocessing, for weights that do not say it: a bare checkpoint file whose
            architecture was trained with several, or with none that is known.
        std: likewise.
        interpolation: likewise: ``bicubic`` or ``bilinear``.
        resize_mode: likewise: ``shortest`` (cut to a square), ``longest`` (padded) or ``squash``.
        quick_gelu: activation, for a bare checkpoint file of an architecture that was trained with both.
        background: colour that pictures with transparency are pasted on, such as ``white``; without one they are
            refused, because the figures would depend on a colour that nobody chose.

    Attributes:
        name: of model and weights, for tables.
        scale: of cosines in a softmax: CLIP's own inverse temperature.
        cache: `EmbeddingCache` of texts and pictures.

    Raises:
        LineaError: unknown model or tag, weights that cannot be had, preprocessing or activation that is not known or
            does not fit the weights, or numbers that make no sense.
    """

    def __init__(
        self,
        model: str = "shapeland-clip",
        pretrained: str | None = None,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        batch_size: int = 64,
        cache_size: int = 4096,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        interpolation: str | None = None,
        resize_mode: str | None = None,
        quick_gelu: bool | None = None,
        background: str | None = None,
    ) -> None:
        if batch_size < 1 or cache_size < 0:
            raise LineaError(
                f"got batch_size={batch_size} and cache_size={cache_size}: expected at least 1 and at least 0"
            )
        if background is not None:
            check_color(background)
        self.device, self.dtype, self.batch_size = torch.device(device), dtype, batch_size
        self.background = background
        loaded = load_clip(
            model, pretrained, device=self.device, dtype=dtype, quick_gelu=quick_gelu,
            mean=mean, std=std, interpolation=interpolation, resize_mode=resize_mode,
        )  # fmt: skip
        self.name, self.model = loaded.name, loaded.model
        self.preprocess, self.tokenizer = loaded.preprocess, loaded.tokenizer
        self.scale = self.model.logit_scale.exp().item()
        self._spelled: set[str] = set()
        self.cache = EmbeddingCache(cache_size)

    def embed_images(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """Unit embeddings of n pictures: (n, e), float32.

        Raises:
            LineaError: no pictures, or one that RGB cannot hold: more than 8 bits, or transparency and no background.
        """
        if not images:
            raise LineaError("got no pictures to score: expected at least one")
        pictures = [as_rgb(image, background=self.background) for image in images]
        keys = [("image", picture_key(picture)) for picture in pictures]
        return self.cache.embed(pictures, keys, self._encode_images, batch_size=self.batch_size)

    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit embeddings of n texts: (n, e), float32.

        Raises:
            LineaError: no texts, or one that is longer than the model reads.
        """
        if isinstance(texts, str) or not texts:
            raise LineaError(f"got texts {texts!r}: expected a list with at least one")
        for text in dict.fromkeys(texts):
            self._check_length(text)
        self._tell_spelled(texts)
        keys = [("text", text) for text in texts]
        return self.cache.embed(list(texts), keys, self._encode_texts, batch_size=self.batch_size)

    def text_similarity(self, images: Sequence[Image.Image], texts: str | Sequence[str]) -> torch.Tensor:
        """Raw cosine of each picture with its text (or with one text for all): (n,)."""
        texts = [texts] * len(images) if isinstance(texts, str) else texts
        if len(texts) != len(images):
            raise LineaError(f"got {len(images)} pictures and {len(texts)} texts: expected one text, or one each")
        return cosine(self.embed_images(images), self.embed_texts(texts))

    def clip_score(self, images: Sequence[Image.Image], texts: str | Sequence[str]) -> torch.Tensor:
        """CLIPScore 2.5*max(cosine, 0) of each picture with its text (arXiv 2104.08718): (n,) in [0, 2.5]."""
        return clip_score(self.text_similarity(images, texts))

    def style_probability(self, images: Sequence[Image.Image], text: str, neutral: str) -> torch.Tensor:
        """Zero-shot probability of `text` against `neutral` at CLIP's own temperature: (n,) in [0, 1].

        The measure of Linear-AcT (arXiv 2410.23054), which weighs "A picture of a {style}" against
        "A picture of something".
        """
        return self.zero_shot(images, [text, neutral])[:, 0]

    def zero_shot(self, images: Sequence[Image.Image], texts: Sequence[str]) -> torch.Tensor:
        """Probabilities of k texts for n pictures: (n, k), softmax of CLIP's scaled cosines."""
        return self.probabilities(self.embed_images(images), self.embed_texts(texts))

    def probabilities(self, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """`zero_shot` from unit embeddings: (n, e) and (k, e) -> (n, k)."""
        return text_probabilities(images, texts, scale=self.scale)

    def image_similarity(self, images: Sequence[Image.Image], references: Sequence[Image.Image]) -> torch.Tensor:
        """Raw cosine of each picture with its reference: (n,)."""
        self._check_references(images, references)
        return cosine(self.embed_images(images), self.embed_images(references))

    def directional_similarity(
        self, images: Sequence[Image.Image], references: Sequence[Image.Image], text: str, neutral: str
    ) -> torch.Tensor:
        """Cosine of each picture's change since its reference with the change from `neutral` to `text`: (n,).

        The measure of StyleGAN-NADA (arXiv 2108.00946); in [-1, 1], NaN for a picture that did not change.
        """
        self._check_references(images, references)
        style, plain = self.embed_texts([text, neutral])
        return directional_similarity(self.embed_images(images), self.embed_images(references), style, plain)

    def _check_references(self, images: Sequence[Image.Image], references: Sequence[Image.Image]) -> None:
        if len(images) != len(references):
            raise LineaError(f"got {len(images)} pictures and {len(references)} references: expected equally many")

    def _check_length(self, text: str) -> None:
        allowed = self.tokenizer.context_length
        length = text_length(self.tokenizer, text)
        if length > allowed:
            raise LineaError(
                f"got a text of {length} tokens for CLIP {self.name!r}, {text[:40]!r}...: expected at most {allowed}, "
                "those for begin and end included; the rest would not be read, so shorten it"
            )

    def _tell_spelled(self, texts: Sequence[str]) -> None:
        """Warn, once for each word, of those that the tokenizer does not know."""
        words = [one for one in spelled_words(texts, [self.tokenizer], word_pieces) if one not in self._spelled]
        if words:
            self._spelled.update(words)
            warnings.warn(
                f"got {listed_words(words)} in texts for CLIP {self.name!r}, which its tokenizer does not know: "
                "expected words that it was trained on, or another CLIP; these say nothing to it, whatever is seen",
                stacklevel=4,
            )

    @torch.no_grad()
    def _encode_images(self, images: Sequence[Image.Image]) -> torch.Tensor:
        batch = torch.stack([self.preprocess(image) for image in images]).to(self.device, self.dtype)
        return normalize(self.model.encode_image(batch).float(), dim=-1).cpu()

    @torch.no_grad()
    def _encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        tokens = self.tokenizer(list(texts)).to(self.device)
        return normalize(self.model.encode_text(tokens).float(), dim=-1).cpu()
