"""Training: sparse affine maps end to end across denoising steps.

    train -> iteration (a batch's gradient) -> trajectory (a run of the pipeline) -> loss/ (what is compared)
          -> optimizer, sparsity, checkpoints; calibration/ (an even dial at the end)

Imports pipelines, maps, steering, concepts.
"""
