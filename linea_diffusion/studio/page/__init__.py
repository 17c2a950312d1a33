"""The page: what of the studio is Gradio, and the pieces of it that are our own HTML. Imports studio."""

from __future__ import annotations

from importlib.util import find_spec

from ...errors import LineaError


def require_gradio() -> None:
    """Raise if there is no Gradio.

    Raises:
        LineaError: so it is.
    """
    if find_spec("gradio") is None:
        raise LineaError('got no Gradio to make the page with: expected pip install "linea-diffusion[studio]"')
