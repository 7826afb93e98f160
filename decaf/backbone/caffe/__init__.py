"""Networks and mean images of Caffe, read from its own files without Caffe or protobuf."""

from __future__ import annotations

__all__: list[str] = []
