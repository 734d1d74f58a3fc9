"""Words that APIs use: for what went wrong, for who somebody is, for what is secret.  Data only."""

# One row of a table is one line, whatever its length.
# ruff: noqa: E501

from __future__ import annotations

import re

__all__ = [
    "CODES",
    "DISCRETE",
    "ENVELOPE",
    "ERRORS",
    "FAILURES",
    "FLAGS",
    "IDENTITIES",
    "LOGIN_ROUTE",
    "NUMBERS",
    "ORDINARY_COOKIE",
    "ORDINARY_HEADER",
    "OTHER_ROUTE",
    "OWNERS",
    "PEOPLE",
    "REASONS",
    "SECOND_SECRETS",
    "SECRETS",
    "SECRETS_IN",
    "SESSION_COOKIE",
    "STATES",
    "TELLING",
    "TOKENS",
    "WRAPPINGS",
    "folded",
]


class _Folded(dict[str, str]):
    """Keys and how they are compared; APIs have few, and attackers must not fill the memory."""

    def __missing__(self, name: str) -> str:
        plain = name.replace("_", "").replace("-", "").lower()
        if len(self) < 10_000 and len(name) < 64:
            self[name] = plain
        return plain


_FOLDED = _Folded()


def folded(name: str) -> str:
    """A key as it is compared: no case, no separators.

    >>> folded("User_Name"), folded("access-token")
    ('username', 'accesstoken')
    """
    return _FOLDED[name]


