"""Whose job is it: jobs are dealt out by digest, so that processes need not talk to each other.

A launcher (torchrun, ``accelerate launch``, a cluster scheduler) says in the environment which process this is. The
same job always goes to the same process of as many; what happened before is read from the manifest shards of all.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from ...errors import LineaError


@dataclass(frozen=True)
class Share:
    """One process of several.

    Attributes:
        rank: which one, from 0.
        world: how many there are.
    """

    rank: int = 0
    world: int = 1

    def owns(self, digest: str) -> bool:
        """Whether a job is this process' own."""
        return int(digest[:15], 16) % self.world == self.rank

    @property
    def is_main(self) -> bool:
        """Whether this process shows progress and reports bad lines."""
        return self.rank == 0


def process_share() -> Share:
    """What ``RANK`` and ``WORLD_SIZE`` in the environment say; all of it without them.

    Raises:
        LineaError: they are not whole numbers that fit.
    """
    rank, world = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    if not (rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
        raise LineaError(
            f"got RANK={rank!r} and WORLD_SIZE={world!r} in the environment: expected 0 <= RANK < WORLD_SIZE, as "
            "torchrun sets them; unset both for one process"
        )
    return Share(int(rank), int(world))
