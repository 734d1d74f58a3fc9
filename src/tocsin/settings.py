"""Every setting, in one frozen struct.

Flag > ``TOCSIN_*`` > ``./tocsin.toml`` > user file > default.
The reference page and ``tocsin config schema`` are made from the annotations here.

Who can write a settings file decides what a command does: which program prints the key, which vault
is asked.  So a file is read only when nobody but its reader, or root, can have written it; and the
key never comes from the current directory, which may be a stranger's checkout.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import stat
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta, Struct
from platformdirs import user_config_dir, user_data_dir

from tocsin.errors import SettingsError
from tocsin.event import Severity

__all__ = [
    "Channel",
    "Follow",
    "Loaded",
    "Settings",
    "Smtp",
    "Webhook",
    "default_data",
    "is_zone",
    "load",
    "schema",
]

_PREFIX = "TOCSIN_"
#: Never taken from the current directory.
_NOT_HERE = ("kek_command", "kek_file")
#: Names under the prefix that are no settings: a secret, and switches of our own tests and tools.
_NOT_SETTINGS = frozenset({"KEK", "KEY", "URL", "CORPORA", "FAULTS", "NO_SKIPS", "DEBUG"})
#: Options of a watched application, which may share its environment with us.  A test compares.
_APPLICATION = frozenset(
    "service env ca certificate certificate_key output format memory_bytes spool spool_bytes "
    "batch_events batch_seconds timeout farewell heartbeat_seconds trusted_proxies "
    "request_id_header return_request_id sample inspect inspect_bytes probe probe_bytes objects "
    "hash_key personal".split()
)


class Follow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A log file to follow, and what to say about its lines."""

    path: Annotated[str, Meta(description="file, or a pattern such as /var/log/nginx/*.log")]
    source: Annotated[str, Meta(description="name of the source; default: the file's name")] = ""
    parser: Annotated[str, Meta(description="format; default: found from the lines")] = ""
    layer: Annotated[str | None, Meta(description="app, gateway, database, host, identity")] = None
    service: Annotated[str | None, Meta(description="service that the lines speak of")] = None
    env: Annotated[str | None, Meta(description="deployment environment")] = None
    host: Annotated[str | None, Meta(description="machine that wrote the file")] = None
    tenant: Annotated[str | None, Meta(description="customer that the lines belong to")] = None
    tz: Annotated[str, Meta(description="time zone of times without one")] = "UTC"


class Webhook(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="webhook"):
    """Incidents as signed HTTP posts."""

    url: Annotated[
        str, Meta(description="where to post; https, or with allow_private = true also http")
    ]
    secret: Annotated[str, Meta(description="key of the HMAC-SHA256 signature")]
    name: Annotated[str, Meta(description="name in the outbox; no two webhooks may share it")] = (
        "webhook"
    )
    min_severity: Annotated[Severity, Meta(description="least severity that is sent")] = (
        Severity.MEDIUM
    )
    allow_private: Annotated[
        bool, Meta(description="allow private, loopback and link-local addresses")
    ] = False


class Smtp(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="smtp"):
    """Incidents as mail."""

    host: Annotated[str, Meta(description="mail server")]
    sender: Annotated[str, Meta(description="address of the sender")]
    to: Annotated[list[str], Meta(description="addresses of the receivers")]
    port: Annotated[int, Meta(description="port of the mail server", ge=1, le=65535)] = 587
    tls: Annotated[
        str,
        Meta(description="starttls, implicit or none", pattern="^(starttls|implicit|none)$"),
    ] = "starttls"
    username: Annotated[str, Meta(description="account; empty: none")] = ""
    password: Annotated[str, Meta(description="password of the account")] = ""
    name: Annotated[
        str, Meta(description="name in the outbox; no two mail channels may share it")
    ] = "mail"
    min_severity: Annotated[Severity, Meta(description="least severity that is sent")] = (
        Severity.HIGH
    )


