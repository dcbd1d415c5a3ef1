"""Settings of a training, as a file: what `minihash train` was told, to tell it again."""

from __future__ import annotations

import argparse
import json
from typing import Any

#: What is about this run and not about the network that it makes.
OTHERS = (
    *("command", "run", "from_settings", "out", "plot", "log", "compare", "verbose", "described"),
    *("checkpoint", "resume", "threads", "dry_run"),
)
#: What describes the network, which `--from` has.
NETWORK = "hidden compression memory_bytes tile activation bias input_dropout dropout".split()


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that were given or taken by default, by name."""
    others = ["compression"] if args.memory_bytes else []  # one of the two says the size
    others = NETWORK if args.model else others
    return {name: value for name, value in vars(args).items() if name not in (*OTHERS, *others)}


def describe_settings(args: argparse.Namespace) -> str:
    """Return the settings in a line; those that are not set are left out."""
    settings = settings_of(args).items()
    shown = (f"{name} {_text(value)}" for name, value in settings if value not in (None, False, []))
    return "settings: " + ", ".join(shown)


def write_settings(args: argparse.Namespace, path: str) -> None:
    """Write the settings to a file, all of it or nothing."""
    from minihash.files import replacing

    with replacing(path) as file:
        file.write(json.dumps(settings_of(args), indent=1, allow_nan=False).encode() + b"\n")


class OfNetwork(argparse.Action):
    """Takes what describes a network, and notes that it was said; a compression instead of a file's bytes."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if self.dest == "compression":
            namespace.memory_bytes = None
        setattr(namespace, self.dest, values)
        namespace.described = self.option_strings[0]


class FromSettings(argparse.Action):
    """Takes the settings of a file as if they were arguments; what follows overrides them."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        from minihash.files import naming

        path = str(values)
        try:
            with naming(path), open(path, "rb") as file:
                settings = json.load(file)
        except (OSError, ValueError, RecursionError) as error:
            parser.error(f"--from-settings: {path}: {getattr(error, 'strerror', None) or 'is no JSON'}")
        known = {action.dest: action for action in parser._actions}
        if not isinstance(settings, dict):
            parser.error(f"--from-settings: {path}: wanted an object with settings of minihash train")
        if settings.pop("map", "element") != "element" or settings.pop("window", None) is not None:
            parser.error(f"--from-settings: {path}: is of the window map, which is gone: wanted tiles")
        if (column := settings.pop("label_column", None)) is not None:  # its name before version 0.2
            settings["target"] = str(column)
        if unknown := sorted(settings.keys() - (known.keys() - {*OTHERS, "help"})):
            parser.error(f"--from-settings: {path}: has {unknown[0]!r}, wanted settings of minihash train")
        for name, value in settings.items():
            try:
                setattr(namespace, name, _parsed(known[name], value))
            except (argparse.ArgumentTypeError, ValueError, TypeError) as error:
                option = (known[name].option_strings or [name])[0]
                parser.error(f"--from-settings: {path}: {option}: {' '.join(str(error).split())}")
        namespace.from_settings = path


def _parsed(action: argparse.Action, value: Any) -> Any:
    """Return a value as the option's own parser would, from its text."""
    flag = isinstance(action.default, bool) or isinstance(action, argparse.BooleanOptionalAction)
    if flag and isinstance(value, bool) or value is action.default is None:
        return value
    several = action.nargs not in (None, "?") or isinstance(action.default, list)
    fits = isinstance(value, list) if several else isinstance(value, (str, int, float))
    if flag or isinstance(value, bool) or not fits:
        such = "" if action.default in (None, argparse.SUPPRESS) else f" such as {action.default!r}"
        raise ValueError(f"is {value!r}, wanted {'a list' if several else 'a value'}{such}")
    kind: Any = action.type or str
    parsed = [kind(str(one)) for one in value] if isinstance(value, list) else kind(str(value))
    if action.choices is not None and parsed not in action.choices:
        raise ValueError(f"is {value!r}, wanted one of {', '.join(map(repr, action.choices))}")
    return parsed


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
