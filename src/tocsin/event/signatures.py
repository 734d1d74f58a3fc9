"""First signs of attack in a request or a log line: what each class looks like, as data.

Written from what the attacks have to do: leave a string, start a statement, open a tag, climb a
directory, reach an inside address.  A pattern asks for the *grammar* of an attack, not for a word,
so that prose which only talks about one passes.  Patterns read alike in ``re`` and in Hyperscan.

They look at a value as :func:`view` shows it: percent-decoded, ``+`` of a query as space, line feed
as vertical tab (a line feed ends a value in the scan buffer).  Where the decoded text still has
escapes that decode, the value was encoded twice: that is a sign of its own, ``enc.double``, and the
patterns look at the second layer too.
"""

# One row of a table is one line, whatever its length.
# ruff: noqa: E501

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

from msgspec import Struct

__all__ = [
    "COMMENT",
    "DOUBLE",
    "PLACES",
    "PROBES",
    "SIGNATURES",
    "Signature",
    "label",
    "match",
    "view",
    "views",
]

#: Tag of a value that was percent-encoded twice.
DOUBLE = "enc.double"

#: Letter of a place in :attr:`Signature.places`, and the column that it is.
PLACES = {
    "p": "path",
    "q": "query",
    "r": "referer",
    "u": "user_agent",
    "b": "probe_body",
    "h": "probe_header",
    "m": "message",
    "w": "raw",
}

#: Columns that are looked at and never kept: what an app hands over of a request's values, as lines
#: ``name=value``.  A line feed within a value stands in them as vertical tab.
PROBES = ("probe_body", "probe_header")


class Signature(Struct, frozen=True, gc=False):
    """One sign of one class of attack, looked for in some places, whatever the case."""

    kind: str
    places: str
    pattern: str


_S = r"[ \t\x0b\r\f+]"  # a space, in a request

#: SQL comments stand for a space, and code hides in them; both are undone first.
#: (A pattern cannot say so itself: Hyperscan 5.4 misses matches of ``;(?:[ ]|/\*[^*]*\*/)*drop``.)
COMMENT = r"/\*(?:![0-9]{0,5}|[^*\n]*\*/)|\*/"
_URL = r"(?:https?:|ftp:)?//(?:[^/@\n&]*@)?"
_NET = "pqru"
_ALL = "pqrumw"


def _table() -> Iterator[Signature]:
    for kind, places, patterns in _CLASSES:
        # A body may hold lines of text, so new lines in it forge nothing.
        body = "b" * ("q" in places and kind not in {"forge", "header"})
        header = "h" * ("r" in places and kind not in {"forge", "header", "file"})
        for pattern in patterns:
            yield Signature(
                kind,
                places + body + header,
                pattern.replace("~+", f"{_S}+").replace("~*", f"{_S}*"),
            )


