"""How the guest behaves: given to ``watch``, or as ``TOCSIN_*`` in the environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_type_hints

import msgspec
from msgspec import Struct

from tocsin.errors import SettingsError
from tocsin.event.model import Event

__all__ = ["Options", "read_options"]

#: Called with each event before it leaves: returns it, another in its place, or None to drop it.
Hook = Callable[[Event], Event | None]


class Options(Struct, frozen=True, kw_only=True):
    """Every option of the SDK.  The variable of ``url`` is ``TOCSIN_URL``, and so on."""

    url: str | None = None  #: of the receiver: ``https://tocsin.example.org:7461``; none: lines
    key: str | None = None  #: of the source, made by ``tocsin token create``
    service: str | None = None  #: name of the service
    env: str | None = None  #: deployment environment: production, staging
    ca: str | None = None  #: file of certificates to trust instead of the system's
    certificate: str | None = None  #: file of the client's certificate, and its key if not apart
    certificate_key: str | None = None  #: file of the client certificate's key
    insecure: bool = False  #: allow ``http://`` to another machine

    output: str = "stderr"  #: where lines go without a URL: ``stderr``, ``off`` or a file's path
    format: str = "json"  #: of lines: json, ecs, ocsf, datadog, splunk, xml, kv

    memory_bytes: int = 8_388_608  #: of encoded events that wait to be sent
    spool: str | None = None  #: directory for what memory does not hold; ``off``: none
    spool_bytes: int = 67_108_864  #: on disk, for all processes of this service
    batch_events: int = 1000  #: in one request, at most
    batch_seconds: float = 1.0  #: that an event waits for others, at most
    timeout: float = 10.0  #: seconds for the receiver to answer
    farewell: float = 3.0  #: seconds to send what is left when the process ends
    heartbeat_seconds: float = 60.0  #: between two signs of life; 0: none

    trusted_proxies: tuple[str, ...] = ()  #: networks whose forwarding headers are believed
    request_id_header: str = "x-request-id"  #: taken from the request, and set on the answer
    return_request_id: bool = True  #: set it on the answer
    sample: float = 1.0  #: share of uneventful requests that are recorded; failures always are
    inspect: bool = True  #: look into JSON bodies for outcome, key names and data classes
    inspect_bytes: int = 8192  #: of each body that are looked at
    probe: bool = True  #: hand request values to the receiver, to be searched for attacks
    probe_bytes: int = 2048  #: of request values that are handed over
    objects: bool = True  #: note which objects were touched, as keyed hashes
    hash_key: str | None = None  #: for keyed hashes; the same in all processes that share sessions
    personal: dict[str, str] = {}  #: column: ``hash`` or ``drop``; others are kept
    before_send: Hook | None = None  #: given each event last; returns it, another, or None


def read_options(given: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Options:
    """Options as *given*, else from the environment, else the defaults.

    Raises SettingsError that names the option: for what is given at once, so that a mistake shows
    when the application starts; a wrong environment variable must not stop an application, so
    :func:`tocsin.watch` turns that one into a warning.
    """
    known = get_type_hints(Options)
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise SettingsError(
            f"watch(): no option {unknown[0]!r}; there are {', '.join(sorted(known))}"
        )
    values: dict[str, Any] = {}
    for name in known:
        text = environment.get(f"TOCSIN_{name.upper()}")
        if name in given:
            values[name] = given[name]
        elif text is not None and name != "before_send":
            values[name] = _parse(name, text, known[name])
    return Options(**values)


def _parse(name: str, text: str, kind: Any) -> Any:
    """An environment variable's value.  Lists are separated by commas, pairs written ``a=b``."""
    wanted = next((k for k in get_args(kind) if k is not type(None)), kind)
    try:
        if name == "personal":
            pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
            return {column.strip(): how.strip() for column, _, how in pairs}
        if name == "trusted_proxies":
            return tuple(word.strip() for word in text.split(",") if word.strip())
        if wanted is bool:
            text = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(
                text.lower(), text.lower()
            )
        return msgspec.convert(text, wanted, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"TOCSIN_{name.upper()}={text!r}: {error}") from error
