"""What people look at: a run's page, plots, Grad-CAM, W&B.

Imports training/ and what lies below it."""
