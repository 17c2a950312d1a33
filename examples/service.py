"""A service whose requests share calls, each with its own prompt, seed, styles and strengths.

uvicorn --factory examples.service:app
curl -G localhost:8000 -d prompt='a red heart' -d strength='{"neon": 0.7}' > heart.png
"""

import asyncio
import io
import json

import torch
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from linea_diffusion import LineaError, LinEASDiffusionPipeline


class Together:
    """Pictures of requests: those that come while a call runs are in the next one, at most so many."""

    def __init__(self, pipe, most=16, **settings):
        self.pipe, self.most, self.settings, self.waiting, self.work = pipe, most, settings, asyncio.Queue(), None

    async def __call__(self, **wanted):
        """The picture of a request, or the error that says why there is none."""
        self.work = self.work or asyncio.create_task(self.run())
        picture = asyncio.get_running_loop().create_future()
        await self.waiting.put((wanted, picture))
        return await picture

    async def run(self):
        """Call after call, as long as the service runs."""
        while True:
            group = [await self.waiting.get()]
            while len(group) < self.most and not self.waiting.empty():
                group.append(self.waiting.get_nowait())
            pictures = await asyncio.to_thread(self.paint, [one for one, _ in group])
            for (_, picture), made in zip(group, pictures, strict=True):
                picture.set_result(made)

    def paint(self, wanted):
        """A picture or an error for each; one that the pipeline refuses takes no other along."""
        try:
            return self.pipe(
                [one["prompt"] for one in wanted],
                strength=[one["strength"] for one in wanted],
                generator=[torch.Generator().manual_seed(one["seed"]) for one in wanted],
                **self.settings,
            ).images
        except LineaError as error:
            return [error] if len(wanted) == 1 else [made for one in wanted for made in self.paint([one])]


def service(pipe, **settings):
    """An app of a wrapped pipeline; settings are those of its calls, the same for all."""
    together = Together(pipe, **settings)

    async def picture(request):
        asked = request.query_params
        made = await together(
            prompt=asked["prompt"], seed=int(asked.get("seed", 0)), strength=json.loads(asked.get("strength", "{}"))
        )
        if isinstance(made, LineaError):
            return Response(str(made), status_code=400)
        made.save(file := io.BytesIO(), "PNG")
        return Response(file.getvalue(), media_type="image/png")

    return Starlette(routes=[Route("/", picture)])


def app():
    """The service of two styles."""
    pipe = LinEASDiffusionPipeline.from_pretrained("shapeland-unet")
    pipe.load_steering("neon", "neon")
    pipe.load_steering("mosaic", "mosaic")
    return service(pipe, num_inference_steps=8)
