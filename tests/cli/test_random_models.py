"""Random models: as large as the real ones, built offline, steered like any other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from linea_diffusion import LineaError, LinEASDiffusionPipeline
from linea_diffusion.cli.bench.bench import BenchConfig, bench
from linea_diffusion.cli.bench.random_models import RANDOM_MODELS, random_pipeline
from linea_diffusion.cli.options.machines import RANDOM_HELP
from linea_diffusion.steering.preset_names import PRESET_MEANINGS

PARAMETERS = {
    "random-sdxl": {
        "unet": 2_567_463_684,
        "vae": 83_653_863,
        "text_encoder": 123_060_480,
        "text_encoder_2": 694_659_840,
    },
    "random-sd3.5-medium": {"vae": 83_819_683, "text_encoder": 123_650_304, "text_encoder_2": 694_659_840},
    "random-flux.1": {"transformer": 11_901_408_320, "vae": 83_819_683, "text_encoder": 123_060_480},
}
"""Of the real models, published; the transformer of Stable Diffusion 3.5 medium is checked by its layers."""


@pytest.mark.parametrize("name", RANDOM_MODELS)
def test_random_models_have_as_many_weights_as_the_real_ones(name):
    with torch.device("meta"):
        parts = RANDOM_MODELS[name][1](False)
    counts = {key: sum(p.numel() for p in m.parameters()) for key, m in parts.items() if hasattr(m, "parameters")}
    assert counts | PARAMETERS[name] == counts
    if name == "random-sd3.5-medium":
        blocks = parts["transformer"].transformer_blocks
        assert [block.attn2 is not None for block in blocks] == [True] * 13 + [False] * 11
        assert parts["transformer"].pos_embed.pos_embed.shape == (1, 384**2, 1536)


@pytest.mark.parametrize("name", RANDOM_MODELS)
def test_random_models_are_steered_fused_and_trained(name):
    before = torch.get_rng_state()
    small = LinEASDiffusionPipeline(random_pipeline(name, dtype=torch.bfloat16, tiny=True))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_default_dtype() == torch.float32
    assert {p.dtype for p in small.components["vae"].parameters()} == {torch.bfloat16}
    small.set_progress_bar_config(disable=True)
    config = BenchConfig(what=("generation", "training"), batch_size=2, rounds=1, steps=1, height=32, width=32)
    rows = bench(small, config).rows
    assert all(row.ratio is not None for row in rows)
    prompts = [small(prompt, generator=torch.Generator().manual_seed(0), output_type="np", **config.sizes,
                     num_inference_steps=1).images for prompt in ("a red heart", "a blue fish")]  # fmt: skip
    assert np.isfinite(prompts[0]).all()
    assert not np.array_equal(*prompts), "the prompt is read"


def test_random_models_are_the_same_every_time_and_their_names_are_known():
    one, two = (random_pipeline("random-flux.1", tiny=True).transformer.state_dict() for _ in range(2))
    assert all(torch.equal(one[key], two[key]) for key in one)
    with pytest.raises(LineaError, match="expected one of random-sdxl, "):
        random_pipeline("random-sd9")


@pytest.mark.parametrize("name", RANDOM_MODELS)
def test_modules_of_real_models_are_counted_without_weights(linea, name):
    code, out, _ = linea("modules", name)
    assert code == 0
    lines = [line.split() for line in out.partition("--modules ")[2].splitlines()[1:]]
    rows = {words[0]: (int(words[1]), int(words[2])) for words in lines}
    assert list(rows) == list(PRESET_MEANINGS)
    assert rows["text-attention"][1] + rows["denoiser-attention"][1] == rows["attention"][1] > 1e6
    assert f"{rows['attention'][0]} modules" in out
    assert name in RANDOM_HELP
    assert "--modules " not in linea("modules", name, "--modules", "norms")[1]
