"""Texts in tables that spreadsheets open."""

from __future__ import annotations

__all__ = ["spreadsheet_cell"]


def spreadsheet_cell(text: str) -> str:
    """Return a text as a cell that a spreadsheet shows and does not compute.

    Programs take ``=cmd|…``, and what begins with ``+``, ``-``, ``@``, a tab or a carriage return,
    for a formula; behind an apostrophe it is text.

    Parameters
    ----------
    text : str

    Examples
    --------
    >>> from decaf.storage.spreadsheet import spreadsheet_cell
    >>> spreadsheet_cell("=1+1.jpg"), spreadsheet_cell("a.jpg")
    ("'=1+1.jpg", 'a.jpg')
    """
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
