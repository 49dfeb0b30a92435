"""How a model is fitted: the learner, callbacks, early stopping, precision.

Imports data/ and what lies below it."""
