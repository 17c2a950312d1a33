"""Tiny pipelines of diffusers' real classes, with random weights and tokenizers of their own: nothing is downloaded."""
