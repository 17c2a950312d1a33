"""The one way to run a benchmark: ``python -m benchmarks NAME [options]``; without a name, what there is."""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path

from linea_diffusion.cli import main


def names() -> dict[str, str]:
    """Name of a benchmark -> the first line of what it says of itself. A file with a function ``main`` is one."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(one, ast.FunctionDef) and one.name == "main" for one in tree.body):
            found[path.stem] = (ast.get_docstring(tree) or "").splitlines()[0]
    return found


def run(arguments: Sequence[str]) -> None:
    """Run the benchmark that the first argument names."""
    known = names()
    if not arguments or arguments[0] in ("-h", "--help"):
        print("python -m benchmarks NAME [options]; NAME --help lists the options\n")
        print("\n".join(f"{name:<18} {line}" for name, line in known.items()))
        return
    name, *rest = arguments
    if name not in known:
        raise SystemExit(f"got benchmark {name!r}: expected one of {', '.join(known)}")
    module = import_module(f"benchmarks.{name}")
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_options(parser)
    options = parser.parse_args(rest)
    if "threads" in options:
        import torch

        torch.set_num_threads(options.threads)
    module.main(options)


if __name__ == "__main__":
    main(partial(run, sys.argv[1:]))