Channel = Webhook | Smtp


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be set.  Each field: default, unit in its name, and what it does."""

    data: Annotated[str, Meta(description="directory of the vault")] = ""
    listen: Annotated[str, Meta(description="HOST:PORT of the HTTP door")] = "127.0.0.1:7461"
    insecure: Annotated[
        bool, Meta(description="allow plain HTTP on an address that is not loopback")
    ] = False
    kek_file: Annotated[
        str,
        Meta(description="file with the key-encryption key, mode 0600, outside the data directory"),
    ] = ""
    kek_command: Annotated[
        list[str], Meta(description="command that prints the key-encryption key; no shell is used")
    ] = []
    rules: Annotated[
        list[str], Meta(description="directories of rules beside the built-in pack")
    ] = []
    pack: Annotated[bool, Meta(description="use the built-in rule pack")] = True
    follow: Annotated[list[Follow], Meta(description="log files to follow")] = []
    channels: Annotated[list[Channel], Meta(description="whom to tell about incidents")] = []

    epoch_seconds: Annotated[
        float, Meta(description="longest time until events are sealed, s", gt=0, le=60)
    ] = 10.0
    epoch_rows: Annotated[
        int, Meta(description="most rows in one sealed range", ge=1_000, le=1_000_000)
    ] = 65_536
    compact_seconds: Annotated[float, Meta(description="pause between compactions, s", ge=1)] = 60.0
    incident_gap_seconds: Annotated[
        float, Meta(description="quiet time after which a finding opens a new incident, s", ge=1)
    ] = 3600.0
    state_seconds: Annotated[
        float, Meta(description="pause between saves of the detector's state, s", ge=1)
    ] = 60.0

    max_body_bytes: Annotated[
        int, Meta(description="largest request body as sent, bytes", ge=1024)
    ] = 8 << 20
    max_inflated_bytes: Annotated[
        int, Meta(description="largest request body once inflated, bytes", ge=1024)
    ] = 64 << 20
    max_waiting_bytes: Annotated[
        int, Meta(description="most bytes of bodies in work at once; beyond it, 429", ge=1024)
    ] = 256 << 20
    max_connections: Annotated[int, Meta(description="most connections at once", ge=1)] = 1_000
    header_seconds: Annotated[
        float, Meta(description="deadline for a request's headers, s", gt=0)
    ] = 10.0
    body_seconds: Annotated[float, Meta(description="deadline for a request's body, s", gt=0)] = (
        30.0
    )


class Loaded(Struct, frozen=True):
    """Settings, and where each came from."""

    settings: Settings
    origins: dict[str, str]  #: field -> "flag", "TOCSIN_LISTEN", "./tocsin.toml:3", "default"
    unknown: tuple[str, ...] = ()  #: variables that look like settings and are none, as messages
    left_out: tuple[str, ...] = ()  #: files, or settings in them, that are not obeyed, and why
    application: tuple[str, ...] = ()  #: variables that only a watched application obeys


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
    user_file: Path | None = None,
) -> Loaded:
    """Read all layers; a flag of value ``None`` was not given.

    An unknown name in a file is an error.  An unknown ``TOCSIN_*`` variable is only reported in
    ``unknown``, since an app may share its environment with us.  Raises SettingsError, naming the
    layer, the line where it can, and the nearest known name.  Channels and followed files are
    looked at as far as it goes without asking anybody, and ``~`` in paths is replaced.

    A file that somebody else can write is left out, and so is a key in ``./tocsin.toml``: both are
    reported in ``left_out``.
    """
    environ = os.environ if environ is None else environ
    directory = Path.cwd() if directory is None else directory
    user_file = Path(user_config_dir("tocsin")) / "tocsin.toml" if user_file is None else user_file

    values: dict[str, Any] = {
        "data": default_data(),
        "kek_file": str(Path(user_config_dir("tocsin")) / "kek"),
    }
    origins = dict.fromkeys(Settings.__struct_fields__, "default")
    variables, unknown, application = _from_environ(environ)
    left_out: list[str] = []
    layers = [
        _from_file(user_file, left_out),
        _without_key(_from_file(directory / "tocsin.toml", left_out), user_file, left_out),
        variables,
        {name: (value, "flag") for name, value in (flags or {}).items() if value is not None},
    ]
    for layer in layers:
        for name, (value, origin) in layer.items():
            values[name] = _convert(name, value, origin)
            origins[name] = origin
    _check_channels(values.get("channels", ()), origins["channels"])
    _check_follow(values.get("follow", ()), origins["follow"])
    settings = Settings(**_at_home(values, origins))
    return Loaded(settings, origins, unknown, tuple(left_out), application)


def default_data() -> str:
    """The vault's directory where none is set."""
    return user_data_dir("tocsin")


def schema() -> bytes:
    """JSON Schema of ``tocsin.toml``, for editors."""
    return msgspec.json.format(msgspec.json.encode(msgspec.json.schema(Settings)), indent=2)


