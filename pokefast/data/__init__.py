"""From a folder to batches: the competition, its split, the loader, batch augmentation.

Imports crops/ and what lies below it."""
