"""`Painter`: jobs of one shape in, their images with all that is written about them out; in any process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from PIL import Image

from ..errors import LineaError
from ..pipelines.pipeline import LinEASDiffusionPipeline
from ..pipelines.rendering.batch_size import BatchSize
from ..pipelines.rendering.render import render_group
from ..steering.addresses import model_name
from .describing import metadata_row, recipe_of, scores_of
from .folder.saver import Painted
from .jobs.jobs import Job, JobMaker

if TYPE_CHECKING:
    from ..scoring.clip_scorer import ClipScorer


class Painter:
    """Paints jobs with a pipeline.

    Args:
        pipe: its adapters stay as they are.
        maker: made the jobs.
        size: how many at once.
        scorer: of the figures, or None.
    """

    def __init__(
        self, pipe: LinEASDiffusionPipeline, maker: JobMaker, size: BatchSize, scorer: ClipScorer | None
    ) -> None:
        self.maker, self._size, self._scorer = maker, size, scorer
        self._model = model_name(pipe.base) or type(pipe.base).__name__
        self._pipe = LinEASDiffusionPipeline(pipe.base)

    def paint(self, jobs: Sequence[Job]) -> tuple[list[Painted], list[tuple[Job, LineaError]]]:
        """What came of jobs of one shape: those that are painted, and those that failed.

        Raises:
            LineaError: a broken device.
        """
        self._pipe.steering.clear()  # the batch's styles and no others, in the order in which they act
        self._pipe.steering.update({name: self.maker.sets[name] for job in jobs for name in job.strength})
        outcomes = list(render_group(self._pipe, jobs, self._size))
        failed = [(job, outcome) for job, outcome in outcomes if isinstance(outcome, LineaError)]
        images = [(job, outcome) for job, outcome in outcomes if not isinstance(outcome, LineaError)]
        return self.described(images), failed

    def described(self, images: Sequence[tuple[Job, Image.Image]]) -> list[Painted]:
        """Images with their lines, scored where there is a scorer."""
        sets, checked = self.maker.sets, self._pipe.components.get("safety_checker") is not None
        figures = scores_of(self._scorer, [job for job, _ in images], [image for _, image in images], sets)
        return [
            Painted(
                job, image,
                metadata_row(
                    job, image, ending=self.maker.ending, model=self._model, sets=sets, figures=scores,
                    nsfw=False if checked else None,
                ),
                recipe_of(job, model=self._model, sets=sets),
            )
            for (job, image), scores in zip(images, figures, strict=True)
        ]  # fmt: skip


@contextmanager
def silent(pipe: Any) -> Iterator[None]:
    """Within the context a pipeline shows no progress bar of its own."""
    before = dict(getattr(pipe, "_progress_bar_config", {}))
    pipe.set_progress_bar_config(**before | {"disable": True})
    try:
        yield
    finally:
        pipe.set_progress_bar_config(**before)


def wrapped(pipe: Any) -> LinEASDiffusionPipeline:
    """A pipeline that steers, over one that does not."""
    return pipe if isinstance(pipe, LinEASDiffusionPipeline) else LinEASDiffusionPipeline(pipe)
