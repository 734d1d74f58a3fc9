"""What other people call our columns: the first name found in a record wins, the rest is kept.

The names of the public dialects come from the schema table.  Those written out here are names seen
in the logs of servers and frameworks, each with the way in which its value is to be read.
"""

from __future__ import annotations

from functools import cache
from types import MappingProxyType

from tocsin.event import COLUMNS, Type
from tocsin.event.signatures import PROBES

__all__ = ["GENERIC", "NATIVE", "NGINX", "Alias", "resolve"]

#: (column, reader, rank): a lower rank is preferred.
Alias = tuple[str, str, int]

_WRAPPERS = ("attributes.", "fields.", "labels.", "resource.", "context.", "extra.", "log.")

# One line a column: names in order of preference, a reader after the colon where it is not the
# column's own.
_SEEN = {
    "time": "msec @timestamp timestamp ts time datetime date_time time_iso8601 eventTime "
    "event_time timeUnixNano startUTC StartUTC time_local StartLocal asctime created_at "
    "createdAt date t timegenerated start_time started_at",
    "duration_ns": "duration_ns event.duration:ns request_time:seconds rt:seconds "
    "duration_ms:ms durationMs:ms elapsed_ms:ms latency_ms:ms response_time_ms:ms responseTime:ms "
    "http.server.request.duration:seconds duration_s:seconds Duration:ns",
    "kind": "kind event.action event.name evt.name event:event",
    "outcome": "outcome event.outcome evt.outcome",
    "severity": "severity level lvl loglevel log_level levelname severityText severity_text "
    "log.level error_severity",
    "message": "message msg body short_message description log",
    "error_type": "error_type error.type exception.type error.kind exc_type exception_class",
    "error_message": "error_message error.message exception.message err error",
    "error_stack": "error_stack error.stack_trace exception.stacktrace error.stack stack "
    "stack_trace stacktrace exc_info traceback",
    "service": "service service.name app application service_name appid",
    "env": "env environment deployment.environment.name service.environment",
    "host": "host host.name hostname",
    "user": "user user.name username user_name remote_user usr.id usr.name enduser.id user.id "
    "user_id userId ClientUsername",
    "session": "session session.id session_id sessionId usr.session_id",
    "client_ip": "client_ip client.ip client.address remote_addr remote_ip source_ip src_ip "
    "clientIp clientip client_addr:address request.client_ip request.remote_ip "
    "request.remote_addr:address remoteAddress:address req.remoteAddress:address "
    "network.client.ip source.ip ClientHost remote_host ip ipAddress remoteIp c-ip "
    "ClientAddr:address net.peer.ip http.client_ip source.address:address "
    "downstream_remote_address:address",
    "client_port": "client_port client.port remote_port request.remote_port req.remotePort "
    "network.client.port ClientPort source.port",
    "peer_ip": "peer_ip network.peer.address",
    "user_agent": "user_agent user_agent.original http_user_agent userAgent ua useragent "
    "http.useragent http.user_agent req.headers.user-agent request.headers.User-Agent "
    "request_User-Agent c-useragent agent",
    "method": "method http.request.method request_method http_method http.method verb "
    "request.method req.method RequestMethod cs-method",
    "scheme": "scheme url.scheme request_scheme http.scheme RequestScheme",
    "authority": "authority http.host http_host request.host server.address url.domain vhost "
    "RequestHost RequestAddr cs-host",
    "route": "route http.route url_rule endpoint_template",
    "path": "path request_uri:target request.uri:target req.url:target url.path "
    "http.url_details.path RequestPath:target uri:target request_path:target url.original:target "
    "http.target:target http.url:target url.full:target url:target cs-uri-stem",
    "query": "query url.query query_string args http.url_details.queryString cs-uri-query",
    "referer": "referer http_referer referrer http.referer http.request.referrer "
    "request.headers.Referer req.headers.referer request_Referer cs-referer",
    "http_version": "http_version:version http.version:version server_protocol:version "
    "proto:version request.proto:version protocol:protocol RequestProtocol:version "
    "network.protocol.version:version",
    "status": "status status_code statusCode http.status_code http.response.status_code "
    "response.status res.statusCode res.status http_status httpStatus DownstreamStatus "
    "response_code sc-status",
    "bytes_in": "bytes_in http.request.bytes http.request.size request_length req_bytes "
    "request_size bytes_read cs-bytes",
    "bytes_out": "bytes_out body_bytes_sent http.response.bytes http.response.size body_bytes "
    "bytes_sent response_size size resp_bytes DownstreamContentSize sc-bytes",
    "content_type": "content_type http.response.mime_type sent_http_content_type",
    "db_system": "db_system db.system.name db.system",
    "db_name": "db_name db.namespace db.name dbname db.instance",
    "db_user": "db_user db.user",
    "db_statement": "db_statement db.query.text db.statement",
    "trace_id": "trace_id trace.id traceId traceid dd.trace_id otelTraceID",
    "span_id": "span_id span.id spanId spanid dd.span_id otelSpanID",
    "request_id": "request_id request.id requestId http.request.id http.request_id x_request_id "
    "req.id reqId correlation_id",
    "tags": "tags ddtags",
}

