"""Batch generation that can be left alone: jobs of a file in, an image folder with metadata out.

    jobs/ (read, expanded, with a digest) -> run (done already?) -> painting, here or by cluster and worker (Ray)
          -> folder/ (an image, then its line; metadata.jsonl, failures.jsonl)

`engine.generate_batch` ties it together. Imports pipelines, scoring, maps, concepts.
"""
