from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from affect.report import html, latex, markdown, numbers
from affect.report.document import Banner, Bullets, Cell, Grid, Heading, Image, Paragraph

NASTY = r"a|b_c *d* <i>e</i> 50 % & $x$ #1 {y} ~ ^ \z [l](m) `n`"
GRID = Grid(
    name="grid-1",
    caption="A & B",
    columns=("System", "arousal", "valence"),
    groups=(("", 1), ("Test", 2)),
    rows=(
        (
            Cell("STL"),
            Cell("0.700", strong=True, marks="•∗", paired="•", note="7/10 seeds"),
            Cell("missing", muted=True),
        ),
        (Cell("ridge_svd"), Cell("−0.100"), Cell("–")),
    ),
    rules=(1,),
    notes=("p < 0.05", "- not a list"),
)


class Tags(HTMLParser):
    """Checks that tags nest and gathers the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    return tags


def test_markdown_grid() -> None:
    lines = markdown.markdown([GRID]).splitlines()
    assert lines[0] == "**A & B**"
    table = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert len({len(line) for line in table}) == 1
    assert re.sub(" +", " ", table[3]) == "| STL | **0.700** •∗ (•) 7/10 seeds | missing |"
    assert lines[-2:] == ["- p < 0.05", r"- \- not a list"]


def test_markdown_escapes() -> None:
    text = markdown.escape(NASTY)
    assert text == r"a\|b_c \*d\* \<i>e\</i> 50 % & $x$ #1 {y} \~ ^ \\z \[l\](m) \`n\`"
    assert markdown.escape("learning_rate _x_\nnext") == r"learning_rate \_x\_ next"
    assert markdown.markdown([Paragraph("1. one"), Bullets(("# two",))]) == "1\\. one\n\n- \\# two\n"


def test_latex_structure() -> None:
    text = latex.latex([GRID, GRID], "Made-up corpus 100 %.")
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    for rule in (r"\toprule", r"\bottomrule"):
        assert text.count(rule) == 2
    assert text.count(r"\midrule") == 4
    assert r"\begin{tabular}{lrr}" in text
    assert r" & \multicolumn{2}{c}{Test} \\" in text
    assert r"\cmidrule(lr){2-3}" in text
    assert r"\textbf{0.700}\textsuperscript{\ensuremath{\bullet}\ensuremath{\ast}} (\ensuremath{\bullet}) 7/10" in text
    assert r"ridge\_svd & \ensuremath{-}0.100 & -- \\" in text
    assert r"Made-up corpus 100 \%." in text
    assert text.isascii()
    assert balanced(text)


def balanced(text: str) -> bool:
    bare = re.sub(r"\\[{}]", "", text)
    return bare.count("{") == bare.count("}")


def test_latex_escapes() -> None:
    text = latex.escape(NASTY)
    assert balanced(text)
    assert r"\textbackslash{}z" in text
    assert r"50 \% \& \$x\$ \#1 \{y\} \textasciitilde{} \textasciicircum{}" in text


def test_html_nests_and_escapes() -> None:
    blocks = (Heading(1, NASTY), Banner(NASTY), Bullets((NASTY,)), Image("figure3", NASTY, '"quoted"'), GRID)
    page = html.html(NASTY, blocks, {"figure3": b"png"})
    assert parsed(page).text.count(NASTY) == 5
    assert "<i>" not in page
    assert "data:image/png;base64,cG5n" in page
    assert 'alt="&quot;quoted&quot;"' in page
    assert '<th class="group" colspan="2"' in page or '<th colspan="2" class="group"' in page
    assert page.count('<tr class="rule">') == 1


def test_html_needs_nothing_beside_it() -> None:
    page = html.html("t", (GRID,), {})
    assert not re.search(r"https?://|<script|<link", page)


def test_grid_refuses_ragged_rows() -> None:
    with pytest.raises(ValueError, match="columns"):
        Grid("g", "c", ("a", "b"), ((Cell("1"),),))


def test_numbers() -> None:
    assert numbers.value(-0.0001) == "0.000"
    assert numbers.value(-0.12345) == "−0.123"
    assert numbers.difference(0.0123) == "+0.012"
    assert numbers.interval(-0.01, 0.02) == "−0.010 to +0.020"
    assert numbers.p_value(0.0009) == "<0.001"
    assert numbers.p_value(float("nan")) == "–"
    assert numbers.percent(0.0351) == "+3.5 %"
    assert numbers.labels(0.02) == "2 % of the labels"
    assert numbers.labels(1.0) == "all labels"
    assert numbers.seeds(range(10)) == "0 to 9"
    assert numbers.seeds([0, 2]) == "0, 2"
    assert numbers.setting([256, 256]) == "256/256"
    assert numbers.setting(5e-5) == "5e-05"
