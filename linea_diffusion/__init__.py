"""linea-diffusion: learn a style from words, then turn it from 0 to 1 on any diffusers pipeline.

Public names stand in ``__init__.pyi`` and are imported on first use, so that ``import linea_diffusion`` stays instant.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, _dir, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]
__all__.sort()


def __dir__() -> list[str]:
    return __all__
