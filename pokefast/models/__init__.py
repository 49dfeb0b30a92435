"""The networks: MLP, CNN, pretrained backbones and their layer groups, heads, losses, weights.

Imports training/ and what lies below it."""
