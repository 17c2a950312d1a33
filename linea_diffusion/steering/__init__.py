"""Steering: how activations of a frozen model are read and moved while it runs.

    dial (what is asked of a call) -> steer (what is done to each activation) <- call (what goes on in one call)
    addresses and presets (which module), activations (a site, read or moved by a hook), affine/ (one map, and what it
    does at a strength), rows and schedule (for whom, when), scopes and hooks (within which call), acted (it did
    happen), weights/ (the same in a layer's own numbers)

Imports errors, and torch; neither diffusers nor transformers. Maps are any mapping from names to `AffineMap`: what is
made of them for people stands above.
"""
