"""The published files for Kinetics-400: models/weights/published.json, a row each.

A row says: network, url, format, lineage, perhaps the config file that is made for it, pairwise and alpha, clip
(frames, rate; rate 0: uniform segments), views, top1 and top5 in percent as its system states them, and the source.
"""

import json
import re
from pathlib import Path
from typing import Any

from models.lineages import LINEAGES

_ROWS = Path(__file__).with_name("published.json")
_TOLD = ("gaussian", None)  # forms of non-local blocks that the names in a file tell
_OF_ONE_FORM = ("gluoncv", "tsm")  # see models/weights/recognition.py
_FAMILIES = {"SlowOnly": "SLOWONLY", "SlowFast": "SLOWFAST", "TSM": "TSM", "C2D": "C2D", "I3D": "I3D"}


def published_rows() -> list[dict[str, Any]]:
    """Return the rows."""
    return json.loads(_ROWS.read_text(encoding="utf-8"))


def family_of(row: dict[str, Any]) -> str:
    """Return the family of a row's network, a key of `LINEAGES`."""
    return next(family for name, family in _FAMILIES.items() if row["network"].startswith(name))


def config_of(row: dict[str, Any]) -> str:
    """Return what ``--config`` takes for a row: the name of its config file, or ``auto``."""
    return f"configs/{row['config']}.txt" if "config" in row else "auto"


def overrides_of(row: dict[str, Any]) -> list[str]:
    """Return the keys to be given besides: what neither the file nor the config tells."""
    if "config" in row:
        return []
    keys = [f"SLOWFAST.alpha={row['alpha']}"] if "alpha" in row else []
    if row["url"].endswith(".pkl") and family_of(row) in ("C2D", "I3D"):
        keys.append(f"MODEL.lineage={row['lineage']}")
    if row.get("pairwise") not in _TOLD and row["lineage"] not in _OF_ONE_FORM:
        keys.append(f"NONLOCAL.pairwise={row['pairwise']}")
    frames, rate = row["clip"]
    if (frames, rate) != LINEAGES[family_of(row)][row["lineage"]].clip:
        for section in ("TRAIN", "VALID", "TEST", "INFER"):
            keys += [f"{section}.video_length={frames}", f"{section}.sampling={'dense' if rate else 'segments'}"]
            keys += [f"{section}.sample_rate={rate}"] if rate else []
    return keys


def views_of(row: dict[str, Any]) -> tuple[str, list[str]]:
    """Return the clips x crops that come nearest to a row's views, as ``--views`` takes them, and the size of a crop.

    >>> views_of({"views": "10 clips x 3 crops of 256"}), views_of({"views": "10 crops of 224, 1 clip"})
    (('10x3', ['TEST.crop_size=256']), ('1x10', ['TEST.crop_size=224']))
    """
    text = row["views"]
    if "10 clips x 3 crops" in text:
        return "10x3", ["TEST.crop_size=256"]
    if "10 crops" in text:
        return "1x10", ["TEST.crop_size=224"]
    size = re.search(r"crop (\d+)", text)
    return "1x1", [f"TEST.crop_size={size[1] if size else 224}"]
