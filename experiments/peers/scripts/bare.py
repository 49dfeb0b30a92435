"""The arithmetic alone: forward, backward and optimizer steps of pokefast's network for task 2 on
one batch that is ready, in its recipe's batch size, precision and memory format.
"""

import time

import torch
from stopwatch import Stopwatch

from pokefast.models.networks import cnn
from pokefast.training.precision import choose_dtype
from tasks.task2_cnn import SIZE, fast

watch, o = Stopwatch(), fast()
torch.manual_seed(watch.seed)
layout, dtype = torch.channels_last, choose_dtype(o.precision, torch.device("cpu"))
model = cnn(4, 9, o.stages, o.head, SIZE).to(memory_format=layout)
x = torch.randn(o.bs, 4, SIZE, SIZE).contiguous(memory_format=layout)
y = torch.randint(9, [o.bs])
optimizer = torch.optim.AdamW(model.parameters(), lr=o.lr, weight_decay=o.wd, fused=True)


def step():
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        logits = model(x)
    torch.nn.functional.cross_entropy(
        logits.float(), y, label_smoothing=o.label_smoothing
    ).backward()
    optimizer.step()
    optimizer.zero_grad()


for _ in range(5):
    step()
start, steps = time.perf_counter(), 0
while time.perf_counter() - start < watch.marks[-1]:
    step()
    steps += 1
watch.images = steps * o.bs
watch.note(seconds=time.perf_counter() - start, marks=watch.marks)
