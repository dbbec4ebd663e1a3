"""Name the extra that installs a missing package."""

from __future__ import annotations

EXTRAS = {
    "guard": ("faker", "sklearn"),
    "presidio": ("presidio_analyzer",),
    "serve": (
        "alembic",
        "fastapi",
        "h11",
        "prometheus_client",
        "python_multipart",
        "sqlalchemy",
        "starlette",
        "structlog",
        "uvicorn",
    ),
}
"""Import names of the packages that each extra installs, where no other module checks for them."""


def missing_extra_message(error: ModuleNotFoundError) -> str | None:
    """Return the message for a package of an extra that is not installed; None for any other."""
    package = (error.name or "").partition(".")[0]
    for extra, packages in EXTRAS.items():
        if package in packages:
            return (
                f"this command needs {package}, which is not installed\n"
                f"to do: pip install 'medtune[{extra}]'"
            )
    return None
