"""The report: one HTML file with pictures, dials and curves that opens anywhere, without a network; figures.

    grid_page (what is in it) -> score_sections, fact_sections, inline_images -> page (one HTML file)
    plots (what figures show) -> figure_style; depth (where in a model an activation is)

Imports scoring, maps.
"""
