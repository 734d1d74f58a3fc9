"""What ``up`` refuses about its settings, before it makes anything; ``validate`` asks the same."""

from __future__ import annotations

import contextlib
import errno
import glob
import http.client
import os
from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path

from starlette.applications import Starlette

from tocsin.errors import SettingsError, TocsinError, UsageError
from tocsin.intake import PARSERS
from tocsin.intake.serve import listen
from tocsin.intake.tokens import LAYERS
from tocsin.settings import Follow, Settings
from tocsin.siem.access import SOCKET
from tocsin.siem.house import is_fresh, key_source
from tocsin.siem.local import Remote, answers
from tocsin.siem.rulebook import rule_files, unknown_fields
from tocsin.vault.keys import FileKey, KeyRing, file_key

__all__ = ["absent", "check", "notes", "problems"]


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
            # A door that is taken by the tocsin that these settings are for is where it shall be.
            if not (_is_taken(error) and _serving(settings.data, settings.listen)):
                found.append(str(error))
        except OSError as error:
            found.append(f"{error.filename}: {(error.strerror or str(error)).lower()}")
    return found


def notes(settings: Settings) -> list[str]:
    """What may be as it was meant, and is worth a look."""
    found = [f"follow {path}: not there yet" for path in absent(settings.follow)]
    with contextlib.suppress(TocsinError):  # told by `problems`
        found += map(str, unknown_fields(settings.rules))
    return found


def absent(follow: Sequence[Follow]) -> list[str]:
    """Paths and patterns of followed files that no file has."""
    return [one.path for one in follow if not _is_there(one.path)]


def _is_there(path: str) -> bool:
    return Path(path).exists() or any(glob.iglob(path, recursive=True))  # noqa: PTH207  as it is followed


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
    try:
        listen(Starlette(), settings.listen, insecure=settings.insecure).socket.close()
    except UsageError as error:
        if _is_taken(error):
            raise UsageError(_taken(settings)) from error.__cause__
        raise


def _is_taken(error: Exception) -> bool:
    return getattr(error.__cause__, "errno", None) == errno.EADDRINUSE


def _taken(settings: Settings) -> str:
    """By whom, as far as one can tell, and the way out."""
    where, data = settings.listen, settings.data
    if pid := _serving(data, where):
        return f'"{where}" is where process {pid} serves {data} already; stop it first'
    way_out = "name another with --listen HOST:PORT"
    for other in (f"{data}-demo", data.removesuffix("-demo")):
        if pid := _serving(other, where):
            return f'"{where}" is taken by the tocsin on {other} (process {pid}); {way_out}'
    who = "another tocsin" if _is_tocsin(where) else "another program"
    return f'"{where}" is taken by {who}; {way_out}'


def _serving(data: str, where: str) -> int:
    """The process of the tocsin that runs on *data* and has its door at *where*; 0: there is none.

    Its port is enough: two cannot have the same.
    """
    socket = Path(data) / SOCKET
    with contextlib.suppress(TocsinError, OSError):
        if answers(socket):
            with Remote(socket) as remote:
                status = remote.status()
            if str(status.get("door")).rpartition(":")[2] == where.rpartition(":")[2]:
                return int(status["pid"])
    return 0


def _is_tocsin(where: str) -> bool:
    """Whether who serves there asks for a key as tocsin does."""
    host, _, port = where.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))  # noqa: S104  told apart
    connection = http.client.HTTPConnection(host, int(port), timeout=1.0)
    try:
        connection.request("POST", "/v1/events")
        return "tocsin" in (connection.getresponse().getheader("www-authenticate") or "")
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


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
