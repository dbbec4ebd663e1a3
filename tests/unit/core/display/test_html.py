from __future__ import annotations

from medtune.core.display.html import render_result


def test_every_text_is_escaped_and_a_missing_cell_is_a_dash() -> None:
    shown = render_result("<a>", ("<h>",), [("<script>",), (None,), (1234,)], ["<note>"])
    for text in ("<a>", "<h>", "<script>", "<note>"):
        assert text not in shown
    assert "&lt;script&gt;" in shown
    assert "<td>–</td>" in shown
    assert ">1,234</td>" in shown
