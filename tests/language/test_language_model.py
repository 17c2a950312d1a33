"""`LinEASLanguageModel`: texts in, texts out, in the manner of the image pipeline.

Evidence: identities against transformers' own `generate`, and what users can get wrong.
"""

from __future__ import annotations

import pytest
import torch
from transformers import pipeline

from linea_diffusion import LineaError, LinEASLanguageModel, SteeringMaps, train_steering_maps
from linea_diffusion.pipelines.language.tokens import padded, texts_of, tokens_of
from linea_diffusion.steering.language import LanguageModel, is_language_model, steerable
from linea_diffusion.training.recipes import recipe_for

from .families import FRIENDLY, PROMPTS, TOKENIZER, hooks_in, model_of, random_maps

NORM = "language_model.model.layers.0.input_layernorm"
GREEDY = {"max_new_tokens": 5, "do_sample": False}


@pytest.fixture
def lm() -> LinEASLanguageModel:
    made = LinEASLanguageModel(model_of("llama"))
    made.load_steering(random_maps({NORM: 16}, 1.0), "one")
    return made


def test_texts_are_continued_one_by_one_as_together(lm):
    together = lm.generate(PROMPTS, strength=[0.0, 0.5, 2.0], **GREEDY)
    assert together == [lm.generate(one, strength=s, **GREEDY)[0] for one, s in zip(PROMPTS, [0, 0.5, 2], strict=True)]
    assert together != lm.generate(PROMPTS, strength=0, **GREEDY)


def test_one_prompt_has_a_text_for_each_strength(lm):
    texts = lm.generate(PROMPTS[0], strength=[0.0, 1.0], **GREEDY)
    assert texts == [lm.generate(PROMPTS[0], strength=one, **GREEDY)[0] for one in (0, 1)]
    by_name = lm.generate(PROMPTS[0], strength=[{"one": 0.0}, {"one": 1.0}], **GREEDY)
    assert by_name == texts


@pytest.mark.parametrize("arguments", [GREEDY, {"max_new_tokens": 5, "do_sample": True}, {**GREEDY, "num_beams": 3}])
def test_strength_0_is_the_model_itself(lm, arguments):
    ids, mask = padded(tokens_of(lm.base, PROMPTS), lm.base, "left")
    torch.manual_seed(5)
    plain = lm.model.generate(input_ids=ids, attention_mask=mask, **arguments)
    torch.manual_seed(5)
    assert torch.equal(lm.generate(input_ids=ids, attention_mask=mask, strength=0, **arguments), plain)
    assert lm.generate(PROMPTS, strength=0, seed=5, **arguments) == texts_of(lm.base, plain[:, ids.shape[1] :])


def test_beams_and_sequences_have_the_strength_of_their_prompt(lm):
    arguments = {**GREEDY, "num_beams": 3, "num_return_sequences": 2}
    rows = lm.generate(PROMPTS, strength=[0.0, 1.0, 2.0], **arguments)
    alone = [lm.generate(one, strength=s, **arguments) for one, s in zip(PROMPTS, [0, 1, 2], strict=True)]
    assert rows == [text for texts in alone for text in texts]


def test_a_seed_leaves_other_draws_alone(lm):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    arguments = {"max_new_tokens": 5, "do_sample": True}
    first, again, other = (lm.generate(PROMPTS, seed=seed, **arguments) for seed in (1, 1, 2))
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("prompts", "arguments", "message"),
    [
        (PROMPTS, {"strength": [0.0, 1.0]}, "2 strengths and 3 prompts"),
        ([], {}, "no prompts"),
        (None, {}, "neither or both"),
        (PROMPTS, {"strength": float("nan")}, "finite number"),
        ([3], {}, "expected a text"),
        (PROMPTS, {"strength": [(0, 0), (1, 1)]}, "no schedule"),
    ],
)
def test_what_cannot_be_is_refused(lm, prompts, arguments, message):
    with pytest.raises(LineaError, match=message):
        lm.generate(prompts, **arguments)
    assert hooks_in(lm.model) == 0


def test_strengths_that_no_batch_fits_are_refused(lm):
    with lm.steering["one"].apply(lm, [0.0, 1.0]), pytest.raises(LineaError, match="one strength per prompt"):
        lm.model.generate(input_ids=torch.ones(3, 2, dtype=torch.long), **GREEDY)
    assert hooks_in(lm.model) == 0


def test_it_is_saved_with_its_maps(lm, tmp_path):
    lm.set_steering("one", 0.5)
    lm.save_pretrained(tmp_path)
    again = LinEASLanguageModel.from_pretrained(tmp_path)
    again.model.generation_config.eos_token_id = None
    assert again.get_active_steering() == {"one": 0.5}
    assert again.generate(PROMPTS, **GREEDY) == lm.generate(PROMPTS, **GREEDY)


def test_all_that_people_have_is_a_language_model(lm):
    hub = pipeline("text-generation", model=lm.model, tokenizer=TOKENIZER)
    for one in (lm, lm.base, lm.model, hub):
        assert is_language_model(one)
        assert steerable(one).model is lm.model
    assert LinEASLanguageModel(hub).tokenizer is TOKENIZER
    for strange in (3, torch.nn.Linear(2, 2)):
        with pytest.raises(LineaError, match="expected"):
            steerable(strange)
    with pytest.raises(LineaError, match="such folder"):
        LinEASLanguageModel.from_pretrained("./nowhere")


def test_maps_say_that_they_are_for_texts(lm, tmp_path):
    maps = train_steering_maps(lm, FRIENDLY, recipe_for(lm, FRIENDLY, iterations=2))
    maps.save_pretrained(tmp_path)
    again = SteeringMaps.from_pretrained(tmp_path)
    assert (again.metadata["task"], again.metadata["base_class"]) == ("text", "LlamaForCausalLM")
    assert "generate" in (tmp_path / "README.md").read_text()
    assert "text-generation" in (tmp_path / "README.md").read_text()


def test_code_that_was_compiled_is_steered(lm):
    """The hooks are part of the code that is made with them, and another strength needs no other code."""
    torch._dynamo.reset()
    model = torch.compile(lm.model, backend="eager")
    ids = torch.arange(3, 9)[None]
    plain = model(input_ids=ids).logits
    maps = lm.steering["one"]
    for strength in (1.0, 0.5):
        with maps.apply(LanguageModel(model), strength):
            code = model(input_ids=ids).logits
        with maps.apply(lm, strength):
            torch.testing.assert_close(code, lm.model(input_ids=ids).logits)
    assert torch.equal(model(input_ids=ids).logits, plain)
    torch._dynamo.reset()


@pytest.mark.parametrize("how", [{"dtype": torch.bfloat16}, {"dtype": torch.float16}, {"device_map": "cpu"}], ids=str)
def test_half_precision_and_a_device_map(how):
    model = LinEASLanguageModel.from_pretrained("wordland-lm", **how)
    base = model.generate("hey anna", **GREEDY)
    width = model.model.config.hidden_size
    model.load_steering(random_maps({NORM: width}, 1.0), "one")
    assert model.generate("hey anna", strength=0.0, **GREEDY) == base
    assert model.generate("hey anna", strength=3.0, **GREEDY) != base
