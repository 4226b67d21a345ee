import math
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medseg.errors import MissingFileError
from medseg.reporting.content import NamedTable, Picture, ReportContent
from medseg.reporting.environment import describe_environment
from medseg.reporting.page import write_page
from medseg.reporting.plots import plot_curves, plot_runs, read_history, to_svg
from medseg.reporting.text import format_columns, format_number, format_summary

SUMMARY = pd.DataFrame(
    [
        {
            "structure": structure,
            "metric": metric,
            "mean": mean,
            "ci_low": mean - 0.1,
            "ci_high": mean + 0.1,
            "n": 3,
            "n_missed": missed,
            "n_invented": 0,
            "n_absent": 0,
        }
        for structure, missed in (("organ", 0), ("tumour", 2))
        for metric, mean in (("dice", 0.8), ("hd95_mm", 3.25))
    ]
)
CASES = pd.DataFrame(
    {
        "case_id": ["case_10", "case_9", "case_1"],
        "structure": ["organ"] * 3,
        "outcome": ["scored", "missed", "absent"],
        "dice": [0.8, 0.0, math.nan],
        "nsd": [0.9, 0.0, math.nan],
        "hd95_mm": [2.0, 80.0, math.nan],
        "reference_ml": [1.0, 2.0, 0.0],
        "volume_ml": [1.1, 0.0, 0.0],
        "volume_error_ml": [0.1, -2.0, 0.0],
    }
)


@pytest.fixture
def content(tmp_path):
    pictures = []
    for case, score in (("case_10", 0.8), ("case_9", 0.0)):
        path = tmp_path / f"{case}.png"
        Image.new("RGB", (40, 40), (16, 200, 40)).save(path)
        pictures.append(Picture(path, case, score, f"Dice {score}"))
    history = tmp_path / "metrics.csv"
    history.write_text(
        "step,seconds,metric,value\n10,1,loss,1.5\n20,2,loss,0.5\n"
        "20,2,dice/organ,0.7\n20,2,dice/mean,0.7\n10,1,learning_rate,0.001\n"
    )
    return ReportContent(
        title="A <study> & more",
        subtitle="three cases",
        figures={"mean Dice": "0.800"},
        warnings=("case_7: the prediction does not lie on the reference's grid",),
        notes=("NSD at 1 mm.",),
        summary=SUMMARY,
        cases=CASES,
        histories={"run": history},
        pictures=tuple(pictures),
        sampling_stats=pd.DataFrame({"structure": ["organ"], "patches_share": [0.25]}),
        seconds={"network": 90.0, "loading": 10.0},
        facts={"Hashes": {"data": "abc123"}},
    )


@pytest.fixture
def page(content, tmp_path):
    path = tmp_path / "report.html"
    write_page(path, content)
    return path


