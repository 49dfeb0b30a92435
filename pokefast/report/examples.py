"""Pictures of a test part that explain a run: its crops, its worst mistakes, what the model looked
at.
"""

import base64
import io

import numpy as np
import torch
from PIL import Image

from pokefast.images import open_image
from pokefast.report.gradcam import grad_cam, overlay

__all__ = [
    "batch_of",
    "batch_images",
    "most_wrong",
    "cam_rows",
    "examples",
    "to_data_uri",
]

LONGEST = 160  # pixels, longer side of a picture in the examples
SHOWN = 8  # crops; right and wrong predictions with Grad-CAM
WORST = 24


def batch_of(dl, indices):
    """The items numbered `indices` of a `MemoryDL` as one batch (x, y), as the model gets it."""
    indices = [int(i) for i in indices]
    return dl.new(bs=len(indices), shuffle=False, get_idxs=lambda: indices).one_batch()


def batch_images(dl, batch):
    """The pictures of batch (x, y) as arrays [n, h, w, channels] in 0..1, normalisation undone."""
    x = dl.decode(batch)[0]
    x = x.float() if x.is_floating_point() else x.float() / 255  # fastai decodes to 0..255
    return x.clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()


def most_wrong(probabilities, truth):
    """Numbers of the wrongly predicted items, those with the least probability of their true class
    first. `probabilities` is [n, classes], `truth` [n] class numbers.
    """
    probabilities, truth = torch.as_tensor(probabilities), torch.as_tensor(truth)
    wrong = (probabilities.argmax(1) != truth).nonzero()[:, 0]
    order = probabilities[wrong, truth[wrong]].sort(stable=True).indices
    return wrong[order].tolist()


def cam_rows(model, dl, probabilities, vocab, n=SHOWN):
    """What `gradcam.cam_figure` shows: a row of right predictions, as many classes as it holds, and
    a row of the most wrong ones, `n` each; maps of the predicted class.

    A row is (title, images, maps, titles); rows without pictures are left out.
    """
    truth, predicted = dl.targets, torch.as_tensor(probabilities).argmax(1)
    right = (predicted == truth).nonzero()[:, 0].tolist()
    first = {int(truth[i]): i for i in reversed(right)}  # one a class, then whatever comes
    right = [*first.values(), *(i for i in right if i not in first.values())][:n]
    right.sort(key=lambda i: (int(truth[i]), i))
    wrong = most_wrong(probabilities, truth)[:n]
    rows = []
    for title, chosen in (("right", right), ("wrong: truth > predicted", wrong)):
        if chosen:
            x, *y = batch_of(dl, chosen)
            maps = grad_cam(model, x, target=predicted[chosen]).cpu().numpy()
            names = [
                vocab[truth[i]]
                if truth[i] == predicted[i]
                else f"{vocab[truth[i]]} > {vocab[predicted[i]]}"
                for i in chosen
            ]
            rows.append((title, batch_images(dl, (x, *y)), maps, names))
    return rows


def examples(dl, probabilities, vocab, cams=()):
    """Pictures as data URIs, for a page: crops (before, after, label), wrong (picture, id, truth,
    predicted and their probabilities), cams (the rows of `cam_rows`: picture, map, title).

    `dl` is a labelled `MemoryDL` over a table with the columns path and Id.
    """
    truth, predicted = dl.targets, torch.as_tensor(probabilities).argmax(1)
    worst = most_wrong(probabilities, truth)[:WORST]
    shown = list(range(min(SHOWN, dl.n)))
    batch = batch_of(dl, shown + worst)
    images = batch_images(dl, batch)
    crops = [
        {
            "label": vocab[truth[i]],
            "before": to_data_uri(np.asarray(open_image(dl.items["path"].iloc[i])) / 255),
            "after": to_data_uri(images[i]),
        }
        for i in shown
    ]
    wrong = [
        {
            "id": str(dl.items["Id"].iloc[i]),
            "truth": vocab[truth[i]],
            "predicted": vocab[predicted[i]],
            "p_truth": float(probabilities[i, truth[i]]),
            "p_predicted": float(probabilities[i, predicted[i]]),
            "picture": to_data_uri(image),
        }
        for i, image in zip(worst, images[len(shown) :], strict=True)
    ]
    rows = [
        {
            "title": title,
            "pictures": [
                {"title": name, "picture": to_data_uri(image), "map": to_data_uri(shown)}
                for image, shown, name in zip(pictures, overlay(pictures, maps), names, strict=True)
            ],
        }
        for title, pictures, maps, names in cams
    ]
    return {"crops": crops, "wrong": wrong, "cams": rows}


def to_data_uri(image):
    """An array [h, w, 1, 3 or 4] in 0..1 as a PNG in a data URI, at most `LONGEST` px."""
    values = (np.asarray(image) * 255).round().astype(np.uint8)
    picture = Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values)
    picture.thumbnail((LONGEST, LONGEST))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
