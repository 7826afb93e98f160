"""Past one machine: shards of images in, parts of features out, whatever runs the tasks.

The unit of work is an input shard: one shard, one task, one finished part. What is left to do is
listed (`decaf.scale.shard_list`) and handed to an engine (`decaf.scale.engines`): a plain loop, the
processes of a torchrun, or the actors of Ray; each has `decaf.scale.make_part` make the part. How a
part set lies in its folder is in `decaf.features.store.part_folder`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from decaf.lazy import lazy_names

if TYPE_CHECKING:
    from decaf.scale.engines import ENGINES, ScaleSettings
    from decaf.scale.parts_verification import PartsVerification, verify_parts
    from decaf.scale.ray_rows import Rows
    from decaf.scale.shard_extraction import extract_shards
    from decaf.scale.shard_list import list_shards
    from decaf.scale.shard_packing import are_shards, pack_shards
    from decaf.scale.status import ShardStatus, shard_status

__all__ = [
    "ENGINES",
    "PartsVerification",
    "Rows",
    "ScaleSettings",
    "ShardStatus",
    "are_shards",
    "extract_shards",
    "list_shards",
    "pack_shards",
    "shard_status",
    "verify_parts",
]

__getattr__, __dir__ = lazy_names(__name__)
