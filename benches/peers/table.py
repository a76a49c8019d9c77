"""Prints one table of what `benches/peers/run` has measured: table.py FOLDER. The files there are SCENARIO[.CLIENTS].SERVER.ROUND.json."""

import json
import pathlib
import statistics
import sys

COLUMNS = [
    ("idle", "rss", "RSS per client, bytes"),
    ("idle", "kernel", "kernel's slab per client, both ends, bytes"),
    ("idle", "rss_kept", "kept after all left, bytes"),
    ("fanout", "delivery", "CPU per delivery, µs"),
    ("burst", "delivery", "the same in bursts of 8, µs"),
    ("churn", "cycle", "connect, subscribe, close: CPU, µs"),
    ("churn", "resumed_cycle", "the same, resuming TLS"),
    ("storm", "storm", "all connect at once, s"),
    ("storm", "storm_cpu", "CPU of that per client, µs"),
    ("sparse", "unwanted_loop", "CPU per update that nobody wants, µs"),
]


# Shown as multiples of the floor, too.
RATIOS = {"delivery", "cycle", "storm", "storm_cpu"}


def text(value):
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


points = [
    (path.name.split(".")[0], path.name.split(".")[-2], point)
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*.json"))
    for point in json.loads(path.read_text())["points"]
]
most = {scenario: max(point["clients"] for name, _, point in points if name == scenario) for scenario, _, _ in points}
# By server, scenario and key: what each round gave, and whether it was as it should be.
values = {}
for scenario, number, point in points:
    for side in point["sides"] if point["clients"] == most[scenario] else []:
        is_good = side["missing"] == 0 and not side["faults"]
        for measure in (measure for measures in side["rounds"] for measure in measures):
            values.setdefault((side["name"], scenario, measure["key"]), {})[number] = (measure["value"], is_good)
columns = [column for column in COLUMNS if any(key[1:] == column[:2] for key in values)]
print("| server |", " | ".join(title for _, _, title in columns), "|")
print("| --- |", " | ".join("---" for _ in columns), "|")
names = list(dict.fromkeys(name for name, _, _ in values))
for name in sorted(names, key=lambda name: (name != "floor", name not in ("serve", "wss"))):
    cells = []
    for scenario, key, _ in columns:
        found = values.get((name, scenario, key), {})
        mark = "" if all(good for _, good in found.values()) else " (!)"
        floors = values.get(("floor", scenario, key), {})
        ratios = [value / floors[number][0] for number, (value, _) in found.items() if number in floors and floors[number][0] > 0]
        ratio = f" ({statistics.median(ratios):.2f} ×)" if ratios and key in RATIOS and name != "floor" else ""
        cells.append(text(statistics.median(value for value, _ in found.values())) + ratio + mark if found else "–")
    print(f"| {name} |", " | ".join(cells), "|")
print("\n(1.23 ×): as a multiple of the floor's in the same round. (!): not all deliveries came, each once and in order, or not all clients could connect.")