_CLASSES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("sqli", _ALL, (
        r"\bunion~+(?:all~+|distinct~+)?\(*~*select\b~*[^\n]*(?:,|\bfrom\b|\bnull\b|[0-9(@'\"*])",
        r";~*(?:drop~+(?:table|database|schema|view|user|index)|truncate~+table|alter~+(?:table|user|login)|insert~+into|delete~+from|update~+\w{1,64}~+set|shutdown\b~*(?:\n|--|;|with))",
        r"\b(?:xp_cmdshell|sp_executesql|sqlite_master|pg_shadow|pg_sleep~*\(|dbms_pipe\.receive_message|utl_http\.request|utl_inaddr\.)",
        r"\bwaitfor~+delay~+['\"]",
    )),
    ("sqli", "pqr", (
        r"['\"]~*\)*~*(?:\bor\b|\band\b|\bxor\b|\|\||&&)~*(?:not~+)?\(*~*['\"]?[\w%]{0,32}['\"]?~*(?:=|<>|!=|<|>|\blike\b|\bis~+(?:not~+)?null|\bbetween\b|\brlike\b|\bin~*\()",
        r"\b(?:or|and|having|where)~+(?:not~+)?\(*[0-9]{1,8}(?:\)*~*(?:=|<>|!=|\blike\b)~*\(*~*|[<>])['\"]?[0-9]{1,8}",
        r"['\"]~*\)*~*(?:--(?:[ \t\x0b\r+\-]|\n)|#\n|;~*(?:--|#|\n)|/\*)",
        r"[0-9]\)*~+(?:or|and)~+[\w'\"(]{1,32}~*=~*[\w'\"(]{1,32}~*(?:--|#|/\*)",
        r"(?:['\")]|[0-9])~*\)*~+(?:order|group)~+by~+[0-9]{1,4}~*(?:--|#|,|\n)",
        r"(?:['\")0-9]|\b(?:or|and))(?:~*\|\||~+|\+)~*\(?~*\bselect\b~+[\w(*@'\"]",
        r"\(~*select\b~*(?:[*(@'\"]|\w+~*[(,]|\w+~+from\b|[0-9]|case~+when)",
        r"\bselect~+(?:\*|[\w.]+~*\([^\n]*\)|[\w.]+(?:~*,~*[\w.]+)+|@@\w+|[0-9]+)~*from~+[\w`\"\[(.]",
        r"\bselect~+(?:@@\w+|(?:version|user|database|current_user|sleep|load_file)~*\()",
        r"(?:^|[^.\w])sleep~*\(~*['\"]?[0-9]{1,10}['\"]?~*\)|\brandomblob~*\(|\buser_lock\.sleep~*\(|\bregexp_substring~*\(~*repeat|\biif~*\(~*[0-9]+~*=",
        r"\bbenchmark~*\(~*[0-9]{3,}~*,",
        r"\b(?:extractvalue|updatexml|load_file|group_concat|string_agg|json_extract|ctxsys\.drithsx\.sn)~*\(~*(?:[0-9'\"@(]|0x|concat|select|\w+~*,)",
        r"\binto~+(?:out|dump)file~+['\"]",
        r"\binformation_schema\b|\bpg_catalog\b|\bsys(?:objects|columns|users)\b~*(?:where|\n|--)|@@(?:version|datadir|hostname|servername)",
        r"\b(?:and|or)~+(?:not~+)?(?:exists|ascii|substr|substring|mid|length|ord|hex|char|if|elt|make_set|strcmp)~*\(",
        r"\bconcat(?:_ws)?~*\(~*(?:0x|char~*\(|@@|\(~*select)",
        r"\b(?:char|chr|nchar)~*\(~*[0-9]{2,3}~*\)(?:~*(?:\|\||\+|,)~*(?:char|chr|nchar)~*\(~*[0-9]{2,3}){1}",
        r"\bchar~*\([0-9]{2,3}(?:~*,~*[0-9]{2,3}){2}",
        r";~*(?:declare~+@|exec(?:ute)?~*\(?~*(?:@|master|xp_|sp_|immediate)|select~+(?:sleep|pg_|[*0-9@]|\w+~+from))",
        r"\bprocedure~+analyse~*\(|\bcase~+when~+[^\n]{1,64}~+then\b",
        r"['\"]~*(?:\|\||\+)~*['\"(][^\n]*['\"]~*(?:\|\||\+|--|=)",
    )),
    ("nosqli", "pqm", (
        r"\[~*\$(?:ne|eq|gt|gte|lt|lte|in|nin|regex|where|exists|or|and|not|type)~*\]",
        r"[{,]~*['\"]?\$(?:ne|gt|gte|lt|lte|nin|regex|where|exists)['\"]?~*:",
    )),
    ("xss", _ALL, (
        r"<~*/?script(?:[ \t\x0b\r/>]|\n)",
        r"<[a-z][a-z0-9]{0,15}[ \t\x0b\r\f/+][^>\n]*\bon(?:error|load|click|focus|blur|mouse[a-z]{2,6}|toggle|start|begin|end|key[a-z]{2,5}|pointer[a-z]{2,6}|animation[a-z]{3,9}|transition[a-z]{3,6}|submit|input|change|wheel|copy|cut|paste|drag[a-z]{0,5}|drop|resize|scroll|hashchange|pageshow|message|beforeinput|auxclick|contextmenu|dblclick|canplay|play|ended|finish|bounce|loadstart|cuechange|unload|show|search|invalid|select)~*=",
    )),
    ("xss", "pqru", (
        r"<~*(?:iframe|embed|object|applet|meta|base|link|svg|math|frameset|isindex|marquee|bgsound|xml|template|noscript|style|body|video|audio|details)(?:[ \t\x0b\r/+][^>\n]*)?(?:>|\bon[a-z]{3,20}~*=|(?:src|href|data|srcdoc|code|content|xlink:href|action|formaction)~*=)",
        r"<~*img[ \t\x0b\r/+][^>\n]*(?:src|dynsrc|lowsrc)~*=~*['\"]?(?:x\b|java|data:|#|[^\n]*on)",
        r"<[a-z][^>\n]*(?:style|href|src|action|formaction|background|data|xlink:href)~*=~*['\"]?~*(?:java|vb|live)~*script~*:",
        r"(?:=|['\"(>]|^|\n)~*(?:javascript|vbscript|livescript)~*:[^\n]*[(=`.]",
        r"\bdata:(?:text/(?:html|javascript)|image/svg[+ ]?xml|application/(?:xhtml[+ ]?xml|javascript))[;,]",
        r"['\"`]~*/?>?~*\bon(?:error|load|click|focus|blur|mouse[a-z]{2,6}|toggle|key[a-z]{2,5}|pointer[a-z]{2,6}|animation[a-z]{3,9}|begin|start)~*=",
        r"\b(?:alert|confirm|prompt)~*(?:\(~*(?:[0-9]{1,8}|['\"`/][^\n]*|document\b[^\n]*|window\b[^\n]*|this\b|location\b[^\n]{0,20}|string\.[^\n]*|\w{1,20})?~*\)|`)",
        r"\bdocument~*(?:\.|\[~*['\"])(?:cookie|write(?:ln)?|location|domain|body|documentElement)\b",
        r"\b(?:window|self|top|parent|this)~*(?:\.|\[~*['\"])(?:location|name|open|eval|alert|document)\b['\"\]]*~*(?:[=(.\[])",
        r"\bstring\.fromcharcode~*\(|\b(?:eval|settimeout|setinterval|function)~*\(~*(?:['\"`]|atob|string\.|unescape|location|name\b)",
        r"(?:&#x?[0-9a-f]{2,7};?){4}",
        r"\bexpression~*\([^\n]*(?:alert|document|window)|-moz-binding~*:|\burl~*\(~*['\"]?~*javascript|behaviou?r~*:~*url",
        r"\b(?:innerhtml|outerhtml|insertadjacenthtml)~*[=(]|\bfetch~*\(~*['\"`](?:https?:)?//|\bimport~*\(~*['\"`](?:https?:|data:|//)",
        r"<!--[^\n]*(?:#~*(?:exec|include|echo)|-->~*<)|\]\]>~*<|<\?xml[- ]",
    )),
    ("xxe", _ALL, (
        r"<!(?:doctype|entity)\b[^>\n]*(?:\bsystem\b|\bpublic\b|\[|%)",
        r"<[a-z]{1,8}:include\b[^>\n]*href~*=",
    )),
    ("traversal", "pqr", (
        r"(?:\.\.?[/\\]+){2}\.*[/\\]*[^\n]*(?:etc|proc|var|windows|winnt|boot|win\.ini|passwd|web-inf|root|home|usr|config|\.ssh|htpasswd)\b",
        r"(?:\.\.[/\\]){2}",
        r"\.\.(?:;|\x00|%00)/|\.{4,}[/\\]|\.\.\\|\.\.0x(?:2f|5c)|\.\.%(?:2f|5c|c0|u)|%c0%(?:ae|af|2f)|%c1%(?:9c|1c)|%uff0e|%u2215|%u2216",
        r"=~*(?:file|php|phar|zip|expect|glob|compress\.[a-z0-9]{2,5}|netdoc|jar)~*:(?://|/)",
        r"=~*(?:\\\\|//)[^\n&/\\]{1,64}[\\/][a-z]\$",
        r"=~*[a-z]:[\\/]+(?:windows|winnt|boot\.ini|inetpub|users[\\/]|program)",
    )),
    ("traversal", "pqr", (r"(?:[/=:]|\n)\.\.[/\\][^\n]",)),
    ("file", "pqrmw", (
        r"/etc/+(?:\./+)*(?:passwd|shadow|gshadow|group|sudoers|hosts|issue|crontab|fstab|ssh/|mysql/|nginx/|apache2/|httpd/|resolv\.conf|my\.cnf|inittab)",
        r"/proc/+(?:self|[0-9]{1,7}|version|cmdline|cpuinfo|mounts)(?:/|\n|[^\w])",
        r"\b(?:boot|win|system)\.ini(?:\n|[^\w])|[\\/]system32[\\/]|[\\/]windows[\\/]win",
        r"[\\/=](?:id_(?:rsa|dsa|ecdsa|ed25519)|authorized_keys|\.bash_history|\.mysql_history|\.pgpass|\.netrc)(?:\n|[^\w])",
    )),
    ("file", "p", (
        r"/\.(?:env|git|svn|hg|bzr|aws|ssh|htpasswd|htaccess|ds_store|npmrc|pypirc|docker|dockercfg|dockerenv|kube|vscode|idea|bash_history|bashrc|profile|remote-sync\.json|gitlab-ci\.yml|travis\.yml|sftp-config\.json)(?:[/.\-_]|\n)",
        r"/(?:wp-config|configuration|config\.inc|localsettings|settings\.local)\.php(?:\.|~|\n|[_\-])",
        r"/web-inf/|/meta-inf/|/web\.config(?:\n|\.)|/cgi-bin/[^\n]*\.(?:cgi|pl|sh)|/phpunit/|/phpinfo(?:\.php)?(?:\n|/)|/adminer[\w.-]{0,10}\.php|/phpmyadmin|/pma/|/server-status(?:\n|/)|/server-info(?:\n|/)",
        r"/actuator/(?:env|heapdump|threaddump|dump|trace|httptrace|mappings|configprops|beans|jolokia|loggers|gateway|logfile|shutdown|refresh)",
        r"/(?:solr/admin|manager/html|jmx-console|web-console|invoker/|hnap1|boaform|gponform|setup\.cgi|shell\?|debug/pprof|_ignition/|telescope/|_profiler/|\.well-known/\.\.|owa/auth/x|ecp/|autodiscover/autodiscover\.json\?@|vpn/\.\.|remote/fgt_lang|dana-na/|xmlrpc\.php)",
        r"/(?:backup|dump|database|db|site|www|data|users|mysql|sql|prod|export|credentials|secrets?|passwords?)[\w.-]{0,16}\.(?:sql|zip|tar|tgz|gz|bak|old|dump|rar|7z|sqlite3?|db|mdb|kdbx)(?:\n|\.)",
        r"\.(?:php|jsp|asp|aspx|py|rb|js|json|yml|yaml|xml|conf|config|ini)(?:\.(?:bak|old|orig|save|swp|backup)|~)(?:\n)",
    )),
    ("cmdi", _ALL, (
        r"\(\)~*\{~*[^\n}]*;?~*\}~*;",
        r"/dev/(?:tcp|udp)/[\w.]",
        r"\b(?:bash|sh|nc|ncat|netcat)~+-[a-z]*[ie][a-z]*~+(?:[^\n]*[0-9]{2,5}|>&|/bin/)",
        r"\b(?:wget|curl|fetch|lwp-download|tftp)~+[^\n;|&]*(?:https?|ftp)://[^\n]*(?:\||;|&&)~*(?:sudo~+)?(?:ba|z|da)?sh\b",
    )),
    ("cmdi", "pqru", (
        r"(?:[;|`\r\x0b]|&&|\$\(|%0a)~*(?:/(?:usr/)?(?:s?bin)/)?(?:whoami|uname|wget|curl|ncat|ifconfig|ipconfig|netstat|nslookup|powershell(?:\.exe)?|systeminfo|chmod|certutil|busybox|xxd|cmd\.exe|passwd|useradd|traceroute|tasklist|phpinfo)(?:[ \t\x0b\r+;|&`)<>\"'\-/]|\n)",
        r"(?:[;|`\r\x0b]|&&|\$\(|%0a)~*(?:id|ls|ps|pwd|dir|env|set|w|ver|hostname|reboot)~*(?:[;|&`)#]|\n)",
        r"(?:[;|`&\r\x0b]|\$\(|%0a)~*(?:cat|ls|dir|type|find|ping|sleep|nc|echo|printf|rm|cp|mv|python[23]?|perl|ruby|php|lua|node|sh|bash|zsh|touch|tail|head|more|less|tac|nl|od|dig|host|env|awk|sed|grep|kill|net|base64|telnet|ftp|ssh|scp|crontab|exec|eval|expr|mail|mknod|mkdir|timeout|openssl|tar|zip|service|systemctl|start|dd|date)(?:~+|<|\$ifs\$?[0-9]?|\$\{ifs\}|,)(?:-{1,2}[a-z0-9]|[/\\.$'\"*~<>(]|[0-9]{1,6}~*(?:\n|[;|&#`)])|[a-z]:[\\/]|[\w\-]{1,40}(?:[./\\<>$;|&`)#\"']|\n)|user\b|https?:)",
        r"`~*(?:id|whoami|uname|cat|ls|curl|wget|ping|sleep|nslookup|dig|echo|touch|hostname|ifconfig|env|pwd)\b[^`\n]*`",
        r"\$\(~*(?:id|whoami|uname|cat|ls|curl|wget|ping|sleep|nslookup|dig|echo|touch|hostname|env|expr|printf|[0-9+*()]{3,})[^)\n]*\)",
        r"\$\{?ifs\}?\b|\$ifs\$[0-9]|\{(?:cat|ls|wget|curl|ping|id|echo|sleep),",
        r"/(?:usr/)?bin/(?:(?:ba|da|z|c|k|tc|a)?sh|id|cat|ls|wget|curl|perl|python[23]?|nc|whoami|uname|ps|ping|echo|sleep|chmod|rm)\b",
        r"\bcmd(?:\.exe)?~*[/-][ckr]\b|\bcmd(?:\.exe)?~+/|\bpowershell(?:\.exe)?~+-|%(?:comspec|systemroot|programfiles|windir)%",
        r"\b(?:system|passthru|shell_exec|proc_open|popen|pcntl_exec|exec|assert|call_user_func(?:_array)?|create_function|preg_replace|file_put_contents|base64_decode|phpinfo)~*\(~*(?:['\"$)`]|chr~*\(|base64|array|get_defined)",
        r"<\?(?:php|=)|<%[=@!]|\bphp~*://(?:input|filter)|\b(?:auto_prepend_file|allow_url_include|disable_functions)~*=",
        r"\b__import__~*\(|_\$\$nd_func|\bos\.(?:system|popen|exec[a-z]{0,3}|environ)\b|\bsubprocess\.(?:popen|call|run|check_)|\bchild_process\b|\bprocess\.(?:mainmodule|binding|env)\b|\brequire~*\(~*['\"](?:child_process|fs|os|net)",
        r"\bjava\.lang\.(?:runtime|processbuilder|system|class|string)|\bruntime\.getruntime\b|\bjavax\.script\b|\bnew~+processbuilder\b|\bgroovy\.(?:util|lang)\b",
        r"(?:[;|&]|\n|=)~*(?:sleep|ping~+-[nc])~+[0-9]{1,4}~*(?:[;|&#]|\n)",
        r">{1,2}~*/(?:dev|tmp|var|etc|home)/|<~*/etc/|\|~*tee~+/",
    )),
    ("ssti", "pqrum", (
        r"\{\{[^}\n]*(?:[0-9]~*[*+-]~*['\"]?[0-9]|__\w+__|\bself\b|\bconfig\b[.|} ]|\brequest[.\[|]|constructor|_self\b|cycler|lipsum|joiner|namespace\(|\.get\(|range\(|\|~*(?:attr|map|filter|system|join)\b|''|\"\"|\bapp\.|\bsettings\.|get_flashed|url_for)",
        r"[$#*@]\{[^}\n]*(?:[0-9]~*[*]~*[0-9]|\bt\(~*java|\.class\b|getclass|runtime|applicationscope|sessionscope|param\.|#rt|#_member|#context|\.exec\(|\.concat\()",
        r"__(?:class|mro|base|bases|subclasses|globals|builtins|init|import|getattribute|code)__",
        r"<%=?~*[^%\n]*[0-9]~*\*~*[0-9]|\{%~*(?:import|include|set|debug|for|if|extends|raw|load)~+[^\n]*%?\}?|<#assign|freemarker\.template|\?new\(\)|#set~*\(~*\$|@\([0-9]+\*[0-9]+\)|%\{~*\(?~*#|\(#(?:_memberaccess|context|application|ognl)|@ognl\.|@java\.lang",
        r"\{(?:php|literal)\}|\{(?:self|smarty)[:.$][^\n]*|\{system\(|\{\$smarty\.|\[\[\$?\{|\$\{[a-z]+\.[a-z]+\(",
    )),
    ("ssrf", "q", (
        rf"=~*{_URL}(?:localhost|127\.[0-9]|0\.0\.0\.0|0(?:[:/]|\n)|10\.[0-9]{{1,3}}\.[0-9]{{1,3}}\.[0-9]|192\.168\.[0-9]|172\.(?:1[6-9]|2[0-9]|3[01])\.[0-9]|169\.254\.[0-9]|100\.100\.100\.200|\[(?:::1?\]|::ffff:|0:0:0|fd[0-9a-f]{{2}}:|fe80:)|metadata\.google|metadata(?:[:/]|\n)|instance-data(?:[:./]|\n)|0x7f|0x[0-9a-f]{{8}}|2130706433|017700000001|0177\.|2852039166|[0-9]{{8,10}}(?:[:/]|\n))",
        rf"=~*{_URL}[\w.-]{{1,128}}\.(?:internal|localdomain|local|nip\.io|sslip\.io|xip\.io|localtest\.me|lvh\.me|burpcollaborator\.net|oastify\.com|interact\.sh|oast\.[a-z]{{2,8}}|requestbin\.net|dnslog\.cn|ceye\.io|webhook\.site|ngrok\.io|pipedream\.net)(?:[:/?&]|\n)",
        r"=~*(?:gopher|dict|tftp|ldaps?|sftp|netdoc|jar|rmi|file|smb|ssh2|ogg|imap|pop3|telnet)~*:~*//",
        r"=~*(?:url|uri)~*:~*(?:file|gopher|https?)~*:",
    )),
    ("ssrf", "pqrum", (
        r"169\.254\.169\.254|/latest/(?:meta-data|user-data|dynamic/instance)|/computemetadata/v1|metadata\.google\.internal|/metadata/(?:instance|identity/oauth2)|fd00:ec2::254",
    )),
    ("jndi", _ALL, (
        r"\$\{[^}\n]*(?:jndi|\$\{|:-[a-z]|(?:lower|upper|env|sys|date|main|java|ctx|base64):)",
        r"\bjndi~*:~*(?:ldaps?|rmi|dns|iiop|https?|nis|nds|corba)~*:",
    )),
    ("forge", "pqru", (
        r"\x1b(?:\[[0-9;?]{0,16}[a-z@`~]|\]|[()][a-z0-9])|\xc2\x9b",
        r"\xe2\x80[\xaa-\xae]|\xe2\x81[\xa6-\xa9]",
        r"[\r\x0b][^\n\r\x0b]*(?:[0-9]{4}-[0-9]{2}-[0-9]{2}|\b[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\b|\b(?:info|warn(?:ing)?|error|debug|critical|notice|fatal|emerg)\b~*[\]:\-|=]|\[[0-9]{1,2}/[a-z]{3}/[0-9]{4}|\"(?:get|post|put|delete|head) |\b(?:user|login|status|level|msg|ip)=)",
    )),
    ("forge", "pu", (r"[\r\x0b]",)),
    ("header", "pqru", (
        r"[\r\x0b]~*(?:set-cookie2?|location|content-(?:type|length|encoding|disposition)|transfer-encoding|refresh|host|x-[a-z][a-z\-]{1,40}|access-control-[a-z\-]{4,24}|link|cache-control|bcc|cc|to|from|subject|mime-version)~*:",
        r"[\r\x0b]~*(?:http/[0-9.]{1,3}~+[0-9]{3}|(?:get|post|put|delete|head|options)~+/[^\n]*http/)",
    )),
    ("nul", "pqr", (r"\x00",)),
    ("ldapi", "q", (
        r"[*)\w]\)~*\(~*[|&!]~*\(?|\*\)~*\(~*[a-z]{1,20}~*=|\)~*\(~*(?:cn|uid|sn|mail|objectclass|userpassword|samaccountname|department)~*=|\(~*[|&]~*\([a-z]{1,20}=",
    )),
    ("deserial", "pqrum", (
        r"\bro0ab[a-z0-9+/]{8}|\baced0005|aaeaaad/////|(?:^|[=;:{\n\"])[oc]:[0-9]{1,3}:\"[a-z_\\][\w\\]{0,64}\":[0-9]{1,3}:|\ba:[0-9]{1,3}:\{(?:i|s):[0-9]|\bgasv[a-z0-9+/]{10}|!!(?:python/|javax\.|com\.sun\.|ruby/)|\b(?:ysoserial|objectinputstream|commonscollections)\b",
    )),
    ("proto", "pqm", (
        r"__proto__[\]\[.=\"']|\bconstructor(?:\]\[|\.|\[)prototype\b",
    )),
    ("scanner", "u", (
        r"\b(?:sqlmap|nikto|nmap scripting|masscan|zgrab|nuclei|wpscan|dirbuster|gobuster|ffuf|feroxbuster|fuzz faster|wfuzz|acunetix|nessus|openvas|burp(?:suite| ?collaborator)?|zaproxy|owasp zap|w3af|arachni|thc-hydra|havij|netsparker|invicti|qualys|jaeles|dirsearch|commix|joomscan|whatweb|metasploit|appscan|webinspect|skipfish|crawlergo|kiterunner|leakix|l9explore|l9tcpid|interactsh|xsstrike|nosqlmap|tplmap|fimap|grabber|paros|webshag|brutus|medusa|patator|cgichk|httprint|sqlninja|absinthe|bsqlbf|pangolin|vega/|dalfox|katana/|subfinder|httpx - open-source|gau/|waybackurls|censysinspect|internetmeasurement|odin\.io|project-resonance|nimbostratus|morfeus|zmeu|muieblackcat|toata|jorgee|blackwidow scan|rustbuster|hakrawler|naabu)\b",
    )),
)  # fmt: skip

