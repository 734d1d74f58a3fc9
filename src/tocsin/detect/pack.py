"""The rules that come with tocsin."""

from __future__ import annotations

from importlib.resources import files

from tocsin.detect.rule import RuleFile

__all__ = ["pack"]


def pack() -> list[RuleFile]:
    """Our own rule files, by name."""
    folder = files("tocsin.detect").joinpath("rules")
    found = sorted((f for f in folder.iterdir() if f.name.endswith(".yml")), key=lambda f: f.name)
    return [RuleFile(name=f.name, text=f.read_text("utf-8")) for f in found]
