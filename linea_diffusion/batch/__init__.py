"""Batch generation that can be left alone: jobs of a file in, an image folder with metadata out.

    reading -> expanding -> jobs (resolved, with a digest) -> shares, index (whose job, done already?)
            -> pipelines.requests (groups of one shape), pipelines.rendering -> saving (image, then its line)
            -> merging (metadata.jsonl, failures.jsonl)

`engine.generate_batch` ties it together.
"""
