"""No secret that goes in at any door is found on the disk, nor in what is printed."""

from __future__ import annotations

from typing import Any

import msgspec
from tests.event import canaries
from tests.siem.stored import everything


def test_no_canary_is_found_in_the_data_directory(tocsin: Any) -> None:
    corpus = canaries.canaries()
    assert len({c.secret for c in corpus}) >= 500
    carriers = [text for c in corpus for text in canaries.carriers(c)]
    lines = [text.replace("\n", "\\n") for text in carriers]

    # By a followed file, as plain and as access lines; by HTTP, natively and as lines; by send.
    log = tocsin.home / "app.log"
    log.write_text("".join(f"2026-11-23 10:00:00 {text}\n" for text in lines))
    access = tocsin.home / "access.log"
    access.write_text(
        "".join(
            "192.0.2.1 - - [23/Nov/2026:10:00:00 +0000] "
            f'"GET /x?{quote(text)} HTTP/1.1" 200 1 "-" "a"\n'
            for text in lines
        )
    )
    tocsin.start("--follow", str(log), "--follow", str(access))
    key = tocsin.token("app")
    events = [
        {
            "time": 1_795_000_000_000_000_000,
            "kind": "log",
            "message": text,
            "attributes": {"a": [{"b": text}]},
        }
        for text in carriers
    ]
    for start in range(0, len(events), 1_000):
        part = events[start : start + 1_000]
        answer = tocsin.post(b"".join(msgspec.json.encode(e) + b"\n" for e in part), key)
        assert answer["accepted"] == len(part)
        text = "".join(line + "\n" for line in lines[start : start + 1_000])
        assert "accepted" in tocsin.post(text.encode(), key, "text/plain", "/v1/events?parser=text")
    tocsin(
        "send",
        str(access),
        "--to",
        f"http://127.0.0.1:{tocsin.port}",
        "--key",
        tocsin.token("edge"),
    )
    total = 5 * len(carriers)
    tocsin.until(lambda: _stored(tocsin) >= total, 60)
    tocsin.stop()

    needles = [needle for c in corpus for needle in canaries.needles(c)]
    kept = everything(tocsin)
    assert kept.count("\n") >= total
    leaked = [needle for needle in needles if needle in kept]
    assert leaked == []
    raw = b"\0".join(
        path.read_bytes()
        for path in (tocsin.data, tocsin.log)
        for path in ([path] if path.is_file() else path.rglob("*"))
        if path.is_file()
    )
    assert [needle for needle in needles if needle.encode() in raw] == []


def quote(text: str) -> str:
    return text.replace('"', "%22").replace(" ", "%20")


def _stored(tocsin: Any) -> int:
    from tocsin.siem.access import SOCKET
    from tocsin.siem.local import Remote

    with Remote(tocsin.data / SOCKET) as remote:
        return int(remote.status()["next_seq"])
