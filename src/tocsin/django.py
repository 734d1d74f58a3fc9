"""For ``MIDDLEWARE`` in Django's settings: ``"tocsin.django.Watch"``, first of the list."""

from __future__ import annotations

from tocsin.sdk.watching.django import Watch

__all__ = ["Watch"]
