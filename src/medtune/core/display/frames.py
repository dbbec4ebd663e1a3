"""Turn rows of results into pandas data frames; pandas is loaded only then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medtune.core.errors import MedtuneError

if TYPE_CHECKING:
    import pandas


def make_frame(
    rows: Iterable[Mapping[str, object]], columns: Sequence[str] | None = None
) -> pandas.DataFrame:
    """Make a data frame of rows with the same keys; `columns` are those of a frame without rows.

    Raises:
        MedtuneError: pandas is not installed.
    """
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise MedtuneError(
            "a data frame needs pandas, which is not installed", fix="pip install pandas"
        ) from error
    return pandas.DataFrame([dict(row) for row in rows], columns=columns)


def proportion_cells(name: str, value: Any) -> dict[str, float | None]:
    """Return the cells of a proportion and its 95 % interval: `name`, `name_low`, `name_high`."""
    ends = (None, None, None) if value is None else (value.value, value.low, value.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
