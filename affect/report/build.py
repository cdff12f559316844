"""The whole report: a pure function of the evidence, byte for byte."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from affect.files import write_whole, writing
from affect.report.analysis import Analysis, analyse
from affect.report.claims import judge, ledger
from affect.report.corpus import corpus_grid
from affect.report.document import Banner, Block, Grid, Heading, Image, Paragraph
from affect.report.evidence import Evidence
from affect.report.figures import draw
from affect.report.fractions import fractions_grid
from affect.report.html import html
from affect.report.latex import latex
from affect.report.lines import factor_grid
from affect.report.markdown import markdown
from affect.report.numbers import labels
from affect.report.paired import family_grids
from affect.report.published import published_for, read_published
from affect.report.search import FIGURES, search_blocks
from affect.report.settings import run_block, settings_grids
from affect.report.tables import gains_grid, result_grid
from affect.report.tidy import cell_frame, comparison_frame, csv
from affect.study import Figure

_CAPTIONS = {
    "mean_bars": "Bars: mean over seeds of the mean of development and test; whiskers: 95 % t interval over seeds; "
    "marks: one-tailed Fisher z on the means.",
    "label_fractions": "Points: mean over seeds on the test part; bars: 95 % t interval over seeds.",
    "factor_curve": "Points: means over seeds; bars: 95 % t interval over seeds.",
    "factor_lines": "Points: means over seeds on the test part; bars: 95 % t interval over seeds.",
    "learned": "Lines: means over seeds; bands: 95 % t interval over seeds.",
    "imputed": "Rows of the view that training rows lacked, z-scored, of one seed: as they are, and as each system filled them "
    "in, at the smallest share of missing views.",
    "heat_map": "Mean over seeds on the development part; bold: the best.",
    "learning_curves": "Lines: mean over seeds on the development part; bands: one standard deviation over seeds. Ladders "
    "are looked at with batch-norm statistics of fewer training rows than finished fits have.",
}

_IMPUTATION = (
    "Points: means over seeds of ‖X − X̂‖/‖X‖ of the view that training rows may lack, of z-scored features, in which the "
    "training mean has about 1 over missing rows; bars: 95 % t interval over seeds."
)


def build_report(evidence: Evidence, folder: Path) -> list[Path]:
    """Write the report of `evidence` into `folder` (made if absent) and return its files.

    `report.md`, `report.html`, `claims.md`, `values.csv`, `comparisons.csv`; per declared table `<name>.md`, `.tex`,
    `.html` and its tests `<name>_paired.*`; per declared figure with data `<name>.png`, `.pdf`. All is computed
    before the first file is written, and files of declared figures without data are removed. Raises UserError where
    published values are missing or `folder` cannot be written to.
    """
    files = _compose(analyse(evidence))
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for figure in evidence.resolved.study.figures:
            _remove_undrawn(folder, figure.name, files)
        for name in FIGURES if evidence.search else ():
            _remove_undrawn(folder, name, files)
        for name, content in files.items():
            write_whole(folder / name, content)
    return [folder / name for name in files]


def _remove_undrawn(folder: Path, figure: str, files: Collection[str]) -> None:
    """A figure that an earlier report had must not stand beside one that has no data for it."""
    for name in (f"{figure}.png", f"{figure}.pdf"):
        if name not in files:
            (folder / name).unlink(missing_ok=True)


def _compose(analysis: Analysis) -> dict[str, bytes]:
    """File name → content."""
    resolved = analysis.resolved
    study = resolved.study
    banner = Banner(_banner(analysis))
    files: dict[str, bytes] = {}
    body: list[Block] = [Heading(1, study.title), banner, Heading(2, "What was run"), run_block(analysis)]
    appendix: list[Block] = []

    for table in study.tables:
        published = published_for(table.published, resolved.corpus.name)
        every = range(len(analysis.cube.fractions))
        if table.kind == "fractions":
            results = [fractions_grid(table, analysis, published)]
        elif table.kind == "corpus":
            results = [corpus_grid(table, analysis, published)]
        elif table.kind == "factor":
            results = [factor_grid(table, analysis)]
        else:
            results = [result_grid(table, analysis, f, published) for f in every]
        tested = table.kind in ("targets", "fractions")
        paired = [grid for f in every for grid in family_grids(table, analysis, f)] if tested else []
        body += [Heading(2, f"{table.title} ({table.source})"), *results]
        appendix += [Heading(2, f"Comparisons paired by seed: {table.title}"), *paired] if paired else []
        pages = [(table.name, table.title, results)]
        if tested:
            pages.append((f"{table.name}_paired", f"{table.title}: comparisons paired by seed", paired))
        for name, title, grids in pages:
            alone: list[Block] = [Heading(1, title), banner, *grids]
            files[f"{name}.md"] = markdown(alone).encode()
            files[f"{name}.html"] = html(title, alone, {}).encode()
            files[f"{name}.tex"] = latex(grids, banner.text).encode()

    drawn = {figure.name: draw(figure, analysis) for figure in study.figures}
    images = {}
    for figure in study.figures:
        body.append(Heading(2, f"{figure.title} ({figure.source})"))
        if (kinds := drawn[figure.name]) is None:
            body.append(Paragraph(_no_figure(figure)))
        else:
            images[figure.name] = kinds["png"]
            files |= {f"{figure.name}.{kind}": content for kind, content in kinds.items()}
            body.append(_image(figure, analysis))
        body += _gains(figure, analysis)

    if analysis.evidence.search is not None:
        blocks, beside = search_blocks(analysis.evidence.search, analysis)
        body += blocks
        files |= beside
        images |= {name.removesuffix(".png"): content for name, content in beside.items() if name.endswith(".png")}

    claims = ledger([judge(claim, analysis) for claim in study.claims], analysis) if study.claims else []
    if claims:
        body += [Heading(2, "Claims"), *claims]
        files["claims.md"] = markdown([Heading(1, f"Claims: {study.title}"), banner, *claims]).encode()
    settings = settings_grids(analysis)
    body += appendix
    if settings:
        body += [Heading(2, "Settings"), *settings]
    files["values.csv"] = csv(cell_frame(analysis))
    files["comparisons.csv"] = csv(comparison_frame(analysis))
    files["report.md"] = markdown(body).encode()
    files["report.html"] = html(study.title, body, images).encode()
    return files


def _banner(analysis: Analysis) -> str:
    corpus = analysis.resolved.corpus
    parts = [corpus.banner]
    if corpus.synthetic and "synthetic" not in corpus.banner.lower():
        parts.append("This corpus is synthetic.")
    if corpus.groups == "unknown" and "groups unknown" not in corpus.banner.lower():
        parts.append("Groups unknown.")
    return " ".join(part if part.endswith((".", "!")) else f"{part}." for part in parts)


def _image(figure: Figure, analysis: Analysis) -> Image:
    cube = analysis.cube
    caption = f"{figure.title}. {_CAPTIONS[figure.kind]}"
    if figure.errors:
        caption = f"{figure.title}. {_IMPUTATION}"
    if figure.kind == "mean_bars":
        marks = ", ".join(f"{mark.symbol} better than {mark.baseline}" for mark in analysis.resolved.study.marks)
        caption += f" {marks}, p < .05." if marks else ""
    by_fraction = figure.kind in ("label_fractions", "factor_lines", "learned")
    by_fraction = by_fraction or (figure.kind == "heat_map" and len(cube.targets) == 1)
    if not by_fraction and len(cube.fractions) > 1:
        caption += f" With {labels(cube.fractions[cube.main])}."
    rows = [row for row in analysis.resolved.rows if row.name in cube.systems and {*figure.factors} <= {*row.factors}]
    shown = [figure.system] if figure.system else list(dict.fromkeys(row.line for row in rows))
    return Image(figure.name, caption, f"{figure.title}: {', '.join(cube.targets)}; {', '.join(shown)}")


def _no_figure(figure: Figure) -> str:
    if figure.kind == "label_fractions":
        return "Not drawn: this run has one label fraction, or no finished trial."
    return "Not drawn: there is no finished trial with the values that it shows."


def _gains(figure: Figure, analysis: Analysis) -> list[Grid]:
    """Ours beside the published relative gains, where the figure has any."""
    published = read_published(figure.published)
    if published is None or not published.gains:
        return []
    grid = gains_grid(figure.name, analysis, published)
    return [] if grid is None else [grid]
