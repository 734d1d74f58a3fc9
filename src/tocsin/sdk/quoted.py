"""An exception's words without what they quote: values of rows, of statements, of requests.

Databases, validators and Python itself say what was wrong by repeating it, and what they repeat is
somebody's password as often as not.  What they say beside it (which constraint, which statement) is
kept.
"""

from __future__ import annotations

import re
import sys

from tocsin.sdk.refusals import complaints_of

__all__ = ["without_values", "words_of"]

#: Of longer words, and statements, the rest is left out.
LONGEST = 8_192
STATEMENT = 1_024

#: Packages whose exceptions come from a database.
_DATABASES = frozenset(
    """sqlalchemy psycopg psycopg2 psycopg_c asyncpg sqlite3 aiosqlite MySQLdb mysql pymysql
    aiomysql asyncmy mariadb oracledb cx_Oracle pyodbc aioodbc pymssql ibm_db peewee tortoise
    piccolo pony orm databases pymongo mongoengine motor beanie neo4j cassandra duckdb
    clickhouse_driver clickhouse_connect snowflake redis elasticsearch opensearchpy""".split()
)
#: Packages of which the exceptions with these names quote what they refused.
_VALIDATORS = frozenset(
    """pydantic pydantic_core marshmallow jsonschema msgspec webargs cerberus voluptuous schema
    attrs cattrs wtforms colander fastapi typeguard beartype""".split()
)
_REFUSING = re.compile(r"Invalid|Validation|Schema|Coercion|Violation")
#: The same, where only the name of the class is told.
_BARE_DATABASE = re.compile(
    r"(?:Integrity|Data|Operational|Programming|Interface|Internal|NotSupported|Database|DBAPI"
    r"|Statement|DuplicateKey|Write|BulkWrite|InvalidTextRepresentation)Error"
    r"|(?:Unique|NotNull|ForeignKey|Check)Violation\w*|\w{0,32}Truncation"
)
_BARE_VALIDATOR = re.compile(r"\w{0,64}ValidationError")


def words_of(error: BaseException, *, refuses: bool | None = None) -> str:
    """What *error* says, without values; nothing if it *refuses* values: then its words quote them.

    Whether it does is found out if it is not told.  May raise whatever ``__str__`` raises.
    """
    if complaints_of(error) if refuses is None else refuses:
        return ""
    words = str.__str__(str(error))[:LONGEST]
    if isinstance(error, _REPEATING) and type(error).__module__ in sys.stdlib_module_names:
        return _marked(_of_python(words, type(error).__name__))
    for kind in type(error).__mro__:
        if kind.__module__ != "builtins" and (found := _known(kind.__module__, kind.__name__)):
            return "" if found == "validator" else _marked(_of_database(words))
    return _marked(words)


def without_values(words: str, kind: str = "") -> str:
    """*words* without values, when they are told as text; *kind*: of which class, if that is known.

    >>> without_values("no: Key (email)=(joe@example.org) already exists.")
    'no: Key (email)=(?) already exists.'
    >>> without_values("duplicate key\\nDETAIL:  Failing row contains (7, joe, S3cr3t).")
    'duplicate key'
    >>> without_values("near 'S3cr3t': syntax error", "sqlite3.OperationalError")
    'near ?'
    """
    module, _, name = kind.rpartition(".")
    found = _known(module, name) if module else _bare(name) if name else None
    if found == "validator":
        return ""
    if found == "python":
        words = _of_python(words, name)
    return _marked(_of_database(words) if found == "database" else words)


def _known(module: str, name: str) -> str | None:
    """``database``, ``validator`` or ``python``, if the class *name* of *module* is of one."""
    package = module.partition(".")[0]
    if package in _DATABASES or (package == "django" and module.startswith("django.db")):
        return "database"
    if package in sys.stdlib_module_names and _BARE_PYTHON.search(name):
        return "python"
    return "validator" if package in _VALIDATORS and _REFUSING.search(name) else None


def _bare(name: str) -> str | None:
    if _BARE_PYTHON.fullmatch(name):
        return "python"
    if _BARE_DATABASE.fullmatch(name):
        return "database"
    return "validator" if _BARE_VALIDATOR.fullmatch(name) else None


# --- words of Python itself -----------------------------------------------------------------------

#: Those of its classes that repeat what they were given; others quote names of the program.
_REPEATING = (ValueError, LookupError)
_BARE_PYTHON = re.compile(r"(?:Value|Key|Index|Lookup|Unicode\w{0,16}|JSONDecode)Error")
_QUOTED = r"b?(?:'(?:[^'\\]|\\.)*+'?|\"(?:[^\"\\]|\\.)*+\"?)"
#: Anything in quotes but the name of a codec; an apostrophe opens none.
_ANY_QUOTED = re.compile(rf"(?<!\w)(?!'[\w\-]{{1,20}}' codec ){_QUOTED}", re.S)
#: The same where it is known of the words around it, whoever tells them.
_TOLD = re.compile(
    r"(invalid literal for \w{1,16}(?:\(\) with base [0-9]{1,2})?: |could not convert string to "
    r"\w{1,16}: |[Ii]nvalid \w{1,16} string: |[Tt]ime data |KeyError: )" + _QUOTED,
    re.S,
)
_REST = re.compile(r"(unconverted data remains: |unknown encoding: |with key )[^\n]*+")
_TELLS = ("invalid ", "Invalid ", "could not convert", "ime data ", "KeyError: ", "remains: ")


