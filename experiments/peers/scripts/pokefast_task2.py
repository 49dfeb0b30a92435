"""pokefast's script of task 2, by its fast recipe: `make task2 DATA=... ARGS="--epochs N"`."""

import pandas as pd  # for watch
from stopwatch import Stopwatch

from pokefast.prediction.model_file import WEIGHTS  # for watch
from pokefast.task import run_task
from tasks.task2_cnn import TASK

watch = Stopwatch()
data, out, epochs, seed = watch.data, watch.out, watch.epochs, watch.seed
result = run_task(TASK, TASK.recipe(epochs=epochs, seed=seed), data, out)

trained = (result.folder / WEIGHTS).stat().st_mtime - watch.start  # pages and scores come later
o, labelled = TASK.recipe(), len(pd.read_csv(data / "train_labels.csv"))  # for watch
watch.images = epochs * (round(labelled * (1 - o.valid - o.test)) // o.bs) * o.bs
watch.fit_seconds = result.scores["train_seconds"]
submitted = pd.read_csv(result.submission)  # for watch
with watch.paused():
    watch.submit(submitted.iloc[:, 0], submitted.iloc[:, 1], trained)
