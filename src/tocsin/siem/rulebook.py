"""Rules on disk: the built-in pack and the operator's directories, compiled with a cache."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from pathlib import Path

from platformdirs import user_cache_dir

from tocsin.detect import (
    CorrelationRule,
    Problem,
    Rule,
    RuleFile,
    RuleSet,
    compile_rules,
    pack,
    strangers,
)
from tocsin.errors import SettingsError

__all__ = ["CacheDirectory", "load_rules", "rule_files", "told", "unknown_fields"]

log = logging.getLogger("tocsin.rules")


def rule_files(directories: Sequence[str], *, with_pack: bool = True) -> list[RuleFile]:
    """The pack, then every ``*.yml`` and ``*.yaml`` below *directories*, in order of their names.

    A path may also name one file.  Raises SettingsError for a path that is not there.
    """
    files = list(pack()) if with_pack else []
    for directory in directories:
        files.extend(_read(path) for path in _found(Path(directory)))
    return files


def load_rules(directories: Sequence[str], *, with_pack: bool = True) -> RuleSet:
    """Compile them.  A broken file is a problem in the result, never an exception."""
    return compile_rules(
        rule_files(directories, with_pack=with_pack),
        cache=CacheDirectory(Path(user_cache_dir("tocsin")) / "rules"),
    )


def unknown_fields(directories: Sequence[str]) -> list[Problem]:
    """Fields that rules of the operator's ask for and that may be mistyped."""
    return strangers(load_rules(directories, with_pack=False))


def told(rules: RuleSet) -> list[Rule | CorrelationRule]:
    """The rules that tell of something; not those that only serve correlations."""
    used = {False: set[int](), True: set[int]()}
    for correlation in rules.correlations:
        found = (rules.find(reference) for reference in correlation.rules)
        used[correlation.generate] |= {index for index in found if index is not None}
    blocks = used[False] - used[True]
    plain = (rule for index, rule in enumerate(rules.rules) if index not in blocks)
    return [*plain, *rules.correlations]


def _found(place: Path) -> Iterable[Path]:
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise SettingsError(f"{place}: no such directory of rules")
    return sorted(p for p in place.rglob("*") if p.suffix in {".yml", ".yaml"} and p.is_file())


def _read(path: Path) -> RuleFile:
    # Wrong bytes in a rule are the rule's problem: it is named, and the others go on.
    return RuleFile(str(path), path.read_text("utf-8", errors="replace"))


class CacheDirectory(MutableMapping[str, bytes]):
    """Compiled rules between runs, one file a key.  Only a cache: what fails is left out."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def _path(self, key: str) -> Path:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,200}", key):
            raise KeyError(key)
        return self._directory / key

    def __getitem__(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except OSError:
            raise KeyError(key) from None

    def __setitem__(self, key: str, value: bytes) -> None:
        path = self._path(key)
        temporary = path.with_name(f".{key[:100]}.{secrets.token_hex(4)}")
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary.write_bytes(value)
            temporary.replace(path)
        except OSError as error:
            log.debug("compiled rules not kept: %s", error)
            with contextlib.suppress(OSError):
                temporary.unlink()

    def __delitem__(self, key: str) -> None:
        try:
            self._path(key).unlink()
        except OSError:
            raise KeyError(key) from None

    def __iter__(self) -> Iterator[str]:
        with contextlib.suppress(OSError):
            yield from (name for name in os.listdir(self._directory) if name[0] != ".")  # noqa: PTH208  # names only

    def __len__(self) -> int:
        return sum(1 for _ in self)
