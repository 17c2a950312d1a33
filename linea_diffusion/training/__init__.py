"""Training: sparse affine maps end to end across denoising steps.

    train (a pipeline) -> learning (any model) -> iteration (a batch's gradient) -> trajectory (the model runs once)
          -> loss/ (what is compared); sparsity; state/ (optimiser, checkpoints); calibration/ (an even dial)
    runs (all that learning knows of a model) <- diffusion (a pipeline), with prompts_read; config, recipes

Imports pipelines, maps, steering, concepts.
"""
