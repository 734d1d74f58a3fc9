"""Where sealing happens: in this process, or in a child that alone holds the signing key."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import TYPE_CHECKING, Literal, Protocol

import sqlalchemy as sa

from tocsin.errors import VaultClosed
from tocsin.vault.disk import Disk
from tocsin.vault.jobs import Recovered, Sealed, SealJob
from tocsin.vault.keys import KeyRing, KeySource

if TYPE_CHECKING:
    from tocsin.vault.seal import SealerProcess
    from tocsin.vault.sealer import Sealer

__all__ = ["Child", "Inline", "Sealing", "open_sealing"]


class Sealing(Protocol):
    """The sealer, here or elsewhere.  Every call may take long."""

    @property
    def first_epoch_key(self) -> bytes | None:
        """The first epoch key, for the auditor, if the vault was made just now."""
        ...

    @property
    def restarts(self) -> int:
        """How often it died and was begun anew."""
        ...

    def recover(self) -> Recovered:
        """Roll an interrupted seal forward; where the log of manifests stands."""
        ...

    def start(self, boot: str) -> None:
        """Note in the log that a life begins."""
        ...

    def stop(self) -> None:
        """Note in the log that a life ends as it should."""
        ...

    def seal(self, job: SealJob) -> Sealed:
        """Seal an epoch, and remove the files it came from."""
        ...

    def compact(self) -> int:
        """Join small segments; how many files were replaced."""
        ...

    def abandon(self) -> None:
        """End whatever it does, if it can be; nothing more is asked of it."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


class Inline:
    """The sealer in this process."""

    restarts = 0

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    @property
    def first_epoch_key(self) -> bytes | None:
        """The auditor's key, if the vault was made just now."""
        return self._sealer.first_epoch_key

    def recover(self) -> Recovered:
        """See :class:`Sealing`."""
        return self._sealer.recover()

    def start(self, boot: str) -> None:
        """See :class:`Sealing`."""
        self._sealer.start(boot)

    def stop(self) -> None:
        """See :class:`Sealing`."""
        self._sealer.stop()

    def seal(self, job: SealJob) -> Sealed:
        """See :class:`Sealing`."""
        return self._sealer.seal(job)

    def compact(self) -> int:
        """See :class:`Sealing`."""
        return self._sealer.compact()

    def abandon(self) -> None:
        """See :class:`Sealing`."""

    def close(self) -> None:
        """See :class:`Sealing`."""


class Child:
    """The sealer in a child process; one that died is replaced when it is next needed.

    A call that the death interrupts raises.  Whoever gets that error asks for :meth:`recover`
    before anything else, and that makes the new child.
    """

    def __init__(self, make: Callable[[], SealerProcess]) -> None:
        self._make = make
        self._child = make()
        self._boot: str | None = None
        self._abandoned = threading.Event()
        self.restarts = 0

    @property
    def first_epoch_key(self) -> bytes | None:
        """The auditor's key, if the vault was made just now."""
        return self._child.first_epoch_key

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    def recover(self) -> Recovered:
        """See :class:`Sealing`."""
        if self._child.alive:
            return self._child.recover()
        if self._abandoned.is_set():
            raise VaultClosed("the sealer took too long, and was ended")
        self._child.close()
        self._child = self._make()
        if self._abandoned.is_set():  # while it was made
            self._child.kill()
        self.restarts += 1
        recovered = self._child.recover()
        if self._boot is not None:
            self._child.start(self._boot)
        return recovered

    def start(self, boot: str) -> None:
        """See :class:`Sealing`."""
        self._child.start(boot)
        self._boot = boot

    def stop(self) -> None:
        """See :class:`Sealing`."""
        self._child.stop()

    def seal(self, job: SealJob) -> Sealed:
        """See :class:`Sealing`."""
        return self._child.seal(job).result()

    def compact(self) -> int:
        """See :class:`Sealing`."""
        return self._child.compact().result()

    def abandon(self) -> None:
        """See :class:`Sealing`."""
        self._abandoned.set()
        self._child.kill()

    def close(self) -> None:
        """See :class:`Sealing`."""
        self._child.close()


def open_sealing(
    directory: Path,
    keys: KeySource,
    ring: KeyRing,
    catalog: sa.Engine,
    *,
    mode: Literal["process", "inline"],
    epoch_seconds: float,
    disk: Disk,
    clock: Callable[[], int],
    child: Popen[bytes] | None = None,
) -> Sealing:
    """The sealer of the vault in *directory*; *child* is a process for it that was begun early."""
    # Not above: the child runs this very module as its main one, and must not find it imported.
    from tocsin.vault.seal import Sealer, SealerProcess

    if mode == "inline":
        return Inline(
            Sealer(
                directory,
                ring,
                catalog=catalog,
                clock=clock,
                epoch_seconds=epoch_seconds,
                disk=disk,
            )
        )
    place = Path(catalog.url.database or directory / "catalog.db")
    early = [] if child is None else [child]

    def make() -> SealerProcess:
        return SealerProcess(
            directory,
            keys,
            catalog=place,
            epoch_seconds=epoch_seconds,
            child=early.pop() if early else None,
        )

    return Child(make)
