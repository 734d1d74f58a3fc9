"""What ``up`` refuses about its settings, before it makes anything; ``validate`` asks the same."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from functools import partial
from pathlib import Path

from starlette.applications import Starlette

from tocsin.errors import SettingsError, TocsinError
from tocsin.intake import PARSERS
from tocsin.intake.serve import listen
from tocsin.intake.tokens import LAYERS
from tocsin.settings import Follow, Settings
from tocsin.siem.house import is_fresh, key_source
from tocsin.siem.rulebook import rule_files
from tocsin.vault.keys import FileKey, KeyRing, file_key

__all__ = ["check", "problems"]


def check(settings: Settings) -> None:
    """Raise the first thing that is wrong, as a TocsinError."""
    for one in _checks(settings):
        one()


def problems(settings: Settings, *, but: Collection[str] = ()) -> list[str]:
    """Everything that is wrong, in words; what is named in *but* is not looked at."""
    found: list[str] = []
    for one in _checks(settings):
        if one.func.__name__ in but:
            continue
        try:
            one()
        except TocsinError as error:
            # A door that is taken, perhaps by tocsin itself, is no fault of the settings.
            if getattr(error.__cause__, "errno", None) != errno.EADDRINUSE:
                found.append(str(error))
        except OSError as error:
            found.append(f"{error.filename}: {(error.strerror or str(error)).lower()}")
    return found


def _checks(settings: Settings) -> Iterator[partial[None]]:
    yield partial(data, Path(settings.data))
    yield partial(address, settings)
    yield partial(rules, settings)
    for one in settings.follow:
        yield partial(follow, one)
    yield partial(key, settings)


def data(place: Path) -> None:
    """The data directory can be made, or is one."""
    there = next(p for p in (place, *place.absolute().parents) if p.exists())
    if not there.is_dir():
        raise SettingsError(f"data = {place}: {there} is no directory; name another one")
    if not os.access(there, os.W_OK | os.X_OK):
        raise SettingsError(f"data = {place}: this user may not write to {there}")


def address(settings: Settings) -> None:
    """The door can be opened where it shall be."""
    listen(Starlette(), settings.listen, insecure=settings.insecure).socket.close()


def rules(settings: Settings) -> None:
    """The places of rules are there."""
    rule_files(settings.rules, with_pack=False)


def follow(one: Follow) -> None:
    """What is said of a followed file makes sense."""
    place = f"follow {one.path}"
    if one.parser and one.parser not in PARSERS:
        raise SettingsError(f'{place}: there is no parser "{one.parser}"; {_nearest(one.parser)}')
    if one.layer is not None and one.layer not in LAYERS:
        raise SettingsError(
            f'{place}: there is no layer "{one.layer}"; there are {", ".join(LAYERS)}'
        )
    if one.source.strip().casefold() == "tocsin":
        raise SettingsError(
            f'{place}: "tocsin" is what tocsin itself is called; give the source another name'
        )


def _nearest(name: str) -> str:
    near = get_close_matches(name, PARSERS, n=1)
    return f'did you mean "{near[0]}"?' if near else f"there are {', '.join(sorted(PARSERS))}"


def key(settings: Settings) -> None:
    """The key-encryption key can be had, and it opens what is there."""
    source = key_source(settings)
    place = Path(settings.data)
    if not is_fresh(settings):
        KeyRing(place / "keys", source)
    elif not isinstance(source, FileKey) or source.path.exists():
        source.fetch(place)
    else:
        _makeable(source.path, place)


def _makeable(path: Path, place: Path) -> None:
    file_key(path, data=place)
    there = next(p for p in path.absolute().parents if p.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise SettingsError(
            f"kek_file = {path}: the key-encryption key is to be made there, and this user may "
            f"not write to {there}; let it, or name another place"
        )