def _from_file(path: Path, left_out: list[str]) -> dict[str, tuple[Any, str]]:
    try:
        # Without waiting: what has this name may be a pipe that nobody writes to.
        with open(path, "rb", opener=_at_once) as file:
            # The file that was opened is looked at, not whatever has its name by now.
            problem = _others_can_write(path, os.fstat(file.fileno()))
            if problem:
                left_out.append(f"{path}: not read: {problem}")
                return {}
            text = file.read().decode("utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from error
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: {str(error)[:1].lower()}{str(error)[1:]}") from error
    found: dict[str, tuple[Any, str]] = {}
    for name, value in table.items():
        place = f"{path}:{_line_of(name, text)}"
        if name not in Settings.__struct_fields__:
            raise SettingsError(f'{place}: unknown setting "{name}"{_nearest(name)}')
        found[name] = (value, place)
    return found


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _others_can_write(path: Path, found: os.stat_result) -> str:
    """Why somebody else may have written the file *path*, and what to do; empty if nobody could."""
    if not stat.S_ISREG(found.st_mode):
        return "it is no file"
    # A link is as good as what it leads to, and as the directories that both lie in.
    if problem := _open_to_others("it", path, found):
        return problem
    for folder in dict.fromkeys((path.absolute().parent, path.resolve().parent)):
        if problem := _open_to_others("its directory", folder, folder.stat()):
            return problem
        for above in folder.parents:
            # In a sticky one, as /tmp is, nobody but its owner can put another in place of ours.
            if problem := _open_to_others("", above, above.stat(), sticky=True):
                return problem
    return ""


def _open_to_others(what: str, path: Path, found: os.stat_result, *, sticky: bool = False) -> str:
    name, quoted = what or str(path), shlex.quote(str(path))
    if found.st_uid not in (0, os.geteuid()):
        return f"{name} belongs to another user (uid {found.st_uid}); move it, or chown {quoted}"
    if sticky and found.st_mode & stat.S_ISVTX:
        return ""
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others can write to {what or quoted}; run: chmod go-w {quoted}"
    return ""


def _without_key(
    found: dict[str, tuple[Any, str]], user_file: Path, left_out: list[str]
) -> dict[str, tuple[Any, str]]:
    """What ``./tocsin.toml`` says, but for where the key comes from."""
    for name in _NOT_HERE:
        if name in found:
            _, place = found.pop(name)
            left_out.append(
                f"{place}: {name} is not taken from the current directory; put it into "
                f"{user_file}, or set {_PREFIX}{name.upper()}"
            )
    return found


def _from_environ(
    environ: Mapping[str, str],
) -> tuple[dict[str, tuple[Any, str]], tuple[str, ...], tuple[str, ...]]:
    found: dict[str, tuple[Any, str]] = {}
    unknown: list[str] = []
    application: list[str] = []
    for variable, text in environ.items():
        if not variable.startswith(_PREFIX) or variable[len(_PREFIX) :] in _NOT_SETTINGS:
            continue
        name = variable[len(_PREFIX) :].lower()
        if name in Settings.__struct_fields__:
            found[name] = (_value_of(name, text), variable)
        elif name in _APPLICATION:
            application.append(
                f"{variable}: an option of watched applications; the server has no such setting"
            )
        else:
            unknown.append(f'{variable}: unknown setting "{name}"{_nearest(name)}')
    return found, tuple(unknown), tuple(application)


def _value_of(name: str, text: str) -> Any:
    """A variable's text as TOML would read it, else as plain text, as numbers are for a path."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    wants = msgspec.inspect.type_info(_field(name).type)
    is_text = isinstance(_inner(wants), msgspec.inspect.StrType)
    return text if is_text and not isinstance(value, str) else value


def _field(name: str) -> msgspec.structs.FieldInfo:
    return next(f for f in msgspec.structs.fields(Settings) if f.name == name)


def _convert(name: str, value: Any, origin: str) -> Any:
    field = _field(name)
    try:
        return msgspec.convert(value, field.type)
    except msgspec.ValidationError as error:
        problem = str(error)
        raise SettingsError(
            f'{origin}: setting "{name}": {problem[:1].lower()}{problem[1:]}; '
            f"{_choices(problem, field.type) or 'see `tocsin config schema`'}"
        ) from error


def _choices(problem: str, kind: Any) -> str:
    """What would have been right where *problem* says that none of some values is given."""
    found = re.fullmatch(r"Invalid enum value '(.*)'(?: - at `.*?(\w+)`)?", problem, re.DOTALL)
    values = _values_at(msgspec.inspect.type_info(kind), found[2]) if found else []
    if found is None or not values:
        return ""
    close = difflib.get_close_matches(found[1], values, n=1)
    return f"""{f'did you mean "{close[0]}"? ' if close else ""}there are {", ".join(values)}"""


def _values_at(info: msgspec.inspect.Type, name: str) -> list[str]:
    """The values of the field *name* somewhere inside of a type, if it has some to choose from."""
    match info:
        case msgspec.inspect.Metadata():
            return _values_at(info.type, name)
        case msgspec.inspect.ListType():
            return _values_at(info.item_type, name)
        case msgspec.inspect.UnionType():
            return next((v for one in info.types if (v := _values_at(one, name))), [])
        case msgspec.inspect.StructType():
            for field in info.fields:
                if field.encode_name == name and isinstance(
                    kind := _inner(field.type), msgspec.inspect.EnumType
                ):
                    return [str(member.value) for member in kind.cls]
        case _:
            pass
    return []


def _check_channels(channels: Sequence[Channel], origin: str) -> None:
    """Refuse here what would refuse to start, or never deliver."""
    seen: dict[tuple[type, str], str] = {}
    for number, channel in enumerate(channels):
        if isinstance(channel, Webhook):
            place = f"channels[{number}] (webhook)"
            problem = _wrong_webhook(channel)
        else:
            place = f"channels[{number}] (smtp, {channel.host})"
            problem = _wrong_smtp(channel)
        if problem:
            raise SettingsError(f"{origin}: {place}: {problem}")
        # Notifications wait under the name: two of one name would take each other's.
        other = seen.setdefault((type(channel), channel.name), place)
        if other != place:
            raise SettingsError(
                f'{origin}: {other} and {place} are both named "{channel.name}"; '
                "give each a name of its own"
            )


def _wrong_webhook(channel: Webhook) -> str:
    """What is wrong with it, without its URL, which may be as secret as its secret."""
    try:
        url = urlsplit(channel.url)
        host, _ = url.hostname, url.port
    except ValueError:  # its message would quote a part
        return "not a url; give one such as https://hooks.example/tocsin"
    if not host or url.username is not None or re.search(r"[\s\x00-\x1f\x7f]", channel.url):
        return "give a url with a host, without credentials and without spaces"
    if url.scheme != "https" and not (url.scheme == "http" and channel.allow_private):
        return "only https is posted to; plain http needs allow_private = true"
    if not channel.secret:
        return "give a secret; unsigned posts cannot be told from forged ones"
    return ""


def _wrong_smtp(channel: Smtp) -> str:
    if not channel.host or not channel.sender or not channel.to:
        return "give a host, a sender and at least one receiver in to"
    if any(not a.strip() or not a.isprintable() for a in (channel.sender, *channel.to)):
        return "an address in sender or to is empty or has control characters"
    if channel.password and not channel.username:
        return "it has a password but no username; give both or neither"
    return ""


def _check_follow(follow: Sequence[Follow], origin: str) -> None:
    for number, one in enumerate(follow):
        place = f"{origin}: follow[{number}] ({one.path})"
        if not one.path:
            raise SettingsError(f"{place}: give a path")
        if not is_zone(one.tz):
            raise SettingsError(
                f'{place}: time zone "{one.tz}" is unknown; use a name such as Europe/Berlin, '
                "or +02:00"
            )


def is_zone(name: str) -> bool:
    """Whether *name* is an IANA name or a fixed offset of less than a day."""
    if name[:1] in ("+", "-"):
        return re.fullmatch(r"[+-]([01]\d|2[0-3])(:?[0-5]\d)?", name, re.ASCII) is not None
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _at_home(values: Mapping[str, Any], origins: Mapping[str, str]) -> dict[str, Any]:
    """The same values, ``~`` in their paths replaced by the home directory."""
    at_home = dict(values)
    for name in ("data", "kek_file"):
        at_home[name] = _expanded(values[name], origins[name])
    if "rules" in values:
        at_home["rules"] = [_expanded(path, origins["rules"]) for path in values["rules"]]
    if "follow" in values:
        at_home["follow"] = [
            msgspec.structs.replace(one, path=_expanded(one.path, origins["follow"]))
            for one in values["follow"]
        ]
    return at_home


def _expanded(path: str, origin: str) -> str:
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError as error:
        raise SettingsError(
            f"{origin}: {path}: there is no such home directory; give the whole path"
        ) from error


def _inner(info: msgspec.inspect.Type) -> msgspec.inspect.Type:
    return info.type if isinstance(info, msgspec.inspect.Metadata) else info


def _nearest(name: str) -> str:
    close = difflib.get_close_matches(name, Settings.__struct_fields__, n=1)
    return f'; did you mean "{close[0]}"?' if close else "; see `tocsin config schema`"


def _line_of(name: str, text: str) -> int:
    pattern = re.compile(rf"""^\s*(\[+\s*)?["']?{re.escape(name)}["']?\s*[\].=]""")
    return next((n for n, line in enumerate(text.splitlines(), 1) if pattern.match(line)), 1)