class Links(HTMLParser):
    """Collects what a page would load."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [v for k, v in attrs if k in ("src", "href", "data", "srcset")]
        assert tag != "link"


def test_the_page_loads_nothing(page):
    links = Links()
    links.feed(page.read_text())
    assert links.found
    assert all(link.startswith(("data:", "#")) for link in links.found)
    assert "url(" not in page.read_text().replace("url(#", "")
    assert "default-src 'none'" in page.read_text()


def test_names_cannot_become_markup(page):
    text = page.read_text()
    assert "<h1>A &lt;study&gt; &amp; more</h1>" in text
    assert "<study>" not in text


def test_every_section_is_there(page):
    sections = re.findall(r'<section id="([\w-]+)"', page.read_text())
    assert sections == [
        "scores",
        "distributions",
        "pictures",
        "cases-box",
        "curves",
        "sampling",
        "time",
        "facts",
    ]


def test_means_intervals_and_what_was_missed_are_shown(page):
    text = page.read_text()
    assert "<b>0.800</b><small>0.700 – 0.900</small>" in text
    assert "<b>3.25</b>" in text
    assert re.search(
        r'class="number alarm" data-sort="2.0" data-label="missed">2<', text
    )


def test_tables_of_the_study_follow_the_scores(content, tmp_path):
    own = NamedTable("Patients", pd.DataFrame({"fold": ["all"], "mean": [0.8]}), "All.")
    write_page(tmp_path / "own.html", replace(content, tables=(own,)))
    scores = (tmp_path / "own.html").read_text().split('<section id="distributions"')[0]
    assert "<h3>Patients</h3>" in scores
    assert "<p>All.</p>" in scores


def test_pictures_are_sorted_from_worst_to_best(page):
    captions = re.findall(r"<figcaption>([\w]+)<", page.read_text())
    assert captions == ["case_9", "case_10"]


def test_the_time_adds_up(page):
    assert "<b>1 min 30 s</b> 90%" in page.read_text()
    assert "1 min 40 s in all" in page.read_text()


def test_an_empty_report_is_a_page_too(tmp_path):
    write_page(tmp_path / "empty.html", ReportContent("Nothing"))
    assert "<section" not in (tmp_path / "empty.html").read_text()


def test_a_picture_that_is_not_there_is_refused(tmp_path):
    gone = Picture(tmp_path / "gone.png", "case_1", 0.5)
    with pytest.raises(MissingFileError, match=r"gone\.png: no such picture"):
        write_page(tmp_path / "page.html", ReportContent("x", pictures=(gone,)))


def test_large_pictures_are_carried_as_jpeg(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    content = ReportContent("x", pictures=(Picture(tmp_path / "noise.png", "a", 0.5),))
    write_page(tmp_path / "page.html", content)
    assert "data:image/jpeg;base64," in (tmp_path / "page.html").read_text()


def test_curves_share_a_panel_by_kind(content):
    history = read_history(content.histories["run"])
    np.testing.assert_array_equal(history["loss"], [[10, 20], [1.5, 0.5]])
    figure = plot_curves(history)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "Loss",
        "Dice",
        "Learning rate",
    ]
    assert to_svg(figure).startswith("<svg")


def test_each_run_has_its_line():
    steps = np.arange(3.0)
    histories = {
        "fold 0": {"loss": (steps, steps), "dice/mean": (steps, steps)},
        "fold 1": {"loss": (steps, 1 - steps), "dice/mean": (steps, 1 - steps)},
    }
    loss, dice = plot_runs(histories).axes
    assert [line.get_label() for line in loss.lines] == ["fold 0", "fold 1"]
    np.testing.assert_array_equal(dice.lines[0].get_ydata(), steps)
    np.testing.assert_array_equal(dice.lines[1].get_ydata(), 1 - steps)
    assert loss.lines[0].get_color() == dice.lines[0].get_color()
    assert loss.lines[0].get_color() != loss.lines[1].get_color()
    assert plot_runs({"fold 0": {}}) is None


def test_the_legend_names_every_run_and_many_runs_differ():
    steps = np.arange(3.0)
    curve = (steps, steps)
    histories = {f"run {n}": {"loss": curve, "dice/mean": curve} for n in range(8)}
    del histories["run 3"]["dice/mean"]  # failed before its first look
    figure = plot_runs(histories)
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named == list(histories)
    looks = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(looks) == 8
    more = {f"run {n}": {"loss": curve} for n in range(15)}
    assert not plot_runs(more).legends


def test_a_history_without_curves_has_no_figure():
    assert plot_curves({"other": (np.zeros(1), np.zeros(1))}) is None


def test_numbers_read_as_people_write_them():
    assert format_number(0.87654) == "0.877"
    assert format_number(3.14159, unit="mm") == "3.14"
    assert format_number(math.nan) == "–"


def test_columns_line_up():
    lines = format_columns(["name", "n"], [["a", "10"], ["longer", "5"]]).splitlines()
    assert lines == ["name     n", "----------", "a       10", "longer   5"]


def test_the_summary_as_text_counts_what_was_missed():
    text = format_summary(SUMMARY)
    assert "0.800 (0.700 to 0.900)" in text
    assert text.splitlines()[3].split()[-3:] == ["3", "2", "0"]


def test_the_environment_names_no_one(monkeypatch):
    facts = describe_environment()
    assert {"Python", "numpy", "torch"} <= set(facts)
    assert not {"user", "host", "node"} & {name.lower() for name in facts}


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
WATCH = """
<script>
const seen = [];
addEventListener("error", (event) => seen.push(event.message));
addEventListener("unhandledrejection", () => seen.push("rejection"));
addEventListener("securitypolicyviolation", (event) => seen.push(event.blockedURI));
console.error = console.warn = (...words) => seen.push(words.join(" "));
addEventListener("load", () => {
  const loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
  const asked = loaded.filter((name) => !name.startsWith("data:"));
  document.documentElement.dataset.seen = [...seen, ...asked].join("|") || "nothing";
});
</script>
"""
CLICK = """
<script>
addEventListener("load", () => {
  const heads = document.querySelectorAll("#cases th button");
  heads[0].click();
  const first = () => document.querySelector("#cases tbody tr td").textContent;
  const order = [first()];
  heads[3].click(); order.push(first());
  heads[3].click(); order.push(first());
  const filter = document.querySelector("#filter");
  filter.value = "missed";
  filter.dispatchEvent(new Event("input"));
  order.push(document.querySelector("#count").textContent);
  document.body.dataset.order = order.join("|");
});
</script>
"""


def browse(page, tmp_path, *options):
    command = [
        BROWSER,
        *FLAGS,
        f"--user-data-dir={tmp_path / 'profile'}",
        *options,
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-500:]
    return done.stdout


@pytest.mark.skipif(BROWSER is None, reason="no chromium to open the page with")
def test_the_page_works_in_a_browser(page, tmp_path):
    clicked = tmp_path / "clicked.html"
    text = page.read_text().replace("<style>", WATCH + "<style>", 1)
    clicked.write_text(text.replace("</body>", CLICK + "</body>"))
    dom = browse(clicked, tmp_path, "--dump-dom")
    assert 'data-ready="yes"' in dom
    assert 'data-seen="nothing"' in dom  # no error, no request, no refused request
    # Names sort as people count; empty scores stay last in either direction.
    assert 'data-order="case_1|case_9|case_10|1 of 3 rows"' in dom


@pytest.mark.skipif(BROWSER is None, reason="no chromium to open the page with")
def test_what_a_page_would_load_is_noticed(page, tmp_path):
    spoiled = tmp_path / "spoiled.html"
    text = page.read_text().replace("<style>", WATCH + "<style>", 1)
    outside = '<img alt="" src="https://example.invalid/a.png"></main>'
    spoiled.write_text(text.replace("</main>", outside))
    assert "https://example.invalid" in re.search(
        'data-seen="([^"]*)"', browse(spoiled, tmp_path, "--dump-dom")
    ).group(1)


@pytest.mark.skipif(BROWSER is None, reason="no chromium to open the page with")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_looks_like_something(page, tmp_path, scheme):
    shot = tmp_path / "shot.png"
    preferred = "--blink-settings=preferredColorScheme=" + str(int(scheme == "light"))
    size = "--window-size=1200,2600"
    browse(page, tmp_path, f"--screenshot={shot}", size, preferred)
    pixels = np.asarray(Image.open(shot).convert("RGB"))
    assert (pixels == (16, 200, 40)).all(axis=-1).sum() > 1000  # the pictures
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    ground = pixels[:, 4].astype(int).mean(axis=1)  # beside the sections
    assert (np.median(ground) > 200) == (scheme == "light")


MEASURE = """
<script>
addEventListener("load", () => {
  const wide = [...document.querySelectorAll("#scores .scroll, #distributions")];
  const over = wide.map((part) => part.scrollWidth - part.clientWidth);
  const small = [...document.querySelectorAll(".plots svg text")].map(
    (text) => text.getBoundingClientRect().height);
  parent.postMessage([Math.max(...over), Math.min(...small)].join("|"), "*");
});
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="no chromium to open the page with")
@pytest.mark.parametrize("width", [1440, 390])
def test_scores_need_no_scrolling_and_charts_stay_legible(content, tmp_path, width):
    metrics = ("dice", "nsd", "hd95_mm", "assd_mm", "iou", "precision", "hd_mm")
    rows = [{**SUMMARY.iloc[0], "metric": m, "ci_low": 100.25} for m in metrics]
    inner, outer = tmp_path / "inner.html", tmp_path / "outer.html"
    write_page(inner, replace(content, summary=pd.DataFrame(rows)))
    inner.write_text(inner.read_text().replace("</body>", MEASURE + "</body>"))
    outer.write_text(
        f'<iframe src="inner.html" style="width:{width}px;height:900px"></iframe>'
        "<script>onmessage = (event) => {"
        "document.body.dataset.found = event.data}</script>"
    )
    dom = browse(outer, tmp_path, "--dump-dom", "--window-size=1600,1000")
    over, least = map(float, re.search('data-found="([^"]*)"', dom).group(1).split("|"))
    assert over <= 0
    assert least >= 9  # pixels


def test_scores_name_their_columns_for_cards(page):
    text = page.read_text()
    assert 'class="scores cards"' in text
    assert 'data-label="HD95 [mm]"' in text
    assert text.count('class="plot"') == 3 + 3  # distributions, curves


def test_the_legend_stands_beside_the_pictures(content, tmp_path):
    path = tmp_path / "legend.html"
    write_page(path, replace(content, legend={"organ": "#E69F00"}))
    shown = path.read_text().split('<section id="pictures"')[1].split("</section>")[0]
    assert '<i style="background:#E69F00"></i>organ' in shown
    assert "fill: reference" in shown
