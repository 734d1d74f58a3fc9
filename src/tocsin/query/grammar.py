"""The grammar of a search, and what to say when a text does not follow it.

A word is everything up to a blank, a parenthesis, a quote or a bar, so that ``/v1/users/{id}``,
``fe80::1`` and ``alice@example.org`` need no quotes after a field.  A word that runs into one of
those characters is an error rather than two terms.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from lark import Lark, Token, UnexpectedInput, UnexpectedToken

from tocsin.errors import QueryError

__all__ = ["explain", "parser"]

_GRAMMAR = r"""
start: either?
either: both (OR both)*
both: maybe_not (AND? maybe_not)*
?maybe_not: (NOT | MINUS) maybe_not -> negated
    | LPAR either RPAR -> group
    | FIELD value -> term
    | FIELD LPAR value (OR value)* RPAR -> any_of
    | (STRING | BARE) -> free
value: CMP? (STRING | BARE) | RANGE | REGEX

FIELD.3: /[A-Za-z_][A-Za-z0-9_.@-]*:(?=\S)/
AND.2: /and(?=[\s()"]|$)/i
OR.2: /or(?=[\s()"]|$)/i
NOT.2: /not(?=[\s()"]|$)/i
MINUS: "-"
LPAR: "("
RPAR: ")"
CMP: ">=" | "<=" | ">" | "<"
STRING.2: /"(?:\\.|[^"\\])*"@/s
REGEX.2: /~"(?:\\.|[^"\\])*"@/s
RANGE.2: /\[\s*(?:"(?:\\.|[^"\\])*"|[^\s"\]]+)\s+to\s+(?:"(?:\\.|[^"\\])*"|[^\s"\]]+)\s*\]@/is
BARE: /(?!(?:and|or|not)(?=[\s()"|]|$))[^\s()"|<>~\[-][^\s()"|]*+@/i
%ignore /\s+/
""".replace("@/", r"(?=[\s)]|$)/")  # a value ends where a blank or ")" follows, or nothing

_KEYWORD = re.compile(r'(and|or|not)(?=[\s()"|]|$)', re.IGNORECASE)


@cache
def parser(callbacks: Any) -> Lark:
    """A parser that builds with *callbacks* as it goes: no tree, no recursion."""
    return Lark(_GRAMMAR, parser="lalr", lexer="contextual", transformer=callbacks)


def explain(text: str, error: UnexpectedInput) -> QueryError:
    """What is wrong with *text* where the parser gave up, in words and with the way out."""
    if isinstance(error, UnexpectedToken):
        token: Token = error.token
        at = len(text) if token.type == "$END" else token.start_pos or 0
    else:
        at = error.pos_in_stream or 0
    return _explain(text, at)


def _explain(text: str, at: int) -> QueryError:
    here = text[at : at + 1]
    field = re.search(r"[\w.@-]+:(?:>=|<=|>|<)?\s*$", text[:at])
    word = re.compile(r'[^\s()"|]*').match(text, at)
    assert word is not None
    after = text[word.end() : word.end() + 1]

    def error(message: str, where: int = at) -> QueryError:
        return QueryError(message, column=where + 1)

    if not here:
        return error(_unfinished(text, field is not None))
    if here == "|":
        return error('"|" is reserved; to search for it, quote it: "a|b"')
    if here == '"' or (field and text.startswith('~"', at)):
        return error(_quoting(text, at + (here == "~")))
    if here == ")":
        return error(_closing(text, at))
    if here == "[":
        return error("a range is written [400 TO 499], closed and followed by a blank")
    if here in "<>":
        return error(
            f'"{here}" must follow a field, as in status:>=500; to search for it, quote it'
        )
    if here == "~":
        return error(
            'a regular expression is written field:~"..."; a text that begins so is quoted'
        )
    if keyword := _KEYWORD.match(text, at):
        return error(_keyword(keyword[1], field[0] if field else None))
    if here == "-" and field:
        return error(f'a value that begins with "-" must be quoted: {field[0]}"{word[0]}"')
    if after == "|":
        return error('"|" is reserved; to search for it, quote the whole: "a|b"', word.end())
    if here == "(" and re.search(r":\([^()]*$", text[:at]):
        return error("parentheses after a field hold values and OR, nothing deeper")
    if after in ("(", '"') and after:
        return error(
            f'"{after}" may not follow a word directly; quote the whole: \'"..."\','
            " or put a blank before it",
            word.end(),
        )
    return error(f'"{word[0] or here}" does not fit here; inside field:( ) put OR between values')


def _unfinished(text: str, after_field: bool) -> str:
    if after_field:
        return 'the value is missing; any value is field:*, an empty one field:""'
    opened = re.sub(r'"(?:\\.|[^"\\])*"', "", text, flags=re.DOTALL)
    if opened.count("(") > opened.count(")"):
        return '")" is missing at the end'
    return "something must follow at the end; a keyword meant as a word is quoted"


def _quoting(text: str, at: int) -> str:
    if re.compile(r'"(?:\\.|[^"\\])*"', re.DOTALL).match(text, at):
        return "a closing quote must be followed by a blank or a parenthesis"
    return 'the quote is never closed; a quote inside quotes is written \\"'


def _closing(text: str, at: int) -> str:
    before = text[:at].rstrip()
    if before.endswith("("):
        return "the parentheses are empty"
    if re.search(r'(?:^|[\s()"])(?:and|or|not|-)$', before, re.IGNORECASE):
        return 'something is missing before ")"'
    return '")" has no "(" before it; to search for it, quote it'


def _keyword(word: str, field: str | None) -> str:
    if field is None:
        return (
            f'"{word}" needs a term on {"its right" if word.lower() == "not" else "each side"};'
            f' to search for the word, quote it: "{word}"'
        )
    return f'"{word}" is a keyword; as a value it is quoted: {field}"{word}"'
