"""Pipelines: any diffusers text-to-image pipeline with a strength.

    pipeline (the wrapper) -> adapters, adapter_methods (sets of maps by name) -> prompts, encoding (rows)
    loading, steered_class (what it wraps), calling (frozen, with gradients, seeds), overflow (numbers not finite)
    rendering/ (requests in, pictures out), sizing/ (memory of calls, counted)

Imports maps, shapeland (names of the embedded models), steering, concepts.
"""
