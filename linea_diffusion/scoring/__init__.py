"""Scoring: pictures, CLIP scores of them, and what tables and intervals make of many.

    images/ (opened, drawn side by side with words, saved with what they were made from)
    figures (the one table of names, conventions, meanings) -> formulas (a figure's computation)
    clip_scorer -> clip_models, embedding_cache; entries (pictures made anywhere, with prompts)
    statistics, resampling, equal_amount (intervals, curves, comparison at equal effect), tables (CSV)

Imports shapeland (the embedded CLIP), concepts.
"""
