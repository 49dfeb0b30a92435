"""Where the depicted thing is in an image: masks, crops to them, and near-duplicate groups.

Imports scoring/ and what lies below it."""
