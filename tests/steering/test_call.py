"""What goes on in a call: who it belongs to, where it is, and a second run that looks for the first bad number."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from linea_diffusion import AffineMap, LineaError
from linea_diffusion.steering.activations import Site
from linea_diffusion.steering.calls.call import FiniteWatch, RunningCall
from linea_diffusion.steering.calls.schedule import Progress
from linea_diffusion.steering.dial import Dial
from linea_diffusion.steering.steer import SteeredSite, steer

NAME = "unet.mid_block.attentions.0.transformer_blocks.0.attn1"


def _doubling(features: int) -> AffineMap:
    return AffineMap.of({"scale_offset": torch.ones(features), "shift": torch.ones(features)})


def test_a_watch_sees_before_and_after():
    call, seen = RunningCall().watched(), []
    call.watch.see = lambda name, z, moved: seen.append((name, z, moved))
    site = SteeredSite(Site.of("unet.norm", nn.LayerNorm(4)), [(_doubling(4), torch.tensor(1.0))], Dial(), call)
    z = torch.ones(2, 4)
    moved = site.edit(z)
    assert torch.equal(moved, torch.full((2, 4), 3.0))
    assert [(name, one is z, other is moved) for name, one, other in seen] == [("unet.norm", True, True)]


def test_a_watch_names_what_was_finite_last():
    call = RunningCall(progress=Progress(2, 4))
    watch, fine, bad = FiniteWatch(call), torch.ones(2), torch.tensor([1.0, float("inf")])
    with pytest.raises(LineaError, match="between the start and 'a', in denoising step 3 "):
        watch.see("a", bad, bad)
    watch.see("a", fine, fine)
    with pytest.raises(LineaError, match="not finite at 'b'"):
        watch.see("b", fine, bad)
    with pytest.raises(LineaError, match="between 'a' and 'b'"):
        watch.see("b", bad, bad)


def test_a_watched_call_has_the_same_rows_and_no_layer_that_carries_maps():
    call = RunningCall(prompts=2, images=3, carry=lambda pipe, sites: pytest.fail("carried"), encoded=True)
    again = call.watched()
    assert (again.prompts, again.images, again.carry) == (2, 3, None)
    assert call.watch is None
    assert again.progress is not call.progress


@pytest.mark.parametrize(
    ("dial", "bins"), [(Dial(), 1), (Dial(start=0.5), 1), (Dial(), 2)], ids=["always", "window", "bins"]
)
def test_a_call_follows_the_schedule_where_maps_depend_on_it(pipe, dial, bins):
    affine = AffineMap(128, bins).requires_grad_(False)
    affine.shift.fill_(0.01)
    call = RunningCall()
    with steer(pipe.base, [({NAME: affine}, torch.tensor(1.0))], dial, call):
        assert ("step" in vars(pipe.scheduler)) == (bins > 1 or not dial.is_always_on)
        pipe.base("a red heart", num_inference_steps=2, output_type="latent")
    assert (call.progress.total == 2) == (bins > 1 or not dial.is_always_on)
    assert [one.has_worked for one in call.account.sites] == [True]


def test_a_call_is_its_threads_own_only_while_it_runs(pipe):
    call = RunningCall()
    assert call.is_mine()
    with steer(pipe.base, [], call=call):
        assert call.is_mine()
    assert not call.is_mine()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"composition": "both"}, "got composition 'both': expected one of sum, chain"),
        ({"guidance": "uncond"}, "got steering_guidance 'uncond': expected one of both, cond"),
        ({"calibrated": 1}, "expected True"),
        ({"start": 0.5, "end": 0.5}, "0 <= start < end <= 1"),
        ({"end": True}, "0 <= start < end <= 1"),
    ],
    ids=str,
)
def test_a_dial_checks_itself(wrong, message):
    with pytest.raises(LineaError, match=message):
        Dial(**wrong)
