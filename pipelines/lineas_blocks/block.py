"""Steering for diffusers' modular pipelines: any blocks, with a dial.

    from diffusers import FluxAutoBlocks, ModularPipelineBlocks
    blocks = ModularPipelineBlocks.from_pretrained(
        "pipelines/lineas_blocks", trust_remote_code=True, blocks=FluxAutoBlocks()
    )
    pipe = blocks.init_pipeline("black-forest-labs/FLUX.1-dev")
    pipe.load_components()
    images = pipe(prompt="a red heart", steering="neon", steering_strength=0.7, output="images")

One block of a workflow is steered as well: put ``LinEASBlocks(blocks.sub_blocks["denoise"])`` in its place.
A modular pipeline that is made already is wrapped: ``LinEASDiffusionPipeline(pipe)``.
"""

from linea_diffusion import LinEASBlocks

__all__ = ["LinEASBlocks"]
