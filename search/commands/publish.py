"""The command `publish`: the only one that loads the service, to fill the store it serves from."""

import argparse
import re
from typing import TYPE_CHECKING

from search.commands.arguments import add_artifact
from search.errors import OptionsError

if TYPE_CHECKING:
    from search.commands.arguments import Commands


def add_publish(commands: "Commands") -> None:
    """`publish`: put an artifact into the model store."""
    text = "put an artifact into the BentoML model store, as the latest of its name"
    parser = commands.add_parser("publish", help=text)
    add_artifact(parser)
    parser.add_argument("--name", default="facial-emotion", help="the model's name in the store")
    text = "if the artifact is already in the store, leave the latest model as it is"
    parser.add_argument("--if-new", action="store_true", help=text)
    parser.set_defaults(command=run_publish)


def run_publish(options: argparse.Namespace) -> None:
    """Publish and print the tag.

    Raises:
        OptionsError: BentoML takes no such name, or would change it.
    """
    from service.inference.store import publish

    if not re.fullmatch(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?", options.name):
        raise OptionsError(
            f"--name {options.name!r}: small letters, digits and . _ - within, at most 63"
        )
    print(publish(options.artifact, options.name, options.if_new))
