"""Distillation: a network that is trained on the answers of another (Hinton et al. 2015)."""

__all__: list[str] = []
