"""A service whose requests share calls, each with its own prompt, seed, styles and strengths.

python -m examples.service
curl localhost:8000/predict --json '{"prompt": "a red heart", "strength": {"neon": 0.7}}' > heart.png
"""

import io

import torch
from fastapi import Response
from litserve import LitAPI, LitServer

from linea_diffusion import LineaError, LinEASDiffusionPipeline


def opened():
    """A pipeline of two styles."""
    pipe = LinEASDiffusionPipeline.from_pretrained("shapeland-unet")
    pipe.load_steering("neon", "neon")
    pipe.load_steering("mosaic", "mosaic")
    return pipe


def paint(pipe, asked, **settings):
    """A picture or an error for each request; one that the pipeline refuses takes no other along."""
    try:
        return pipe(
            [one["prompt"] for one in asked],
            strength=[one.get("strength", {}) for one in asked],
            generator=[torch.Generator().manual_seed(one.get("seed", 0)) for one in asked],
            **settings,
        ).images
    except LineaError as error:
        return [error] if len(asked) == 1 else [made for one in asked for made in paint(pipe, [one], **settings)]


class Pictures(LitAPI):
    """Requests that come while a call runs share the next one; the settings of calls are the same for all."""

    def __init__(self, open=opened, most=16, **settings):
        super().__init__(max_batch_size=most, batch_timeout=0.02)
        self.open, self.settings = open, settings

    def setup(self, device):
        """Once, in each worker."""
        self.pipe = self.open().to(device)

    def batch(self, inputs):
        """Requests as they are."""
        return inputs

    def predict(self, asked):
        """A picture or an error for each."""
        return paint(self.pipe, asked, **self.settings)

    def unbatch(self, output):
        """One for each request."""
        return output

    def encode_response(self, made):
        """A PNG, or a sentence."""
        if isinstance(made, LineaError):
            return Response(str(made), status_code=400)
        made.save(file := io.BytesIO(), "PNG")
        return Response(file.getvalue(), media_type="image/png")


if __name__ == "__main__":
    LitServer(Pictures(num_inference_steps=8)).run(port=8000)
