"""``python -m linea_diffusion.shapeland.pretrain WHAT --work DIR --out DIR``: make the embedded models anew.

WHAT is vae, clip, unet, dit, classifier, language, concepts, or all (the first six in order). A training that was
stopped goes on from its last checkpoint in the work folder when it is called again with the same arguments.
"""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path

import torch

from . import classifier, clip, concepts, dit, language, unet, vae
from .loop import Recipe

STAGES = {"vae": vae, "clip": clip, "unet": unet, "dit": dit, "classifier": classifier, "language": language}


def main() -> None:
    """Parse the command line and run the stages."""
    parser = argparse.ArgumentParser(
        prog="python -m linea_diffusion.shapeland.pretrain",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=[*STAGES, "concepts", "all"])
    parser.add_argument("--work", type=Path, default=Path("runs/shapeland"), help="renders and checkpoints")
    parser.add_argument("--out", type=Path, default=Path("runs/shapeland/out"), help="finished models")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="CPU threads of torch")
    for field in fields(Recipe):
        kind = float if field.type == "float" else int
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, help="instead of the recipe's own")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.what == "concepts":
        concepts.write(options.out)
        return
    changes = {f.name: getattr(options, f.name) for f in fields(Recipe) if getattr(options, f.name) is not None}
    for name in STAGES if options.what == "all" else [options.what]:
        stage = STAGES[name]
        stage.pretrain(options.work, options.out, replace(stage.RECIPE, **changes), device=options.device)


if __name__ == "__main__":
    main()
