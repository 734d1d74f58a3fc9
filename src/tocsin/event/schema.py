"""The canonical schema: every column, what it means, and what the rest of the world calls it.

One table.  Import, export, rules and search all go through it.  The law of change: a new column is
null in old data, a column never changes its type, a removed name is never used again.
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha256
from types import MappingProxyType

from msgspec import Struct

__all__ = [
    "COLUMNS",
    "DIALECTS",
    "NAMES",
    "PERSONAL",
    "TEXT_COLUMNS",
    "Column",
    "Type",
    "fingerprint",
]


class Type(StrEnum):
    """What a column holds."""

    TIME = "time"  #: an instant, integer nanoseconds since 1970-01-01 UTC
    TEXT = "text"  #: UTF-8 text; null and "" differ
    INT = "int"  #: 64-bit signed integer
    TEXTS = "texts"  #: a list of texts; null and [] differ, no element is null


class Column(Struct, frozen=True, gc=False):
    """One column.  A dialect's name is ``None`` where that dialect has no word for it."""

    name: str
    type: Type
    group: str
    personal: bool  #: may point at a person: hashed apart in the row leaf, and erasable
    ocsf: str | None
    ecs: str | None
    otel: str | None
    cim: str | None
    datadog: str | None
    sigma: str | None
    doc: str


DIALECTS = ("ocsf", "ecs", "otel", "cim", "datadog", "sigma")

_TIME, _TEXT, _INT, _TEXTS = Type.TIME, Type.TEXT, Type.INT, Type.TEXTS
P, _ = True, False  # personal or not


