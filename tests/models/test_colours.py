"""Cut-outs hold the creature, palettes ignore the rest, the closed form is scikit-learn's."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageDraw
from sklearn.kernel_ridge import KernelRidge
from sklearn.utils.class_weight import compute_sample_weight

from pokefast.errors import UserError
from pokefast.images import PILImageRGBA
from pokefast.models.colours import BINS, CutOut, lab, palette_net, palettes
from pokefast.models.networks import build

STATS = ([0.5] * 3, [0.5] * 3)


def picture(rng, colour):
    """A creature of one colour on noise."""
    noise = rng.integers(60, 190, (20, 20, 3)).astype(np.uint8)
    im = Image.fromarray(noise).resize((320, 320), Image.Resampling.BICUBIC)
    draw, x, y = ImageDraw.Draw(im), *rng.integers(20, 120, 2).tolist()
    draw.ellipse((x, y + 40, x + 120, y + 170), fill=colour, outline="black", width=4)
    draw.ellipse((x + 50, y, x + 140, y + 80), fill=colour, outline="black", width=4)
    return PILImageRGBA.create(im)


def test_a_cut_out_is_square_and_its_alpha_is_the_creature():
    cut = CutOut(64)(picture(np.random.default_rng(0), "gold"))
    assert isinstance(cut, PILImageRGBA) and cut.size == (64, 64)
    pixels = np.asarray(cut).astype(int)
    gold = abs(pixels[..., :3] - (255, 215, 0)).max(-1) < 40
    assert 0.2 < gold.mean() < 0.8
    assert pixels[..., 3][gold].mean() > 230
    assert pixels[[0, 0, -1, -1], [0, -1, 0, -1], 3].mean() < 60


def test_without_a_creature_it_is_the_whole_picture():
    flat = PILImageRGBA.create(Image.new("RGB", (90, 60), (10, 200, 30)))
    cut = np.asarray(CutOut(32)(flat))
    assert cut.shape == (32, 32, 4) and (cut == (10, 200, 30, 255)).all()


def test_lab_is_littlecms_lab():
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8))
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB", 6500)
    expected = ImageCms.applyTransform(
        rgb, ImageCms.buildTransform(*profiles, "RGB", "LAB", ImageCms.Intent.ABSOLUTE_COLORIMETRIC)
    )
    expected = np.asarray(expected).astype(int)
    expected[..., 1:] = (expected[..., 1:] + 128) % 256  # stored as signed bytes
    x = torch.from_numpy(np.asarray(rgb).copy()).permute(2, 0, 1)[None] / 255
    found = (lab(x)[0].permute(1, 2, 0) * 255).numpy()
    assert abs(found - expected).mean() < 2


def test_white_black_and_grey_are_where_they_should_be():
    x = torch.tensor([[1.0, 1, 1], [0, 0, 0], [0.5, 0.5, 0.5]]).view(3, 3, 1)
    lightness, a, b = lab(x)[:, :, 0].T
    assert lightness.tolist() == pytest.approx([1, 0, 0.534], abs=1e-3)
    assert a.tolist() == pytest.approx([128 / 255] * 3, abs=1e-3)
    assert b.tolist() == pytest.approx([128 / 255] * 3, abs=1e-3)


def test_palettes_see_the_creature_alone():
    torch.manual_seed(0)
    rgb, mask = torch.rand(2, 3, 28, 28), torch.zeros(2, 1, 28, 28)
    mask[..., 8:20, 8:20] = 1
    other = torch.where(mask.bool(), rgb, torch.rand(2, 3, 28, 28))
    found = palettes(rgb, mask)
    assert found.shape == (2, BINS**3)
    assert torch.allclose((found**2).sum(1), torch.ones(2), atol=1e-5)
    assert torch.allclose(found, palettes(other, mask))
    assert not torch.allclose(found, palettes(1 - rgb, mask))


@pytest.fixture(scope="module")
def fitted():
    """A small palette network on random features, fitted; features, labels."""
    torch.manual_seed(0)
    model = palette_net("tf_efficientnet_lite0", 3, 30, *STATS).eval()
    deep = torch.rand(40, len(model.centre))
    colour = torch.rand(40, BINS**3).pow(8)
    colour = (colour / colour.sum(1, keepdim=True)).sqrt()
    y = torch.cat([torch.zeros(20), torch.ones(6), torch.full((4,), 2)]).long()
    model.describe = lambda x: torch.cat([deep[x], colour[x]], 1)
    model.solve([(torch.arange(20), y[:20]), (torch.arange(20, 30), y[20:])])
    return model, deep, colour, y


def test_the_closed_form_is_kernel_ridge_with_balanced_classes(fitted):
    model, deep, colour, y = fitted
    d = (deep - deep[:30].mean(0)) / deep[:30].std(0, unbiased=False)
    d = torch.nn.functional.normalize(d).double().numpy()
    c = colour.double().numpy()
    kernel = d @ d[:30].T + 0.7 * np.exp(-4 * (1 - c @ c[:30].T)) + 1
    ridge = KernelRidge(alpha=1, kernel="precomputed")
    ridge.fit(kernel[:30], 2 * np.eye(3)[y] - 1, compute_sample_weight("balanced", y.numpy()))
    expected = 4 * ridge.predict(kernel)
    assert model(torch.arange(40)).numpy() == pytest.approx(expected, abs=1e-3)


def test_it_is_made_again_from_its_description(fitted):
    model, *_ = fitted
    again = build(**model.architecture).eval()
    again.load_state_dict(model.state_dict())
    again.describe = model.describe
    x = torch.arange(40)
    assert torch.equal(again(x), model(x))


def test_the_network_is_never_in_training_mode(fitted):
    model, *_ = fitted
    model.train()
    assert not any(m.training for m in model.net.modules())
    assert not any(p.requires_grad for p in model.parameters())
    model.eval()


def test_a_network_without_stages_is_named():
    with pytest.raises(UserError, match="vit_tiny_patch16_224"):
        palette_net("vit_tiny_patch16_224", 3, 5, *STATS)
