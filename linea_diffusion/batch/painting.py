"""`Painter`: jobs of one shape in, their images with all that is written about them out; in any process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from PIL import Image

from ..errors import LineaError
from ..pipelines.pipeline import LinEASDiffusionPipeline
from ..pipelines.rendering.batch_size import BatchSize
from ..pipelines.rendering.render import render_group
from ..scoring.images.saving import encode
from ..steering.addresses import model_name
from .describing import failure_row, metadata_row, recipe_of, scores_of
from .folder.folder import Row
from .jobs.jobs import Job, JobMaker

if TYPE_CHECKING:
    from ..scoring.clip_scorer import ClipScorer


class Painter:
    """Paints jobs of a maker with a pipeline, whose adapters stay as they are."""

    def __init__(
        self, pipe: LinEASDiffusionPipeline, maker: JobMaker, size: BatchSize, scorer: ClipScorer | None
    ) -> None:
        self.maker, self._size, self._scorer = maker, size, scorer
        self._model = model_name(pipe.base) or type(pipe.base).__name__
        self._pipe = LinEASDiffusionPipeline(pipe.base)

    def paint(self, jobs: Sequence[Job]) -> Iterator[tuple[Row, bytes | None]]:
        """What came of jobs of one shape: the line and the file of each image; a failure has a line and no file.

        They are painted when this returns; files are made as they are asked for, in any thread. A broken device is a
        `LineaError`.
        """
        self._pipe.steering.clear()  # the batch's styles and no others, in the order in which they act
        self._pipe.steering.update({name: self.maker.sets[name] for job in jobs for name in job.strength})
        outcomes = list(render_group(self._pipe, jobs, self._size))
        images = [(job, outcome) for job, outcome in outcomes if not isinstance(outcome, LineaError)]
        failures = [failure_row(job, outcome) for job, outcome in outcomes if isinstance(outcome, LineaError)]
        return chain(map(self._file, images, self.rows(images)), ((row, None) for row in failures))

    def rows(self, images: Sequence[tuple[Job, Image.Image]]) -> list[Row]:
        """The lines of images, scored where there is a scorer."""
        sets, nsfw = self.maker.sets, False if self._pipe.components.get("safety_checker") is not None else None
        figures = scores_of(self._scorer, [job for job, _ in images], [image for _, image in images], sets)
        return [
            metadata_row(job, image, model=self._model, figures=scores, nsfw=nsfw)
            for (job, image), scores in zip(images, figures, strict=True)
        ]

    def _file(self, painted: tuple[Job, Image.Image], row: Row) -> tuple[Row, bytes | None]:
        job, image = painted
        recipe = recipe_of(job, model=self._model, sets=self.maker.sets)
        try:
            return row, encode(image, self.maker.ending, recipe, lossless=False, one_text=True)
        except LineaError as error:
            return failure_row(job, error), None


def wrapped(pipe: Any) -> LinEASDiffusionPipeline:
    """A pipeline that steers, over one that does not."""
    return pipe if isinstance(pipe, LinEASDiffusionPipeline) else LinEASDiffusionPipeline(pipe)
