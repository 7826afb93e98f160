"""The linear algebra and the transport problems that the methods share."""

from __future__ import annotations

__all__: list[str] = []
