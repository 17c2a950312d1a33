"""CLIP scores with open_clip: any architecture, local or embedded weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import open_clip
import torch
from PIL import Image
from torch.nn.functional import normalize

from .errors import LineaError
from .modules import nearest_name
from .shapeland import CLIPS


class ClipScorer:
    """Scores pictures against texts and against each other.

    All cosines are raw (in [-1, 1], neither scaled by 2.5 nor cut at 0).

    Args:
        model: ``shapeland-clip`` (embedded), an open_clip architecture, or a folder with ``open_clip_config.json``.
        pretrained: for an architecture: a pretrained tag of open_clip or a local checkpoint file.
        device: where to score.

    Raises:
        LineaError: unknown model or tag, weights that cannot be had, an activation that does not fit the weights.
    """

    def __init__(
        self, model: str = "shapeland-clip", pretrained: str | None = None, *, device: str | torch.device = "cpu"
    ) -> None:
        name = _identifier(model, pretrained)
        try:
            self.model, self.preprocess = open_clip.create_model_from_pretrained(
                name, pretrained=pretrained, device=device
            )
            self.tokenizer = open_clip.get_tokenizer(name)
        except (OSError, RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
            raise LineaError(
                f"got CLIP {model!r} with weights {pretrained!r}, which cannot be loaded here ({reason}): expected "
                f"reachable weights; without network use {', '.join(CLIPS)} or a local checkpoint file"
            ) from None
        self.model.eval()
        self.device = torch.device(device)

    @torch.no_grad()
    def embed_images(self, images: Sequence[Image.Image], *, batch_size: int = 64) -> torch.Tensor:
        """Unit embeddings of n pictures: (n, e), float32."""
        parts = []
        for start in range(0, len(images), batch_size):
            batch = torch.stack([self.preprocess(image.convert("RGB")) for image in images[start : start + batch_size]])
            parts.append(self.model.encode_image(batch.to(self.device)).float())
        return normalize(torch.cat(parts), dim=-1).cpu()

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit embeddings of n texts: (n, e), float32."""
        tokens = self.tokenizer(list(texts)).to(self.device)
        return normalize(self.model.encode_text(tokens).float(), dim=-1).cpu()

    def text_similarity(self, images: Sequence[Image.Image], texts: str | Sequence[str]) -> torch.Tensor:
        """Raw cosine of each picture with its text (or with one text for all): (n,)."""
        texts = [texts] * len(images) if isinstance(texts, str) else texts
        if len(texts) != len(images):
            raise LineaError(f"got {len(images)} pictures and {len(texts)} texts: expected one text, or one each")
        distinct = list(dict.fromkeys(texts))
        rows = [distinct.index(text) for text in texts]
        return (self.embed_images(images) * self.embed_texts(distinct)[rows]).sum(-1)

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
        return (self.model.logit_scale.exp().item() * (images @ texts.T)).softmax(-1)

    def image_similarity(self, images: Sequence[Image.Image], references: Sequence[Image.Image]) -> torch.Tensor:
        """Raw cosine of each picture with its reference: (n,)."""
        return (self.embed_images(images) * self.embed_images(references)).sum(-1)


def _identifier(model: str, pretrained: str | None) -> str:
    """What open_clip calls the model; errors where open_clip would warn or go on with random weights."""
    folder = CLIPS.get(model, Path(model))
    if (folder / "open_clip_config.json").is_file():
        return f"local-dir:{folder}"
    if model.startswith("hf-hub:"):
        return model
    known = open_clip.list_models()
    if model not in known:
        raise LineaError(
            f"got CLIP model {model!r}: expected {', '.join(CLIPS)}, a folder with open_clip_config.json, hf-hub:ID or "
            f"an open_clip architecture; nearest: {nearest_name(model, [*CLIPS, *known])}"
        )
    tags = open_clip.list_pretrained_tags_by_model(model)
    if pretrained is None or (pretrained not in tags and not Path(pretrained).is_file()):
        raise LineaError(
            f"got weights {pretrained!r} for CLIP {model!r}: expected a checkpoint file or one of {', '.join(tags)}"
        )
    quick = open_clip.get_pretrained_cfg(model, pretrained).get("quick_gelu") if pretrained in tags else None
    config = open_clip.get_model_config(model) or {}
    if quick is not None and bool(quick) != bool(config.get("quick_gelu", False)):
        raise LineaError(
            f"got weights {pretrained!r} for CLIP {model!r}, whose activation is not the one they were trained with: "
            f"expected {model + '-quickgelu' if quick else model.removesuffix('-quickgelu')!r}"
        )
    return model
