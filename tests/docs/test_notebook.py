"""The notebook runs from top to bottom, and records show themselves in it."""

from __future__ import annotations

import html
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nas_engine.cli import progress
from nas_engine.errors import InputError, UnknownNameError
from nas_engine.report.run_plots import PLOTS
from nas_engine.report.search_record import SearchRecord
from tests.docs.pages import DOCS
from tests.generations import GENERATION, SMALL_SETTINGS
from tests.report.page_html import Reader


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run every cell in one namespace, with a smaller search, and return what is there then."""
    text = (DOCS / "notebooks" / "search.ipynb").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("notebook"))
        patch.setattr("nas_engine.pipeline.search.SearchSettings", SMALL_SETTINGS)
        for cell in json.loads(text)["cells"]:
            if cell["cell_type"] == "code":
                source = "".join(cell["source"]).replace('"20k"', str(GENERATION))
                exec(compile(source, "search.ipynb", "exec"), names)
        names["written"] = names["page"].is_file()
        names["root"] = Path.cwd()
    return names


def test_every_cell_runs(ran: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert ran["written"]
    monkeypatch.chdir(ran["root"])
    assert ran["smaller"].read_best() == ran["found"].directory.read_member(2)


@pytest.mark.parametrize("of", ["found", "report"])
def test_a_record_is_a_page_within_the_page(ran: dict[str, Any], of: str) -> None:
    shown = ran[of]._repr_html_()
    (text,) = re.findall(r'^<iframe srcdoc="([^"]*)" width="100%"', shown)
    page = Reader(html.unescape(text))
    best = ran["found"].best
    assert f"{best.qe_score:,.2f}" in page.words
    assert ("of the budget" in page.words) is (of == "found")
    assert len(shown) < 200_000


def test_tables_for_pandas(ran: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ran["root"])
    found: SearchRecord = ran["found"]
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=dict))
    layers, front = found.best.to_frame(), found.to_frame()
    assert layers["w_bits"] == [bits.w for bits in found.best.bits]
    assert len({len(column) for column in layers.values()}) == 1
    assert front["pick"] == list(range(1, len(front["qe_score"]) + 1))
    assert max(front["qe_score"]) == pytest.approx(found.best.qe_score)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"pip install 'nas-search\[notebook\]'"):
        found.to_frame()


def test_figures_are_objects(ran: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ran["root"])
    for name in PLOTS:
        assert ran["found"].figure(name).axes
    assert ran["report"].figure().axes
    with pytest.raises(UnknownNameError, match="expected one of: bit_map"):
        ran["report"].figure("pareto_front")
    with pytest.raises(UnknownNameError, match="did you mean 'bit_map'"):
        ran["found"].figure("bit-map")


def test_bars_are_elements_where_there_are_widgets(monkeypatch: pytest.MonkeyPatch) -> None:
    assert progress._bar().__module__ == "tqdm.std"
    monkeypatch.setattr(progress.console, "in_notebook", lambda: True)
    monkeypatch.setattr(progress, "find_spec", lambda name: name)
    monkeypatch.setattr(progress, "import_module", lambda name: SimpleNamespace(tqdm=name))
    assert progress._bar() == "tqdm.auto"
