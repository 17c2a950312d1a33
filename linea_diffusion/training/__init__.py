"""Training: sparse affine maps end to end across denoising steps.

    train (a pipeline) -> learning (any model) -> iteration (a batch's gradient) -> trajectory (the model runs once)
          -> loss/ (what is compared); optimizer, sparsity, checkpoints; calibration/ (an even dial at the end)
    runs (all that learning knows of a model) <- diffusion (a pipeline), with prompts_read and identity

Imports pipelines, maps, steering, concepts.
"""
