"""The program: ``placewright``, or ``python -m placewright``."""

import sys


def main() -> int:
    """Run the command line; returns its exit code. Ctrl-C while the libraries load ends it as quietly as later."""
    try:
        from placewright.cli.app import main as run
    except KeyboardInterrupt:
        print("placewright: interrupted", file=sys.stderr)
        return 130
    return run()


if __name__ == "__main__":
    sys.exit(main())
