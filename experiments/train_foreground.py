"""Train the foreground finder of `pokefast.crops` on drawn composites and save its weights beside
it.

    python -m experiments.train_foreground --steps 3000
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch.nn.utils.fusion import fuse_conv_bn_weights

from pokefast.crops.foreground import INPUT, WEIGHTS, ForegroundNet
from pokefast.datasets.backgrounds import sample_photographs
from pokefast.datasets.figures import composite, draw_background, draw_figure, draw_pool

__all__ = ["fold", "train"]


def fold(net: ForegroundNet) -> dict:
    "The state dict of `ForegroundNet(norm=False)`, float16, BatchNorm folded into convolutions."
    weights, out = net.state_dict(), {}
    for key, w in weights.items():
        if w.ndim != 4:
            continue
        stem = key.removesuffix("0.weight")
        if stem != key and f"{stem}1.running_var" in weights:
            gain, bias, mean, var = (
                weights[f"{stem}1.{k}"] for k in ("weight", "bias", "running_mean", "running_var")
            )
            w, b = fuse_conv_bn_weights(w, None, mean, var, 1e-5, gain, bias)
        else:
            b = weights[key.removesuffix("weight") + "bias"]
        out[key], out[key.removesuffix("weight") + "bias"] = w.half().contiguous(), b.half()
    return out


def train(
    steps: int = 3000,  # optimizer steps; the first two thirds at 128 px, the rest at 160 px
    bs: int = 16,  # pictures a step
    lr: float = 3e-3,  # the one-cycle's highest rate
    figures: int = 3600,  # pool; one is redrawn a step
    backgrounds: int = 2000,  # pool; one is redrawn every fourth step
    seed: int = 0,
) -> ForegroundNet:
    "Train on composites of a slowly changing pool; cross-entropy plus half of the soft Dice loss."
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    photos = sample_photographs()
    pool, scenes = draw_pool(rng, figures, backgrounds)
    net = ForegroundNet().to(memory_format=torch.channels_last)
    opt = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(opt, lr, total_steps=steps, pct_start=0.15)
    start, smooth = time.perf_counter(), None
    for step in range(steps):
        size = 128 if step < steps * 2 // 3 else INPUT
        pairs = [
            composite(rng, pool[rng.integers(len(pool))], scenes[rng.integers(len(scenes))], size)
            for _ in range(bs)
        ]
        pool[rng.integers(len(pool))] = draw_figure(rng)
        if step % 4 == 0:
            scenes[rng.integers(len(scenes))] = draw_background(rng, photos)
        x = torch.from_numpy(np.stack([p[0] for p in pairs])).permute(0, 3, 1, 2).float()
        x = (x / 255 - 0.5) / 0.25
        x = x * (1 + 0.15 * torch.randn(bs, 1, 1, 1)) + 0.15 * torch.randn(bs, 3, 1, 1)
        y = torch.from_numpy(np.stack([p[1] for p in pairs]))
        z = net(x.contiguous(memory_format=torch.channels_last))
        p = z.sigmoid()
        dice = (2 * (p * y).sum((1, 2)) + 1) / ((p + y).sum((1, 2)) + 1)
        loss = F.binary_cross_entropy_with_logits(z, y) + 0.5 * (1 - dice.mean())
        opt.zero_grad()
        loss.backward()
        opt.step()
        schedule.step()
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        if (step + 1) % 250 == 0 or step + 1 == steps:
            print(
                f"step {step + 1} loss {smooth:.4f} {time.perf_counter() - start:.0f} s", flush=True
            )
    return net.eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    args = parser.parse_args()
    if args.steps < 10:
        parser.error(f"--steps {args.steps}: at least 10")
    if not args.out.parent.is_dir():
        parser.error(f"--out {args.out}: no folder {args.out.parent}")
    net = train(steps=args.steps, seed=args.seed)
    temp = args.out.with_name(args.out.name + ".part")
    save_file(fold(net), temp)
    os.replace(temp, args.out)


if __name__ == "__main__":
    main()
