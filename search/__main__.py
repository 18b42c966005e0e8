"""`python -m search`."""

import sys


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    try:
        # Not above: importing PyTorch takes seconds, in which Ctrl-C is no reason for a traceback.
        from search.commands.dispatch import dispatch
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return dispatch(arguments)


if __name__ == "__main__":
    sys.exit(main())