def _of_python(words: str, name: str) -> str:
    """*words* of an error of the class *name*; a key is all that a KeyError says."""
    if name == "KeyError":
        return "?"
    return _REST.sub(r"\1?", _ANY_QUOTED.sub("?", words))


# --- words of databases ---------------------------------------------------------------------------

#: A driver's error that is told as its arguments, number and text, perhaps within SQLAlchemy's.
_ARGUMENTS = re.compile(r"(\([\w.]{1,128}\) )?\((-?[0-9]{1,6}), b?[\"'](.*)[\"']\)", re.A | re.S)
#: Names in double quotes that are those of the schema.
_SCHEMA = re.compile(
    r"\b(constraint|relation|table|index|column) \"([\w.$\-]{1,64})\"(?= of | violates |$)", re.A
)
#: The same, at the end of MySQL's.
_AT_END = re.compile(r" for (?:key|column) '[\w.$\-]{1,128}'(?: at row [0-9]{1,9})?\Z", re.A)
#: From here on values are told.
_QUOTES = re.compile(
    r"[\"'`\u201c]|(?:(?:value is|values are|contains|=) ?)\(|dup key: |full error: "
)


def _of_database(words: str) -> str:
    """The first line, which says what is wrong, up to a value in it; and the statement's shape."""
    words, _, statement = words[:LONGEST].partition("\n[SQL: ")
    statement = statement.partition("\n[parameters: ")[0].removesuffix("]")[:STATEMENT]
    if told := _ARGUMENTS.fullmatch(words):
        words = f"{told[1] or ''}{told[2]}: {told[3]}"
    first = _SCHEMA.sub(r"\1 \2", words.partition("\n")[0])
    begin = _QUOTES.search(first)
    if begin is not None:
        end = _AT_END.search(first, max(begin.end(), len(first) - 192))
        first = f"{first[: begin.start()]}?{end[0] if end else ''}"
    return f"{first}\n[SQL: {_shape(statement)}]" if statement else first


_LITERAL = re.compile(
    r"'(?:[^'\\]|''|\\.)*+'?|\"[^\"]*+\"?|\$(\w*+)\$.*?(?:\$\1\$|\Z)|(?<![\w$:])[0-9][\w.]*+",
    re.A | re.S,
)


def _shape(statement: str) -> str:
    """A statement without literals; what stands in double quotes may be one, in MySQL's dialect."""
    return _LITERAL.sub("?", statement)


# --- any words ------------------------------------------------------------------------------------

_MARKS = (
    "[SQL: ",
    "[parameters: ",
    "\nDETAIL:  ",
    "\nLINE 1: ",
    "Failing row contains (",
    "Key (",
    "input_value=",
    ' near "',
    "invalid input syntax for",
    "Duplicate entry '",
)
_KEY_ENDS = (") already exists", ") is not present", ") is still referenced", ") conflicts")


def _marked(words: str) -> str:
    """*words* without values that stand where databases, validators and Python put them."""
    if any(mark in words for mark in _TELLS):
        words = _REST.sub(r"\1?", _TOLD.sub(r"\1?", words))
    if not any(mark in words for mark in _MARKS):
        return words
    for mark in ("\nDETAIL:  ", "\nLINE 1: ", "[parameters: "):
        words = words.partition(mark)[0].rstrip()
    head, mark, statement = words.partition("[SQL: ")
    if mark:
        words = head + mark + _shape(statement[:STATEMENT])
    head, mark, _ = words.partition("Failing row contains (")
    if mark:
        words = f"{head}{mark}?)"
    for begin, end in _BETWEEN:
        words = _without(words, begin, end)
    start = words.find(")=(", words.find("Key ("))
    if "Key (" in words and start >= 0:
        at = max(words.rfind(end, start) for end in _KEY_ENDS)
        words = f"{words[: start + 3]}?{words[at:] if at > start else ')'}"
    if "input_value=" in words:
        lines = words.split("\n")
        words = "\n".join(_without(line, _INPUT, ", input_type=") for line in lines)
    return words


#: From a mark to an end, both left: what stands between them is a value.
_BETWEEN = (
    (re.compile(' near "'), '"'),
    (re.compile(r'invalid input syntax for [\w ]{1,64}: "', re.A), '"'),
    (re.compile("Duplicate entry '"), "' for key"),
)
_INPUT = re.compile("input_value=")


def _without(words: str, mark: re.Pattern[str], end: str) -> str:
    """*words* without what stands between *mark* and the last *end*, or the end of all."""
    begin = mark.search(words)
    if begin is None:
        return words
    at = words.rfind(end, begin.end())
    return f"{words[: begin.end()]}?{words[at:] if at >= 0 else ''}"
