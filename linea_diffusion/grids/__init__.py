"""Grids: pictures in rows and columns, each row from one noise, labelled, scored, drawn and saved.

    kinds (what rows and columns are) -> plans -> plan_rendering (in batches of whole rows)
          -> grid_scores -> sheet (one picture), animation, image_folder; report/ (one HTML file, figures)
    explore (dials in notebooks)

`style_grid.StyleGrid` ties it together. Imports pipelines, scoring, maps, concepts.
"""

from .style_grid import StyleGrid

__all__ = ["StyleGrid"]