_READERS = {
    "time": "time",
    "kind": "kind",
    "outcome": "outcome",
    "severity": "level",
    "client_ip": "address",
    "peer_ip": "peer",
    "tags": "texts",
}
_BY_TYPE = {Type.TIME: "time", Type.TEXT: "text", Type.INT: "int", Type.TEXTS: "texts"}

# Names of a dialect that mean something else in too many logs.
_FALSE_FRIENDS = frozenset(
    "status status_detail source dest action signature protocol data query duration severity "
    "response_time vendor_product object reason labels event.ingested observedTimeUnixNano "
    "_indextime metadata.logged_time".split()
)

#: What the record of the OWASP Logging Vocabulary calls otherwise than we do.  The native door
#: reads it too, but tolerantly: a sender may mean something else by ``level`` or ``event``, so what
#: cannot be read there is an attribute and no fault.
_VOCABULARY: dict[str, Alias] = {
    "datetime": ("time", "time", 1),
    "appid": ("service", "text", 1),
    "event": ("kind", "event", 1),
    "level": ("severity", "level", 1),
    "description": ("message", "text", 1),
    "useragent": ("user_agent", "text", 1),
    "source_ip": ("client_ip", "address", 1),
    "hostname": ("host", "text", 1),
    "protocol": ("http_version", "protocol", 1),
    "request_uri": ("path", "target", 1),
    "request_method": ("method", "text", 1),
}

#: The door says these itself; a sender's own word on them is kept as an attribute.
_OURS = frozenset({"source", "observed", "parser", "parse_error"})


def _reader(column: str) -> str:
    kind = next(c.type for c in COLUMNS if c.name == column)
    return _READERS.get(column, _BY_TYPE[kind])


def _generic() -> dict[str, Alias]:
    found: dict[str, Alias] = {}
    for column, words in _SEEN.items():
        for rank, seen in enumerate(words.split()):
            name, _, reader = seen.partition(":")
            found.setdefault(name, (column, reader or _reader(column), rank))
    for c in COLUMNS:
        if c.name in _OURS or c.name in ("attributes", "raw"):
            continue
        found.setdefault(c.name, (c.name, _reader(c.name), 50))
        if c.name in ("duration_ns", "db_statement"):
            continue  # in an unknown unit, or with values in it: only under the names above
        for rank, word in enumerate((c.ecs, c.otel, c.datadog, c.ocsf, c.cim, c.sigma)):
            if word and word not in _FALSE_FRIENDS:
                found.setdefault(word, (c.name, _reader(c.name), 60 + rank))
    return found


def _nginx() -> dict[str, Alias]:
    """nginx's own variables; ``$uri`` is decoded, so ``$request_uri`` is the wire."""
    return {
        **_generic(),
        "request": ("path", "request", -1),
        "uri": ("path", "text", 40),
        "document_uri": ("path", "text", 41),
        "host": ("authority", "text", 0),
        "server_name": ("authority", "text", 9),
        "hostname": ("host", "text", 0),
        "http_x_request_id": ("request_id", "text", 9),
    }


def _native() -> dict[str, Alias]:
    columns = {
        c.name: (c.name, "strict_" + ("status" if c.name == "status" else _reader(c.name)), 0)
        for c in COLUMNS
        if c.name not in _OURS and c.name != "attributes"
    }
    return _VOCABULARY | columns | {name: (name, "probe", 0) for name in PROBES}


NATIVE = MappingProxyType(_native())
NGINX = MappingProxyType(_nginx())
GENERIC = MappingProxyType({**_generic(), "request": ("path", "request", 70)})

#: Readers of a unit that a name implies: Traefik's ``Duration`` has nanoseconds, and Caddy's
#: ``duration`` has seconds, so these names are known only as they are written.
_UNITS = frozenset({"seconds", "ms", "ns"})

_TABLES = {"tocsin": NATIVE, "nginx_json": NGINX, "json": GENERIC}


@cache
def _folded(dialect: str) -> dict[str, Alias]:
    return {
        name.lower(): alias
        for name, alias in reversed(list(_TABLES[dialect].items()))
        if alias[1] not in _UNITS
    }


def resolve(name: str, dialect: str) -> Alias | None:
    """The column that *name* means in *dialect*, or ``None``.

    >>> resolve("http.response.status_code", "json")[:2]
    ('status', 'int')
    """
    table = _TABLES[dialect]
    if (found := table.get(name)) is not None or dialect == "tocsin":
        return found
    for wrapper in _WRAPPERS:
        if name.startswith(wrapper) and (found := table.get(name.removeprefix(wrapper))):
            return found
    return _folded(dialect).get(name.lower())
