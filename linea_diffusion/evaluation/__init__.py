"""Evaluation: ways to steer beside each other, with intervals.

    methods (names) -> baselines; evaluate (their pictures and scores) -> comparison (at equal amount) -> page (report)

Imports grids (for the report), training, pipelines, scoring.
"""
