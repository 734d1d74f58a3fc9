"""tocsin: an alarm bell for APIs."""

__version__ = "0.1.0.dev0"
