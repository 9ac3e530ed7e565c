"""Plain tables for the terminal."""

from collections.abc import Sequence

GAP = "  "

Cell = str | int | float | None


def table(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """
    Return lines with aligned columns: numbers to the right, texts to the left.

    Thousands are separated, a float has one decimal, None is a dash.
    """
    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    cells = [[title, *map(_shown, column)] for title, column in zip(header, columns, strict=True)]
    aligned = [_aligned(texts, column) for texts, column in zip(cells, columns, strict=True)]
    return "\n".join(GAP.join(line).rstrip() for line in zip(*aligned, strict=True))


def _shown(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:,.1f}"


def _aligned(texts: Sequence[str], column: Sequence[Cell]) -> list[str]:
    width = max(map(len, texts))
    is_text = any(isinstance(cell, str) for cell in column)
    return [text.ljust(width) if is_text else text.rjust(width) for text in texts]
