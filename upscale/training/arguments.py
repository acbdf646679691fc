"""What `train.py` spells out on its command line before Hydra reads it."""


def with_open_init(arguments: list[str]) -> list[str]:
    """`init.PART=PATH` for any PART: Hydra asks for `++` before a key that the config does not have yet."""
    return [f"++{argument}" if argument.startswith("init.") else argument for argument in arguments]
