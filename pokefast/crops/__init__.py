"""Where the depicted thing is in a picture: masks, crops to them, and near-duplicate groups.

Imports scoring/ and what lies below it."""
