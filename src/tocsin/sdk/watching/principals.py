"""Who a framework's own user object says is asking, read without waking the object up.

A user may be a row of a database whose attributes load when they are touched, on a connection that
is closed by now.  So only what already lies in the object is looked at, never a property of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MemberDescriptorType
from typing import Any, cast
from uuid import UUID

__all__ = ["among", "is_lazy", "principal"]

#: Attributes and keys that name somebody, the most telling first.
NAMES = ("username", "user_name", "login", "identity", "sub", "email", "user_id", "id", "pk", "uid")
TENANTS = ("tenant", "tenant_id", "org_id", "organization_id", "account_id")
#: Extensions keep their user in Flask's and Quart's ``g`` under these names.
IN_G = (
    "_login_user",  # flask-login
    "flask_httpauth_user",
    "_jwt_extended_jwt_user",  # flask-jwt-extended: {"loaded_user": ...}
    "_jwt_extended_jwt",  # its claims, verified
    "_quart_auth_user",
    "current_user",
    "user",
)
LONGEST = 256


def principal(user: object) -> str | tuple[str, str | None, str | None] | None:
    """The name of *user*, with role and tenant if it tells; None for nobody.

    >>> principal("joe"), principal({"sub": 7, "role": "admin"}), principal({"active": True})
    ('joe', ('7', 'admin', None), None)
    """
    if user is None:
        return None
    if issubclass(type(user), str):  # isinstance() asks a lazy object for its class: it wakes up
        return _text(user) or None
    inside = _inside(user)
    if inside.get("is_authenticated") is False or inside.get("is_anonymous") is True:
        return None
    name = _first(inside, NAMES)
    if name is None:
        return None
    role, tenant = _role(inside), _first(inside, TENANTS)
    return name if role is None and tenant is None else (name, role, tenant)


def among(names: Mapping[str, Any]) -> object:
    """The user that an extension left in Flask's or Quart's ``g``."""
    for name in IN_G:
        found = names.get(name)
        if name == "_jwt_extended_jwt_user" and isinstance(found, dict):
            found = found.get("loaded_user")
        if found is not None:
            return found
    return None


def _inside(user: object) -> Mapping[str, Any]:
    """What lies in *user* without running any code of its class."""
    if issubclass(type(user), dict):
        return cast("dict[str, Any]", user)
    try:
        inside: dict[str, Any] = object.__getattribute__(user, "__dict__")
    except AttributeError:
        return _slots(user)
    wrapped = inside.get("_wrapped")
    if wrapped is not None and is_lazy(user):  # Django's, evaluated or not
        return {} if type(wrapped) is object else _inside(wrapped)
    if "_auth_id" in inside:  # Quart-Auth
        return {"id": inside["_auth_id"]}
    return inside or _slots(user)


def is_lazy(user: object) -> bool:
    """Whether *user* is Django's stand-in, which becomes a user when anything of it is touched."""
    return any(kind.__name__ == "LazyObject" for kind in type(user).__mro__)


def _slots(user: object) -> Mapping[str, Any]:
    """Fields of named tuples, and of classes with slots."""
    if issubclass(type(user), tuple):
        values = cast("tuple[Any, ...]", user)
        return dict(zip(getattr(type(user), "_fields", ()), values, strict=False))
    found: dict[str, Any] = {}
    for kind in type(user).__mro__:
        for name, descriptor in vars(kind).items():
            if isinstance(descriptor, MemberDescriptorType):
                try:
                    found.setdefault(name, descriptor.__get__(user))
                except AttributeError:  # a slot with nothing in it
                    continue
    return found


def _first(inside: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    for name in names:
        text = _text(inside.get(name))
        if text:
            return text
    return None


def _text(value: object) -> str | None:
    """Names are texts, numbers or UUIDs; anything else would run code of its own."""
    if issubclass(type(value), str):
        return str.__str__(cast("str", value))[:LONGEST]
    if type(value) in (int, UUID):
        return str(value)[:LONGEST]
    return None


def _role(inside: Mapping[str, Any]) -> str | None:
    if role := _text(inside.get("role")):
        return role
    roles = inside.get("roles")
    if type(roles) in (list, tuple, set, frozenset):
        texts = sorted(filter(None, map(_text, cast("list[object]", roles))))
        if texts:
            return ",".join(texts)[:LONGEST]
    if inside.get("is_superuser") is True:
        return "superuser"
    if inside.get("is_staff") is True or inside.get("is_admin") is True:
        return "staff"
    return _groups(inside)


def _groups(inside: Mapping[str, Any]) -> str | None:
    """Django's groups, if somebody has prefetched them."""
    cache: Any = inside.get("_prefetched_objects_cache")
    groups: Any = cache.get("groups") if type(cache) is dict else None
    rows: Any = getattr(groups, "_result_cache", groups)
    if type(rows) is not list:
        return None
    names = [_text(getattr(row, "__dict__", {}).get("name")) for row in rows[:32]]
    return ",".join(sorted(name for name in names if name))[:LONGEST] or None
