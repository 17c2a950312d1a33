"""Maps on disk, on the Hub and in other programs: the methods of `SteeringMaps` that write and read files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import torch

from ..steering.affine.affine_map import AffineMap
from .card import Samples
from .lora.export import LARGEST_LOSS, LoraReport, save_lora
from .lora.reading import read_lora
from .storage import push_maps, read_maps, write_maps

if TYPE_CHECKING:
    from .steering_maps import SteeringMaps


class FileMethods:
    """What `SteeringMaps` does with files.

    Attributes:
        metadata: facts.
        on_saved: called once when the maps are on disk or on the Hub, if anything waits for that.
    """

    metadata: dict[str, Any]
    on_saved: Callable[[], None] | None

    if TYPE_CHECKING:

        def numbers(self) -> dict[str, torch.Tensor]:
            """What is stored."""

        @classmethod
        def of(cls, maps: Mapping[str, AffineMap], metadata: Mapping[str, Any] | None = None) -> Self:
            """A set of the given maps."""

        @classmethod
        def from_numbers(cls, numbers: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]) -> Self:
            """A set of maps from what is stored."""

    def save_lora(
        self,
        path: str | Path,
        pipe: Any,
        program: str = "comfyui",
        *,
        dtype: torch.dtype = torch.float16,
        largest_loss: float = LARGEST_LOSS,
        approximate_bias: bool = False,
    ) -> LoraReport:
        """Write these maps as a LoRA file, for programs in which a slider turns it: weight s is strength s.

        A map on what a layer puts out is a change of its weight and bias, exactly proportional to the strength. The
        file is of one checkpoint's weights: on another it is an approximation. Not carried: calibration (even steps are
        named in the file's header), a strength per picture, a part of the schedule.

        Args:
            path: ends in ``.safetensors``.
            pipe: the pipeline that the maps are for, a diffusers one or a `LinEASDiffusionPipeline`.
            program: that reads the file: ``comfyui``, ``forge``, ``a1111``, ``invokeai`` or ``diffusers``.
            dtype: of matrices.
            largest_loss: share of the effect that may be lost; more is refused.
            approximate_bias: carry a bias that the program would drop as one more rank, nearly.

        Returns:
            What the file carries, and what it loses, measured on latents.

        Raises:
            LineaError: a model whose LoRA files the program does not read, maps for parts of the schedule, or a loss
                that is larger than allowed.
        """
        maps = cast("SteeringMaps", self)
        return save_lora(
            maps, Path(path), pipe, program, dtype=dtype, largest_loss=largest_loss, approximate_bias=approximate_bias
        )

    @classmethod
    def from_lora(cls, file: str | Path, pipe: Any) -> Self:
        """Maps from a LoRA file that changes layers as maps of their outputs do, such as one of `save_lora`.

        Args:
            file: a ``.safetensors`` file with names of any program that `save_lora` writes for.
            pipe: the pipeline that the file is for.

        Raises:
            LineaError: no such file, layers of another model, or changes that are none of a layer's output.
        """
        maps, facts = read_lora(Path(file), pipe)
        return cls.of(maps, facts)

    def save_pretrained(self, folder: str | Path, *, samples: Samples | None = None, dense: bool = False) -> None:
        """Write ``steering.safetensors``, ``config.json`` and a model card ``README.md`` into `folder`.

        Args:
            folder: made when missing.
            samples: pictures for the model card, such as `render_samples` makes.
            dense: write every tensor whole, zeros too, for programs that read safetensors and know nothing of index and
                value: ``<activation>.scale_offset`` is w - 1, ``<activation>.shift`` is b.
        """
        write_maps(Path(folder), self.numbers(), self.metadata, samples=samples, dense=dense)
        self._saved()

    @classmethod
    def from_pretrained(cls, source: str | Path, *, revision: str | None = None, token: str | None = None) -> Self:
        """Read maps that `save_pretrained` wrote: a local folder or file, or a Hugging Face Hub id.

        Args:
            source: where they are.
            revision: branch, tag or commit on the Hub.
            token: for private repositories; the logged-in user's when left out.

        Raises:
            LineaError: nothing there, or a file that is not a valid set of maps.
        """
        return cls.from_numbers(*read_maps(str(source), revision=revision, token=token))

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = False,
        token: str | None = None,
        commit_message: str = "Upload steering maps",
        revision: str | None = None,
        samples: Samples | None = None,
    ) -> str:
        """Upload the maps, their facts and a model card to the Hugging Face Hub; returns the commit's address.

        Args:
            repo_id: ``namespace/name``, or a name in the user's own namespace.
            private: make a new repository private.
            token: one that may write; default the one of ``hf auth login``.
            commit_message: first line of the commit.
            revision: branch to push to, made when missing; default ``main``.
            samples: pictures for the model card, such as `render_samples` makes.

        Raises:
            LineaError: not logged in, not allowed, no network; the message says what to do.
        """
        address = push_maps(
            repo_id, self.numbers(), self.metadata,
            private=private, token=token, commit_message=commit_message, revision=revision, samples=samples,
        )  # fmt: skip
        self._saved()
        return address

    def _saved(self) -> None:
        if self.on_saved is not None:
            self.on_saved()
            self.on_saved = None
