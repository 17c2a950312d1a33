"""Evaluation: ways to steer beside each other, with intervals.

    methods (names) -> baselines; evaluate (renders and scores them) -> records (means, curves, CSV)
        -> comparison (at equal amount) -> page (report)

Imports grids (for the report), training, pipelines, scoring.
"""
