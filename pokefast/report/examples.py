"""Images that explain a run: what it learns from, its crops, its mistakes, what it looked at."""

import numpy as np
import torch

from pokefast.files import write_json
from pokefast.images import open_image
from pokefast.report.gradcam import grad_cam, has_convolutions, overlay
from pokefast.report.plots import to_data_uri

__all__ = ["write_examples", "batch_of", "batch_images", "most_wrong"]

BATCH = 32  # augmented training images
SHOWN = 8  # crops; right and wrong predictions with Grad-CAM
WORST = 24


def write_examples(folder, learn, dl, probabilities, vocab):
    """Write examples.json: images as data URIs, of a training batch and of the test part `dl`, a
    labelled `MemoryDL` over a table with the columns path and Id, whose `probabilities` [n,
    classes] `learn` gave.

    Its keys: batch (class, image), crops (class, before, after), wrong (id, truth, predicted, their
    probabilities, image), cams (title, images: truth, predicted, image, map). What goes wrong in
    Grad-CAM is raised after the others are written.
    """
    probabilities = torch.as_tensor(probabilities)
    truth, predicted = dl.targets.tolist(), probabilities.argmax(1).tolist()
    batch = learn.dls.train.new(bs=BATCH, drop_last=False).one_batch()
    shown = list(range(min(SHOWN, dl.n)))
    worst = most_wrong(probabilities, dl.targets)[:WORST]
    images = batch_images(dl, batch_of(dl, shown + worst))
    found = {
        "batch": [
            {"class": vocab[i], "image": to_data_uri(image)}
            for i, image in zip(
                batch[1].tolist(), batch_images(learn.dls.train, batch), strict=True
            )
        ],
        "crops": [
            {
                "class": vocab[truth[i]],
                "before": to_data_uri(np.asarray(open_image(dl.items["path"].iloc[i])) / 255),
                "after": to_data_uri(images[i]),
            }
            for i in shown
        ],
        "wrong": [
            {
                "id": str(dl.items["Id"].iloc[i]),
                "truth": vocab[truth[i]],
                "predicted": vocab[predicted[i]],
                "p_truth": float(probabilities[i, truth[i]]),
                "p_predicted": float(probabilities[i, predicted[i]]),
                "image": to_data_uri(image),
            }
            for i, image in zip(worst, images[len(shown) :], strict=True)
        ],
        "cams": [],
    }
    write_json(folder / "examples.json", found)
    if has_convolutions(learn.model):
        found["cams"] = _cams(learn.model, dl, truth, predicted, worst[:SHOWN], vocab)
        write_json(folder / "examples.json", found)


def batch_of(dl, indices):
    """The items numbered `indices` of a `MemoryDL` as one batch (x, y), as the model gets it."""
    indices = [int(i) for i in indices]
    return dl.new(bs=len(indices), shuffle=False, get_idxs=lambda: indices).one_batch()


def batch_images(dl, batch):
    """The images of batch (x, y) as arrays [n, h, w, channels] in 0..1, normalisation undone."""
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


def _cams(model, dl, truth, predicted, wrong, vocab):
    """A row of right predictions, of as many classes as it holds, and one of those in `wrong`, with
    maps of the predicted class; rows without images are left out.
    """
    right = [i for i in range(dl.n) if predicted[i] == truth[i]]
    first = {truth[i]: i for i in reversed(right)}  # one a class, then whatever comes
    right = [*first.values(), *(i for i in right if i not in first.values())][:SHOWN]
    right.sort(key=lambda i: (truth[i], i))
    rows = []
    for title, chosen in (("Right predictions", right), ("Wrong predictions", wrong)):
        if chosen:
            x, *y = batch_of(dl, chosen)
            maps = grad_cam(model, x, target=[predicted[i] for i in chosen]).cpu().numpy()
            images = batch_images(dl, (x, *y))
            shown = [
                {
                    "truth": vocab[truth[i]],
                    "predicted": vocab[predicted[i]],
                    "image": to_data_uri(image),
                    "map": to_data_uri(heat),
                }
                for i, image, heat in zip(chosen, images, overlay(images, maps), strict=True)
            ]
            rows.append({"title": title, "images": shown})
    return rows
