"""The data that the project makes, drawn or from public sprites: asked for one thing, a folder.

Imports errors, files, images and options alone. `drawn.embedded(name)` gives the folder.
"""
