"""The sealing process of a life: the real one, but that it joins few segments, and at once."""

from __future__ import annotations

from tocsin.vault import compact, sealer
from tocsin.vault.seal import main

if __name__ == "__main__":
    compact.FEWEST = 4  # as in ``life``
    sealer._RETIRED_AFTER = 0.0
    main()
