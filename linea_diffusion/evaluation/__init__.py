"""Evaluation: ways to steer beside each other, with intervals.

    method_names <- methods -> baselines; evaluate (renders and scores them) -> records (means, curves, CSV)
        -> comparison (at equal amount) -> evaluation_page (report)

Imports grids (for the report), training, pipelines, scoring.
"""
