"""How good predictions are: metrics, the interval, the submission and its score.

Imports errors, files, images, names and options alone."""
