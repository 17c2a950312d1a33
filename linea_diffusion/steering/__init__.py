"""Steering: how activations of a frozen model are read and moved while it runs.

    dial (what is asked of a call) -> steer (what is done to each activation) <- calls/ (what goes on in one call)
    addresses and presets (which module), activations (a site, read or moved by a hook), affine/ (one map, and what it
    does at a strength), weights/ (the same in a layer's own numbers); hooks (methods listened to and replaced)

Imports errors, and torch; neither diffusers nor transformers. Maps are any mapping from names to `AffineMap`: what is
made of them for people stands above.
"""
