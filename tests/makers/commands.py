"""Whether a command line that a document shows exists."""

from collections.abc import Sequence

from typer.main import get_command

from fastleuk.cli import app


def check_command(words: Sequence[str]) -> None:
    """Assert that ``fastleuk`` has this command with these options.

    Args:
        words: What stands behind ``fastleuk``; values may be placeholders.
    """
    command = get_command(app)
    rest = list(words)
    while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"no command {rest[0]} in {' '.join(words)}"
        command = command.commands[rest.pop(0)]
    options = {name for p in command.params for name in [*p.opts, *p.secondary_opts]}
    given = {word.partition("=")[0] for word in rest if word.startswith("--")}
    unknown = given - options - {"--help"}
    assert not unknown, f"{unknown} in {' '.join(words)}"
