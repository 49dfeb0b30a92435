"""What drives the tasks: ablations, measurements, pages."""

import pokefast  # noqa: F401  before torch, whose threads it sets
