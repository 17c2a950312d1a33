"""A Hugging Face Space: `linea studio` on the embedded model, for anybody, so that nothing is pushed from it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from linea_diffusion import ClipScorer, LinEASDiffusionPipeline
from linea_diffusion.studio.page.app import served
from linea_diffusion.studio.workbench import SharedModel, load_known_styles

MODEL = os.environ.get("LINEA_MODEL", "shapeland-unet")


def main() -> None:
    """Serve the page where a Space expects it, until the Space ends."""
    folder = Path(os.environ.get("LINEA_FOLDER", "studio"))
    folder.mkdir(parents=True, exist_ok=True)
    pipe = LinEASDiffusionPipeline.from_pretrained(MODEL)
    load_known_styles(pipe, MODEL, folder)
    scorer = ClipScorer if MODEL.startswith("shapeland") else None
    model = SharedModel(pipe, folder, scorer=scorer, is_private=False)
    port = int(os.environ.get("GRADIO_SERVER_PORT", "7860"))
    with served(model, host=os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0"), port=port) as address:
        print(f"open {address}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