def _table() -> tuple[Column, ...]:
    # fmt: off
    c = Column
    return (
        # name, type, group, personal, OCSF, ECS, OTel, Splunk CIM, Datadog, Sigma
        c("time", _TIME, "when", _, "time", "@timestamp", "timeUnixNano", "_time", "date", "date", "event time: when it happened, by the source's clock, UTC"),
        c("observed", _TIME, "when", _, "metadata.logged_time", "event.ingested", "observedTimeUnixNano", "_indextime", None, None, "when tocsin received it, by our clock, UTC"),
        c("duration_ns", _INT, "when", _, "duration", "event.duration", "http.server.request.duration", "response_time", "duration", "time-taken", "how long it took, nanoseconds"),

        c("kind", _TEXT, "what", _, "metadata.event_code", "event.action", "event.name", "signature", "evt.name", None, "what happened: an OWASP Logging Vocabulary name, or request, query, log"),
        c("outcome", _TEXT, "what", _, "status", "event.outcome", "event.outcome", "action", "evt.outcome", None, "success, failure or unknown: what really came of it, whatever the status says"),
        c("outcome_source", _TEXT, "what", _, None, None, None, None, None, None, "who says so: event, framework, body, login_profile or status"),
        c("reason", _TEXT, "what", _, "status_detail", "event.reason", "tocsin.reason", "reason", "evt.reason", None, "class of failure: no_credentials, bad_credentials, unknown_user, locked, expired_token, bad_token, forbidden, validation, not_found, conflict, rate_limited, upstream, internal"),
        c("severity", _TEXT, "what", _, "severity", "log.level", "severityText", "severity", "status", None, "debug, info, warn, error or critical, as the source sees it"),
        c("message", _TEXT, "what", P, "message", "message", "body", "body", "message", None, "the source's words, redacted"),
        c("error_type", _TEXT, "what", _, None, "error.type", "exception.type", "error_code", "error.kind", None, "class of the exception or the database's error code"),
        c("error_message", _TEXT, "what", P, None, "error.message", "exception.message", "error_message", "error.message", None, "the error's words, redacted"),
        c("error_stack", _TEXT, "what", P, None, "error.stack_trace", "exception.stacktrace", None, "error.stack", None, "stack frames without values, redacted"),

        c("layer", _TEXT, "where", _, None, "tocsin.layer", "tocsin.layer", None, "tocsin.layer", None, "app, gateway, database, host, identity or self (tocsin about itself)"),
        c("source", _TEXT, "where", _, "metadata.log_provider", "event.provider", "log.source", "source", "ddsource", None, "who told us; bound to the key that the sender used"),
        c("service", _TEXT, "where", _, "metadata.product.name", "service.name", "service.name", "app", "service", None, "the service it happened in"),
        c("env", _TEXT, "where", _, None, "service.environment", "deployment.environment.name", "environment", "env", None, "deployment environment: production, staging"),
        c("host", _TEXT, "where", _, "device.hostname", "host.name", "host.name", "dvc", "host", "computername", "the machine it happened on, as claimed"),
        c("tenant", _TEXT, "where", _, "metadata.tenant_uid", "organization.id", "tocsin.tenant", "tenant_id", "tenant", None, "the customer of a shared service that it belongs to"),

        c("user", _TEXT, "who", P, "actor.user.name", "user.name", "user.name", "user", "usr.id", "cs-username", "the principal that the application accepted"),
        c("claimed_user", _TEXT, "who", P, None, "tocsin.claimed_user", "tocsin.claimed_user", None, "tocsin.claimed_user", None, "the principal named by a token or login that nobody verified"),
        c("role", _TEXT, "who", _, "actor.user.type", "user.roles", "user.roles", "user_role", "usr.role", None, "role of the user at that moment"),
        c("session", _TEXT, "who", P, "actor.session.uid", "tocsin.session", "session.id", "session_id", "usr.session_id", None, "keyed hash of the session id, never the id"),
        c("api_key", _TEXT, "who", P, "actor.session.credential_uid", "tocsin.api_key", "tocsin.api_key", None, "tocsin.api_key", None, "keyed hash of the API key, never the key"),
        c("auth_method", _TEXT, "who", _, "auth_protocol", "tocsin.auth_method", "tocsin.auth_method", "authentication_method", "tocsin.auth_method", None, "password, token, key, certificate, session, none"),
        c("client_ip", _TEXT, "who", P, "src_endpoint.ip", "client.ip", "client.address", "src", "network.client.ip", "c-ip", "address of the client, IPv4 or IPv6, as far as trusted proxies tell"),
        c("client_port", _INT, "who", P, "src_endpoint.port", "client.port", "client.port", "src_port", "network.client.port", None, "the client's port"),
        c("peer_ip", _TEXT, "who", P, "proxy_endpoint.ip", "source.ip", "network.peer.address", "src_translated_ip", "network.peer.ip", None, "address that handed the event to us, when it differs from the client's; never what a sender claims"),
        c("country", _TEXT, "who", _, "src_endpoint.location.country", "client.geo.country_iso_code", "client.geo.country.iso_code", "src_country", "network.client.geoip.country.iso_code", None, "ISO 3166-1 alpha-2 code of the client's country"),
        c("asn", _INT, "who", _, "src_endpoint.autonomous_system.number", "client.as.number", "client.as.number", None, "network.client.geoip.as.number", None, "number of the client's network"),
        c("user_agent", _TEXT, "who", P, "http_request.user_agent", "user_agent.original", "user_agent.original", "http_user_agent", "http.useragent", "c-useragent", "the client's own description of itself"),

        c("method", _TEXT, "request", _, "http_request.http_method", "http.request.method", "http.request.method", "http_method", "http.method", "cs-method", "request method, as sent"),
        c("scheme", _TEXT, "request", _, "http_request.url.scheme", "url.scheme", "url.scheme", "protocol", "http.url_details.scheme", None, "http or https"),
        c("authority", _TEXT, "request", _, "http_request.url.hostname", "url.domain", "server.address", "dest", "http.url_details.host", "cs-host", "host and port that the client asked for"),
        c("route", _TEXT, "request", _, "http_request.url.resource_type", "http.route", "http.route", "uri_template", "http.route", None, "route template: /orders/{id}"),
        c("path", _TEXT, "request", P, "http_request.url.path", "url.path", "url.path", "uri_path", "http.url_details.path", "cs-uri-stem", "path as on the wire, not decoded, redacted"),
        c("query", _TEXT, "request", P, "http_request.url.query_string", "url.query", "url.query", "uri_query", "http.url_details.queryString", "cs-uri-query", "query string as on the wire without '?', redacted"),
        c("referer", _TEXT, "request", P, "http_request.referrer", "http.request.referrer", "http.request.header.referer", "http_referrer", "http.referer", "cs-referer", "the Referer header, redacted"),
        c("http_version", _TEXT, "request", _, "http_request.version", "http.version", "network.protocol.version", "http_version", "http.version", "cs-version", "1.0, 1.1, 2 or 3"),
        c("status", _INT, "request", _, "http_response.code", "http.response.status_code", "http.response.status_code", "status", "http.status_code", "sc-status", "HTTP status code"),
        c("bytes_in", _INT, "request", _, "traffic.bytes_in", "http.request.bytes", "http.request.size", "bytes_in", "network.bytes_read", "cs-bytes", "bytes received from the client"),
        c("bytes_out", _INT, "request", _, "traffic.bytes_out", "http.response.bytes", "http.response.size", "bytes_out", "network.bytes_written", "sc-bytes", "bytes sent to the client"),
        c("records_out", _INT, "request", _, None, "tocsin.records_out", "tocsin.records_out", "records_out", "tocsin.records_out", None, "records in the answer"),
        c("content_type", _TEXT, "request", _, "http_response.content_type", "http.response.mime_type", "http.response.header.content-type", "http_content_type", "http.content_type", "rs-content-type", "media type of the answer"),

        c("object_type", _TEXT, "objects", _, "resources.type", "tocsin.object.type", "tocsin.object.type", "object_category", "tocsin.object.type", None, "type of the objects touched: order"),
        c("objects", _TEXTS, "objects", P, "resources.uid", "tocsin.object.ids", "tocsin.object.ids", "object_id", "tocsin.object.ids", None, "keyed hashes of the ids of the objects touched"),
        c("via", _TEXT, "objects", _, None, "tocsin.via", "tocsin.via", None, "tocsin.via", None, "how the objects were touched: list, detail, create, update or delete"),
        c("fields_in", _TEXTS, "objects", _, None, "tocsin.fields_in", "tocsin.fields_in", None, "tocsin.fields_in", None, "names of the keys in the request body, never the values"),
        c("fields_out", _TEXTS, "objects", _, None, "tocsin.fields_out", "tocsin.fields_out", None, "tocsin.fields_out", None, "names of the keys in the answer that matter: admin, password, balance"),
        c("sensitive", _TEXTS, "objects", _, None, "tocsin.sensitive", "tocsin.sensitive", None, "tocsin.sensitive", None, "data classes seen in the answer, as class:count, never the values"),

        c("db_system", _TEXT, "database", _, "database.type", "tocsin.db.system", "db.system.name", "vendor_product", "db.system", None, "postgresql, mysql, mariadb ..."),
        c("db_name", _TEXT, "database", _, "database.name", "tocsin.db.name", "db.namespace", "database_name", "db.instance", None, "the database's name"),
        c("db_user", _TEXT, "database", P, "actor.user.account.name", "tocsin.db.user", "db.user", "db_user", "db.user", None, "the account that spoke to the database"),
        c("db_statement", _TEXT, "database", P, "query_info.query_string", "tocsin.db.statement", "db.query.text", "query", "db.statement", None, "statement with every literal replaced by ?"),
        c("db_rows", _INT, "database", _, "query_result_id", "tocsin.db.rows", "db.response.returned_rows", "records_affected", "db.row_count", None, "rows returned or changed"),

        c("trace_id", _TEXT, "links", _, "metadata.correlation_uid", "trace.id", "traceId", "trace_id", "dd.trace_id", None, "W3C trace id, 32 hex digits"),
        c("span_id", _TEXT, "links", _, "metadata.span_uid", "span.id", "spanId", "span_id", "dd.span_id", None, "W3C span id, 16 hex digits"),
        c("request_id", _TEXT, "links", _, "http_request.uid", "http.request.id", "http.request.header.x-request-id", "request_id", "http.request_id", None, "id of the request that both gateway and app know"),
        c("boot", _TEXT, "links", _, "metadata.uid", "tocsin.boot", "service.instance.id", None, "tocsin.boot", None, "random id of one life of the source, scope of source_seq"),
        c("source_seq", _INT, "links", _, "metadata.sequence", "event.sequence", "tocsin.source_seq", None, "tocsin.source_seq", None, "the source's own number of the event; a gap is a loss"),

        c("tags", _TEXTS, "rest", _, "metadata.labels", "tags", "tocsin.tags", "tag", "ddtags", None, "verdicts of the sensors: sig.sqli.query, clock_skew, demo"),
        c("attributes", _TEXT, "rest", P, "unmapped", "labels", "attributes", "attributes", "attributes", None, "all else, one JSON object, redacted"),
        c("raw", _TEXT, "rest", P, "raw_data", "event.original", "log.record.original", "_raw", "raw", None, "the original record, redacted; null where the columns already say it all"),
        c("parser", _TEXT, "rest", _, None, "tocsin.parser", "tocsin.parser", "sourcetype", "tocsin.parser", None, "the parser that read it"),
        c("parse_error", _TEXT, "rest", _, None, "tocsin.parse_error", "tocsin.parse_error", None, "tocsin.parse_error", None, "why it could not be read as what it claimed to be"),
    )
    # fmt: on


#: The table, in canonical order.
COLUMNS: tuple[Column, ...] = _table()

#: Column by name.
NAMES = MappingProxyType({column.name: column for column in COLUMNS})

#: Names of the columns that may point at a person.
PERSONAL: frozenset[str] = frozenset(c.name for c in COLUMNS if c.personal)

#: Names of the columns of free or client-chosen text (redaction looks into each of them).
TEXT_COLUMNS: tuple[str, ...] = tuple(c.name for c in COLUMNS if c.type is Type.TEXT)


def fingerprint(names: tuple[str, ...]) -> str:
    """SHA-256, hex, of the ordered ``name:type:personal`` list of *names*.

    It stands in each manifest, so that two columns cannot change places unnoticed.
    """
    lines = "".join(
        f"{c.name}:{c.type}:{'personal' if c.personal else 'plain'}\n"
        for c in (NAMES[name] for name in names)
    )
    return sha256(lines.encode()).hexdigest()
