"""Reading `.env`: `NAME=value` lines, with comments and quotes as Docker Compose and shells have them."""

from __future__ import annotations

from pathlib import Path

from dotenv.parser import parse_stream


def env_file_values(path: Path, problems: list[str]) -> dict[str, str]:
    """Return the variables of the file, {} if there is none.

    A `$` is an ordinary character. Lines that are not `NAME=value` are added to `problems` by their number:
    they may hold a secret.
    """
    if not path.exists():
        return {}
    values: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig") as file:
            bindings = list(parse_stream(file))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        problems.append(f"{path.name} can't be read: {reason}.")
        return {}
    for binding in bindings:
        if binding.error or (binding.key is not None and binding.value is None):
            name = f" ({binding.key})" if binding.key else ""
            problems.append(
                f"Line {binding.original.line} of {path.name}{name} is not NAME=value, or its quote is open."
            )
        elif binding.key is not None and binding.value is not None:
            values[binding.key] = binding.value
    return values
