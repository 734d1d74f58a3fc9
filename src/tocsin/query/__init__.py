"""QUESTIONS: the search language, and what answers it over segments and the hot tail alike."""

from tocsin.query.counts import count, histogram, top
from tocsin.query.fields import ALIASES
from tocsin.query.printing import FORMS, TABLE_COLUMNS, render
from tocsin.query.reader import parse
from tocsin.query.rows import Predicate, predicate, search
from tocsin.query.shelf import Shelf
from tocsin.query.values import moment

__all__ = [
    "ALIASES",
    "FORMS",
    "TABLE_COLUMNS",
    "Predicate",
    "Shelf",
    "count",
    "histogram",
    "moment",
    "parse",
    "predicate",
    "render",
    "search",
    "top",
]
