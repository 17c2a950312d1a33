"""Scoring: CLIP scores of pictures, and what tables and intervals make of many.

    figures (the one table of names, conventions, meanings) -> formulas (a figure's computation)
    clip_scorer -> clip_models, embedding_cache; entries (pictures made anywhere, with prompts)
    statistics, resampling, equal_amount (intervals, curves, comparison at equal effect), tables (CSV)

Imports images, shapeland (the embedded CLIP), concepts.
"""
