"""
Draws the charts of docs/explanation/ (scaling.md and benchmarks.md) from the figures in benchmarks/results/.

    pip install matplotlib && python benchmarks/charts.py

The background is transparent, and every colour can be told from white and from black.
"""

import json
import statistics
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot, ticker

RESULTS = Path(__file__).parent / "results"
IMAGES = Path(__file__).parents[1] / "docs" / "explanation" / "images"
GREY = "#7d8590"
COLOURS = ["#2f81f7", "#d29922", "#3fb950", "#db61a2"]
MARKERS = ["o", "s", "^", "D"]
STYLE = {
    "svg.fonttype": "none",  # texts stay texts
    "svg.hashsalt": "mainspring",  # the same figures give the same file
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": GREY,
    "axes.labelcolor": GREY,
    "axes.edgecolor": GREY,
    "axes.titlecolor": GREY,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "grid.color": GREY,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}


def rows(name):
    return json.loads((RESULTS / name).read_text())["rows"]


def throughput():
    """Jobs a second by the number of worker processes, a panel for each length of the jobs."""
    found = rows("simulation-throughput.json")
    lengths = list(dict.fromkeys(row["jobs"] for row in found))
    figure, panels = pyplot.subplots(1, len(lengths), figsize=(9, 3.2), layout="constrained")
    for panel, length in zip(panels, lengths, strict=True):
        lines = {}
        for row in found:
            if row["jobs"] == length:
                lines.setdefault((row["store"], row["processors"]), []).append((row["workers"], row["jobs/s"]))
        for (store, processors), points in lines.items():
            number = list(lines).index((store, processors))
            label = store if store == "Redis" else f"{store}, {processors} processors"
            _line(panel, points, number, label)
        _axes(panel, [10, 50, 200])
        panel.set_title("jobs that do nothing" if length == "0 ms" else f"jobs that wait {length}")
        panel.set_xlabel("worker processes")
    panels[0].set_ylabel("jobs a second, simulated")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    _save(figure, "scaling-throughput.svg")


def batches():
    """What it takes the server to settle jobs and hand others out, by the number of jobs in one call."""
    found = rows("costs.json")
    figure, panel = pyplot.subplots(figsize=(5.5, 3.2), layout="constrained")
    for number, store, label in ((0, "postgresql", "PostgreSQL"), (1, "mariadb", "MariaDB"), (3, "redis", "Redis")):
        cost = {}
        for row in found:
            if row["store"] == store and row["what"] == "settle and claim" and row["at once"] == 1:
                cost[row["batch"]] = statistics.median(row["server µs"])
        _line(panel, sorted(cost.items()), number, label)
    _axes(panel, [1, 4, 16, 64, 256])
    panel.set_xlabel("jobs in one call")
    panel.set_ylabel("server µs per job")
    panel.legend()
    _save(figure, "scaling-batches.svg")


def drains():
    """Jobs a second of one worker process, ours and those of the peers, a panel for each store."""
    stores = {"postgresql": "PostgreSQL", "sqlite": "SQLite", "mariadb": "MariaDB", "redis": "Redis"}
    found = {store: rows(f"drain-{store}-noop.json") for store in stores}
    heights = [len(each) + 1 for each in found.values()]
    figure, panels = pyplot.subplots(4, 1, figsize=(7, 6.5), layout="constrained", height_ratios=heights)
    for panel, (store, title) in zip(panels, stores.items(), strict=True):
        ours = [speed for row in found[store] for speed in row["Mainspring jobs /s"]]
        bars = [("Mainspring", ours), *((_peer(row["peer"], store), row["its jobs /s"]) for row in found[store])]
        bars = sorted(((name, statistics.median(speeds)) for name, speeds in bars), key=lambda bar: bar[1])
        colours = [COLOURS[0] if name == "Mainspring" else GREY for name, _ in bars]
        panel.barh(*zip(*bars, strict=True), color=colours, height=0.7)
        for place, (_, speed) in enumerate(bars):
            panel.text(speed, place, f" {speed:,.0f}", va="center", fontsize=9)
        panel.set_title(title, loc="left")
        panel.xaxis.set_visible(False)
        panel.spines["bottom"].set_visible(False)
        panel.tick_params(left=False)
    figure.supxlabel("jobs a second, one worker process, jobs that do nothing", color=GREY, fontsize=10)
    _save(figure, "drains.svg")


def _peer(name, store):
    """Return the name of a peer as a reader knows it."""
    return name.replace(f"-{store}", "").replace("huey-no-fsync", "huey, no fsync").replace("-normal", ", NORMAL")


def _line(panel, points, number, label):
    panel.plot(*zip(*points, strict=True), color=COLOURS[number], marker=MARKERS[number], linewidth=2, label=label)


def _axes(panel, places):
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xticks(places, [str(place) for place in places])
    panel.xaxis.set_minor_locator(ticker.NullLocator())
    panel.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))
    panel.yaxis.set_minor_locator(ticker.NullLocator())
    panel.grid(axis="y")


def _save(figure, name):
    IMAGES.mkdir(parents=True, exist_ok=True)
    figure.savefig(IMAGES / name, transparent=True, metadata={"Date": None})
    text = (IMAGES / name).read_text()
    (IMAGES / name).write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n")
    print(IMAGES / name)


def main():
    with matplotlib.rc_context(STYLE):
        throughput()
        batches()
        drains()


if __name__ == "__main__":
    main()
