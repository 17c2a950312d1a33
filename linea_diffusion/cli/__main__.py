"""``python -m linea_diffusion.cli`` is ``linea``, for launchers that start modules."""

from . import main

main()
