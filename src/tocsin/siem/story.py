"""The demo's story: an ordinary quarter of an hour at a shop's API, and what an intruder does.

Pure and seeded: the same seed and the same end give the same lines.  The app's events are badged
with the tag ``demo``; the gateway's lines have no room for one, and are known by their source and
by ``env:demo``, which their key gives them.  Every name and address is invented (addresses are of
the documentation ranges).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from tocsin.event import Event, Kind

__all__ = ["APP", "GATEWAY", "LENGTH_NS", "Step", "story"]

SECOND = 10**9
LENGTH_NS = 900 * SECOND

#: Names of the two sources that tell the story.
GATEWAY, APP = "demo-gateway", "demo-app"

BROWSERS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 15_6) AppleWebKit/605.1.15 Safari/605.1.15",
    "ShopApp/5.2 (Android 16; Pixel 9)",
    "ShopApp/5.2 (iOS 19.1; iPhone17,2)",
)
USERS = tuple(
    "alma ben carla dario elif farid greta hugo ines jonas kaja liam mira nils olga pavel "
    "quinn rosa sami tilda uwe vera wanda xenia yusuf zoe".split()
)
INTRUDER = "198.51.100.23"
VICTIM = "mira"


class Step(Struct, frozen=True):
    """One request, as the gateway's log and, where the app saw it, as the app's event."""

    at: int  #: event time, ns
    line: str  #: nginx combined
    event: Event | None


def story(end: int, *, seed: int = 1) -> list[Step]:
    """All steps of the quarter of an hour before *end* (ns since 1970), in order of time."""
    dice = random.Random(seed)  # noqa: S311  # a story, not a secret
    begin = end - LENGTH_NS
    steps = [*_honest(dice, begin), *_intruder(dice, begin)]
    return sorted(steps, key=lambda step: step.at)


def _honest(dice: random.Random, begin: int) -> Iterator[Step]:
    """Twenty-six people who shop, mistype now and then, and follow an old link."""
    for user in USERS:
        ip = f"203.0.113.{dice.randrange(1, 250)}"
        agent = dice.choice(BROWSERS)
        at = begin + dice.randrange(LENGTH_NS // 2)
        for _ in range(dice.choice((0, 0, 0, 1, 2))):
            yield _login(dice, at, ip, agent, user, ok=False)
            at += dice.randrange(3, 9) * SECOND
        yield _login(dice, at, ip, agent, user, ok=True)
        own = [dice.randrange(2000, 9000) for _ in range(4)]
        for _ in range(dice.randrange(15, 45)):
            at += dice.randrange(SECOND // 2, 12 * SECOND)
            if at > begin + LENGTH_NS:
                break
            roll = dice.random()
            if roll < 0.45:
                yield _get(
                    dice,
                    at,
                    ip,
                    agent,
                    user,
                    "/api/v1/products",
                    "page=" + str(dice.randrange(1, 9)),
                )
            elif roll < 0.65:
                yield _get(dice, at, ip, agent, user, "/api/v1/orders", "")
            elif roll < 0.95:
                order = dice.choice(own)
                yield _get(
                    dice, at, ip, agent, user, f"/api/v1/orders/{order}", "", "/api/v1/orders/{id}"
                )
            else:
                product = dice.randrange(10, 99)
                yield _get(
                    dice,
                    at,
                    ip,
                    agent,
                    user,
                    f"/api/v1/products/{product}",
                    "",
                    "/api/v1/products/{id}",
                    404,
                )


def _intruder(dice: random.Random, begin: int) -> Iterator[Step]:
    agent = "python-requests/2.32"
    # Looks around for what should not lie there.
    at = begin + 180 * SECOND
    for path in (
        "/.env /.git/config /admin/ /actuator/env /backup.sql /wp-login.php /server-status "
        "/api/swagger.json /api/v1/debug /.aws/credentials /phpinfo.php /config.json"
    ).split():
        yield _anonymous(dice, at, "Mozilla/5.0 (Nikto/2.5.0)", "GET", path, "", 404)
        at += dice.randrange(SECOND // 4, SECOND)
    # Tries passwords that leaked elsewhere, one a name, until one fits.
    at = begin + 330 * SECOND
    for n in range(80):
        user = VICTIM if n == 79 else f"{dice.choice(USERS)}{dice.randrange(100, 999)}"
        yield _login(dice, at, INTRUDER, agent, user, ok=n == 79)
        at += dice.randrange(SECOND // 5, SECOND)
    # Walks through other people's orders with the account that opened.
    at = begin + 480 * SECOND
    for order in range(4000, 4070):
        status = 200 if order % 4 == 0 else 403
        yield _get(
            dice,
            at,
            INTRUDER,
            agent,
            VICTIM,
            f"/api/v1/orders/{order}",
            "",
            "/api/v1/orders/{id}",
            status,
        )
        at += dice.randrange(SECOND // 4, SECOND)
    # Tries its hand at the search box.
    at = begin + 640 * SECOND
    for attempt in (
        "q=%27%20OR%201%3D1--",
        "q=%27%20UNION%20SELECT%20login%2Cmail%20FROM%20accounts--",
        "q=1%3BSELECT%20pg_sleep(5)--",
        "q=..%2F..%2F..%2Fetc%2Fpasswd",
        "q=%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    ):
        yield _get(
            dice, at, INTRUDER, agent, VICTIM, "/api/v1/search", attempt, "/api/v1/search", 500
        )
        at += 4 * SECOND
    # And carries off what it can.
    at = begin + 760 * SECOND
    for page in range(1, 13):
        yield _get(
            dice,
            at,
            INTRUDER,
            agent,
            VICTIM,
            "/api/v1/export",
            f"page={page}",
            "/api/v1/export",
            200,
            9_000_000,
        )
        at += 3 * SECOND


def _login(dice: random.Random, at: int, ip: str, agent: str, user: str, *, ok: bool) -> Step:
    status = 200 if ok else 401
    event = _event(
        dice, at, ip, agent, "POST", "/api/v1/login", None, "/api/v1/login", status,
        kind=Kind.AUTHN_LOGIN_SUCCESS if ok else Kind.AUTHN_LOGIN_FAIL,
        user=user, auth_method="password", reason=None if ok else "bad_credentials",
    )  # fmt: skip
    return Step(
        at, _line(at, ip, agent, "POST", "/api/v1/login", "", status, 420 if ok else 96), event
    )


def _get(
    dice: random.Random,
    at: int,
    ip: str,
    agent: str,
    user: str,
    path: str,
    query: str,
    route: str = "",
    status: int = 200,
    size: int = 0,
) -> Step:
    size = size or dice.randrange(300, 9_000)
    event = _event(
        dice, at, ip, agent, "GET", path, query or None, route or path, status,
        kind=Kind.AUTHZ_FAIL if status == 403 else Kind.REQUEST,
        user=user, bytes_out=size, reason="forbidden" if status == 403 else None,
    )  # fmt: skip
    return Step(at, _line(at, ip, agent, "GET", path, query, status, size), event)


def _anonymous(
    dice: random.Random, at: int, agent: str, method: str, path: str, query: str, status: int
) -> Step:
    line = _line(at, INTRUDER, agent, method, path, query, status, dice.randrange(100, 200))
    return Step(at, line, None)


def _event(
    dice: random.Random,
    at: int,
    ip: str,
    agent: str,
    method: str,
    path: str,
    query: str | None,
    route: str,
    status: int,
    **more: Any,
) -> Event:
    return Event(
        time=at,
        layer="app",
        service="shop",
        env="demo",
        client_ip=ip,
        user_agent=agent,
        method=method,
        path=path,
        query=query,
        route=route,
        status=status,
        outcome="success" if status < 400 else "failure",
        outcome_source="event",
        duration_ns=dice.randrange(2, 60) * 1_000_000,
        trace_id=f"{dice.getrandbits(128):032x}",
        tags=("demo",),
        **more,
    )


def _line(
    at: int, ip: str, agent: str, method: str, path: str, query: str, status: int, size: int
) -> str:
    when = datetime.fromtimestamp(at // SECOND, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    target = f"{path}?{query}" if query else path
    return f'{ip} - - [{when}] "{method} {target} HTTP/1.1" {status} {size} "-" "{agent}"'
