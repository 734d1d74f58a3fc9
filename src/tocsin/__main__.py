"""``python -m tocsin`` is ``tocsin``."""

from tocsin.cli.entry import run

if __name__ == "__main__":
    run()
