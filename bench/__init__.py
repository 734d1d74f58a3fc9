"""Measure tocsin.  ``python -m bench`` runs everything; ``python -m bench NAME...`` a part."""
