"""Steering: how activations of a frozen model are read and moved while it runs.

    addresses (which module) -> activations (read or moved by a hook) -> steer (all of a call)
    affine/ (one map and what it does at a strength), sites (a map at its place), rows and schedule (for whom, when),
    scopes and hooks (within which call), acted (it did happen), weights/ (the same in a layer's own numbers)

Imports errors, and torch; neither diffusers nor transformers.
"""