#: Every signature; its place in this tuple is its id in the scan.
SIGNATURES: tuple[Signature, ...] = tuple(_table())

_RES = tuple(re.compile(s.pattern.encode("latin-1"), re.I) for s in SIGNATURES)
_COMMENT = re.compile(COMMENT)
_ONCE = frozenset({"user_agent", *PROBES})
_PERCENT = re.compile(r"%[0-9A-Fa-f]{2}", re.A)


def view(text: str, place: str) -> str:
    """*text* of column *place* as the patterns see it, one layer decoded.

    >>> view("q=a%27+OR%201%3D1", "query")
    "q=a' OR 1=1"
    """
    if place == "query":
        text = text.replace("+", " ")
    return unquote(text, errors="replace") if "%" in text else text


def views(text: str, place: str) -> tuple[str, ...]:
    """What to look at: once decoded and, where that still holds escapes, twice."""
    if place in {"message", "raw"}:
        return (text,)
    once = view(text, place)
    if place in _ONCE or not _PERCENT.search(once):
        return (once,)
    twice = unquote(once, errors="replace")
    return (once, twice) if twice != once else (once,)


def label(place: str) -> str:
    """What a tag calls column *place*.

    >>> label("query"), label("probe_body")
    ('query', 'body')
    """
    return place.removeprefix("probe_")


def match(text: str, place: str) -> set[str]:
    """Tags of all that *text* of column *place* shows: ``sig.sqli.query``, ``enc.double``.

    One text at a time, by ``re``: the plain meaning of the table, for tests and for single values.
    """
    letter = next(k for k, v in PLACES.items() if v == place)
    seen = views(text, place)
    tags = {DOUBLE} if len(seen) > 1 else set[str]()
    for shown in seen:
        plain = _COMMENT.sub(" ", shown if place in PROBES else shown.replace("\n", "\x0b"))
        data = b"\n" + plain.encode("utf-8", "replace") + b"\n"
        tags.update(
            f"sig.{s.kind}.{label(place)}"
            for s, pattern in zip(SIGNATURES, _RES, strict=True)
            if letter in s.places and pattern.search(data)
        )
    return tags
