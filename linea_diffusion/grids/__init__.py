"""Grids: pictures in rows and columns, each row from one noise, labelled, scored, drawn and saved.

    kinds (what rows and columns are) -> plans -> rendering (in batches of whole rows) -> cells
          -> grid_scores -> sheet (one picture), animation, image_folder, records (what it was made from)

`style_grid.StyleGrid` ties it together.
"""

from .style_grid import StyleGrid

__all__ = ["StyleGrid"]