def _table(*rows: tuple[str, str]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((reason, re.compile(pattern, re.I)) for reason, pattern in rows)


_TOKEN = r"(?:token|jwt|api.?key|bearer|signature)"
_ACCOUNT = r"(?:user(?:name)?|account|e-?mail|login|member)"
_PASSWORD = r"(?:password|credential|passcode|\bpin\b|\botp\b|one.?time|verification code|user ?name and password)"

#: Class of failure by the words of an answer; the first that fits.
REASONS = _table(
    ("rate_limited", r"rate.?limit|too many (?:request|attempt|login|fail)|throttl|slow down"),
    ("expired_token", r"(?:token|session|jwt|signature)\b.{0,40}expired|expired.{0,20}\b(?:token|session)"),
    ("bad_token", rf"\b{_TOKEN}\b.{{0,40}}(?:invalid|malformed|missing|wrong|bad\b|revoked|blacklisted|not valid|verif|required|decod)"),
    ("bad_token", rf"(?:invalid|malformed|missing|bad|wrong|\bno|valid).{{0,20}}\b{_TOKEN}\b"),
    ("locked", r"\b(?:account|user)\b.{0,40}(?:lock|suspend|disabl|blocked|deactivat|inactive|banned)|\blocked out"),
    ("unknown_user", rf"\b{_ACCOUNT}\b.{{0,40}}(?:not found|not exist|n.t exist|unknown|no such|not registered|unregistered|n.t registered|not be found)"),
    ("unknown_user", rf"\b(?:no|unknown|find)\b.{{0,20}}\b{_ACCOUNT}\b"),
    ("bad_credentials", rf"{_PASSWORD}s?\b.{{0,40}}(?:incorrect|invalid|wrong|not correct|mismatch|not match|n.t match|bad\b|fail|denied)"),
    ("bad_credentials", rf"(?:incorrect|invalid|wrong|bad|failed).{{0,30}}(?:{_PASSWORD}|login|code\b)|(?:authentication|login) (?:failed|failure)"),
    ("not_found", r"\bmethod\b.{0,20}not (?:allowed|supported)"),
    ("forbidden", r"forbidden|permission|not (?:allowed|authori[sz]ed|permitted)|unauthori[sz]ed|access (?:is )?denied|only admin|admins? only|insufficient|not the owner|privileg"),
    ("forbidden", r"must be (?:logged|signed) in|log ?in (?:first|required|to)|authentication (?:is )?required|not authenticated"),
    ("conflict", r"already (?:exist|registered|taken|in use|used)|duplicate|conflict|is taken"),
    ("not_found", r"not found|does(?: not|n.t) exist|no such|no longer (?:exist|available)|nothing found"),
    ("validation", r"validat|required|must (?:be|have|contain|not)|invalid|malformed|missing|too (?:short|long|large|small|many|few)|not a valid|should be|expected|cannot be (?:blank|empty|null)"),
    ("upstream", r"bad gateway|upstream|timed? ?out|unavailable|could not (?:connect|reach)"),
    ("internal", r"internal|exception|traceback|unexpected|database error|something went wrong|\bsql"),
)  # fmt: skip

#: Class of failure by the name of an exception's class, in any framework.
FAILURES = _table(
    ("rate_limited", r"throttle|ratelimit|toomanyrequests"),
    ("expired_token", r"expired"),
    ("bad_token", r"invalidtoken|decodeerror|jwt|invalidsignature|csrf|badsignature|noauthorization|revokedtoken"),
    ("bad_credentials", r"authenticationfailed|notauthenticated|unauthori[sz]ed|notauthori[sz]ed|loginrequired"),
    ("forbidden", r"permission|forbidden|(?<!method)notallowed|disallowedhost"),
    ("not_found", r"notfound|methodnotallowed|http404|doesnotexist|noresultfound|noreversematch"),
    ("conflict", r"conflict|integrityerror|uniqueviolation|alreadyexists"),
    ("validation", r"validation|unprocessable|badrequest|parseerror|invalidparam|extraparam|nonconforming|multipart|suspicious|unsupportedmediatype"),
    ("upstream", r"timeout|connectionerror|connecterror|operationalerror|badgateway|serviceunavailable"),
)  # fmt: skip

#: Keys of an answer, in small letters, that tell an outcome: by a boolean, a word, a number, at all.
FLAGS = ("success", "ok", "succeeded", "successful", "is_success", "issuccess", "valid", "status")
STATES = ("status", "result", "state", "outcome", "type", "code")
NUMBERS = ("status", "code", "statuscode", "status_code", "httpcode", "http_status", "errorcode")
ERRORS = ("error", "errors", "fault", "exception", "error_message", "errormessage", "error_code")
#: Keys, folded, of an answer about the request.  One with another key in it, and something under
#: that, is about a thing, and tells the thing's state: an order that failed is no failed request.
ENVELOPE = frozenset(
    (
        "success ok succeeded successful issuccess valid status result state outcome type code statuscode httpcode httpstatus "
        "errorcode errcode errno retcode error errors err fault exception errormessage errmsg errordescription erroruri message "
        "messages msg detail details description title reason reasons cause info text hint help faultstring faultcode instance "
        "path url method timestamp time date datetime requestid traceid correlationid transactionid data body payload response "
        "meta version apiversion jsonrpc extensions stack trace violations docs documentationurl"
    ).split()
)  # fmt: skip

#: Keys of the objects that many APIs wrap their answer in.
WRAPPINGS = ("data", "result", "response", "body", "payload", "meta", "status")

#: Keys of a request, folded (no case, no ``-`` and ``_``), that say who somebody is.
IDENTITIES = (
    "username user login email emailaddress mail userid account accountname loginname identifier "
    "phone phonenumber mobile msisdn customerid clientid name"
).split()

#: Keys of a request that hold the secret of a login.
SECRETS = (
    "password passwd pass pwd passphrase userpassword loginpassword secret clientsecret pin".split()
)

#: Keys that hold a code sent to somebody.
CODES = "otp code totp mfacode mfatoken onetimecode onetimepassword verificationcode passcode token2fa smscode resetcode".split()

#: Keys of either.
SECRETS_IN = (*SECRETS, *CODES)

#: Keys that a sign-up or a change of password has, and a login has not.
SECOND_SECRETS = (
    "password2 passwordconfirm passwordconfirmation confirmpassword repeatpassword passwordrepeat "
    "newpassword oldpassword currentpassword passwordagain verifypassword"
).split()

#: Keys of an answer that hold what a login gives.
TOKENS = (
    "token accesstoken authtoken authtokens idtoken jwt jwttoken refreshtoken sessiontoken sessionid "
    "session sid apikey bearer authorization key tokens access"
).split()

#: Paths of logins, and of what looks like one and is not.
LOGIN_ROUTE = re.compile(
    r"(?:^|[/_.-])(?:log[-_]?in|sign[-_]?in|logon|auth|authenticate|authentication|authorize|token|tokens|session|sessions|jwt|credentials|verify[-_]?otp|mfa|2fa)(?:[/_.-]|$)",
    re.I,
)
OTHER_ROUTE = re.compile(
    r"register|registration|sign[-_]?up|signup|create[-_]?(?:user|account)|(?:change|reset|forgot|update|recover)[-_]?pass|password[-_]?(?:reset|change|forgot|recover)|refresh|introspect|revoke|log[-_]?out|sign[-_]?out",
    re.I,
)

#: Names of cookies that carry a session.
SESSION_COOKIE = re.compile(
    r"^(?:__host-|__secure-)?(?:.{0,24}[-_.])?(?:session|sessid|sessionid|sid|auth|token|jwt|access[-_]?token|connect\.sid|jsessionid|phpsessid|remember(?:_me|_token)?)$|session",
    re.I,
)

#: Headers and cookies that hold no credential whatever their value.
ORDINARY_HEADER = re.compile(
    r"(?:content-(?:type|encoding|md5)|host|user-agent|referer|forwarded|digest|prefer|save-data|dpr|downlink|ect|rtt|viewport-width|device-memory|proxy-connection|max-forwards|sentry-trace|sentry-release|newrelic|x-newrelic-id|(?:x-)?idempotency-key"
    r"|x-(?:forwarded-.*|real-ip|client-ip|requested-with|request-id|correlation-id|trace-id|request-start|queue-start|scheme|original-.*|amzn-trace-id|cloud-trace-context|b3-.*|datadog-.*|envoy-.*|http-method-override|method-override|inertia.*|powered-by|(?:app|client|api)-(?:version|platform|language)|platform|locale|timezone|time-zone)"
    r"|(?:x-)?[cx]srf-?token|true-client-ip|cf-(?:ray|connecting-ip|ipcountry|visitor|ew-via|warp-tag-id)|cdn-loop|hx-.*|b3|uber-trace-id|elastic-apm-traceparent|http2-settings)$",
    re.I,
)
ORDINARY_COOKIE = re.compile(
    r"^(?:_ga|_gid|_gat|_gcl|_fbp|_fbc|_hj|_pk_|_clck|_clsk|_uet|__utm|__cf|_cfuvid|cf_|awsalb|ajs_anonymous|amp_|mp_|optimizely|intercom-id|messages$|django_language|flash$)|[cx]srf|consent|theme|lang|locale|time-?zone",
    re.I,
)

#: Keys, folded, whose mere presence in a request or an answer matters.
TELLING = frozenset(
    (
        "admin isadmin administrator superuser issuperuser isstaff staff role roles rolename permission permissions "
        "scope scopes group groups privilege privileges accesslevel userlevel usertype accounttype verified isverified "
        "emailverified active isactive approved status balance credit credits wallet price discount owner ownerid userid "
        "tenant tenantid orgid organizationid password passwd pwd passwordhash hashedpassword salt secret secretkey "
        "clientsecret apikey token accesstoken refreshtoken privatekey otp mfasecret totpsecret ssn socialsecuritynumber "
        "taxid creditcard cardnumber cvv iban internal debug createdby ispremium plan"
    ).split()
)  # fmt: skip

#: Names of rules, in any framework, that allow a finite list of values.
DISCRETE = re.compile(r"enum|choice|literal|one_?of|const|invalid_choice|not_a_valid_choice", re.I)

#: Types of objects that are people: who is named there should be who asks.
PEOPLE = frozenset(
    "user account member customer profile patient employee person owner client".split()
)

#: Keys of an object that say whose it is.
OWNERS = "owner ownerid ownername username user userid accountid author authorid createdby customerid customer email".split()
