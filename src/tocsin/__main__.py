"""``python -m tocsin`` is ``tocsin``."""

from tocsin.cli.entry import main

if __name__ == "__main__":
    main()
