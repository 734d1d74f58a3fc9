"""Findings: rules over durable entries.  Pure: time and randomness come in as arguments.

``compile_rules`` reads Sigma; an ``Engine`` of them takes ``Entries`` and yields ``Finding``s.
"""

from tocsin.detect.engine import Counters, Engine, Limits, State
from tocsin.detect.findings import span
from tocsin.detect.pack import pack
from tocsin.detect.rule import Blind, CorrelationRule, Problem, Rule, RuleFile, RuleSet
from tocsin.detect.ruletests import TestResult, lint, run_tests
from tocsin.detect.sigma import compile_rules
from tocsin.detect.strangers import strangers

__all__ = [
    "Blind",
    "CorrelationRule",
    "Counters",
    "Engine",
    "Limits",
    "Problem",
    "Rule",
    "RuleFile",
    "RuleSet",
    "State",
    "TestResult",
    "compile_rules",
    "lint",
    "pack",
    "run_tests",
    "span",
    "strangers",
]
