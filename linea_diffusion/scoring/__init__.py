"""Scoring: pictures, CLIP scores of them, and what tables and intervals make of many.

    images -> clip_scorer -> clip_models, embedding_cache; scores (names and meanings), picture_scores (of files)
    statistics, resampling, equal_amount (intervals, curves, comparison at equal effect), tables (CSV)

Imports shapeland (the embedded CLIP), concepts.
"""
