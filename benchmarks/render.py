"""Render benchmarks/results/*.json into the tables of benchmarks/README.md.

    python benchmarks/render.py [--check]

Each table stands between ``<!-- NAME -->`` and ``<!-- end -->``; what is between is replaced.
``--check`` changes nothing and fails if a table isn't what the results say.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from fastleuk.bench.report import milliseconds
from fastleuk.tables import markdown_table

HERE = Path(__file__).parent
README = HERE / "README.md"
MARK = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only")
    check = parser.parse_args().check
    before = README.read_text(encoding="utf-8")
    after = MARK.sub(lambda m: m[1] + render(m[2]) + "\n" + m[3], before)
    if check and after != before:
        sys.exit("benchmarks/README.md isn't what the results say: run benchmarks/render.py")
    if not check:
        README.write_text(after, encoding="utf-8")


def render(name: str) -> str:
    """Return a table, or that its figures aren't there: no file, or one of an older method."""
    try:
        return TABLES[name]()
    except (FileNotFoundError, KeyError) as error:
        print(f"{name}: not in the results: {error}", file=sys.stderr)
        return NOT_YET


def read(name: str) -> dict[str, Any]:
    return json.loads((HERE / "results" / name).read_text(encoding="utf-8"))


def machine() -> str:
    about = read("pipeline.json")["machine"]
    keep = ("torch", "torchvision", "nvidia-dali-cuda120", "albumentations", "kornia", "pillow")
    packages = ", ".join(f"{k} {about['packages'][k]}" for k in keep if k in about["packages"])
    return (
        f"{about['cores']} cores of {about['cpu']}, {about['memory_gb']} GB, {about['system']}, "
        f"GPU: {about['gpu'] or 'none'}. Python {about['python']}, {packages}. "
        f"{about['date']}, load average {about['load_average']:.1f} when it began."
    )


def loaders() -> str:
    rows = []
    for row in read("pipeline.json")["results"]:
        rates = row["images_per_s"]
        rows.append(
            [
                f"`{row['name']}`",
                f"{rates['median']:.0f}",
                f"{rates['iqr']:.0f}",
                f"{row['ratio_to_torchvision']:.2f}",
                f"{row['cpu_s_per_1000_images']:.2f}",
                f"{row['peak_memory_mb']:.0f}",
                f"{row['latency_ms']['p50']:.0f} / {row['latency_ms']['p95']:.0f}",
                f"{row['first_batch_s']:.1f}",
            ]
        )
    header = ["loader", "images/s", "IQR", "× torchvision", "CPU s / 1,000", "memory MB",
              "p50 / p95 ms", "first batch s"]  # fmt: skip
    return markdown_table(header, rows)


def training() -> str:
    found = read("pipeline.json")["training"]
    rows = [
        [
            row["name"],
            f"{row['images_per_s']:.1f}",
            f"{row['ideal_images_per_s']:.1f}",
            f"{row['share_of_ideal']:.0%}",
            f"{row['data_wait_share']:.2%}",
            str(row["steps"]),
        ]
        for row in found
    ]
    return markdown_table([f"`{found[0]['backbone']}` fed by", "images/s", "the ideal beside it",
                  "of the ideal", "data wait", "steps"], rows)  # fmt: skip


def operators() -> str:
    rows = [
        [
            f"{row['graph']}",
            row["name"],
            milliseconds(row),
            f"{row['low']:.3f} to {row['high']:.3f}",
        ]
        for row in read("pipeline.json")["operators"]
    ]
    return markdown_table(["graph", "part", "CPU ms an image", "95 % interval"], rows)


def allocator() -> str:
    """Each loader with the memory kept and with the C library's defaults, two runs."""
    documents = {name: read(f"{file}.json") for name, file in RUNS.items()}
    for name, document in documents.items():
        if document["allocator"] != name:
            sys.exit(f"{RUNS[name]}.json is of the allocator {document['allocator']}, not {name}")
    by_name = {
        run: {row["name"]: row for row in document["results"]}
        for run, document in documents.items()
    }
    rows = []
    for name in by_name["kept"]:
        cells = []
        for run in RUNS:
            row = by_name[run].get(name)
            cells += (
                [f"{row['images_per_s']['median']:.0f}", f"{row['ratio_to_torchvision']:.2f}"]
                if row
                else [NONE, NONE]
            )
        rows.append([f"`{name}`", *cells])
    header = ["loader", "kept: images/s", "× torchvision", "system: images/s", "× torchvision"]
    return markdown_table(header, rows)


def prepare() -> str:
    rows = [
        [
            f"`{row['name']}`",
            f"{row['images_per_s']:.0f}",
            f"{row['decoding_per_s']:.0f}",
            f"{row['cpu_s_per_1000_images']:.2f}",
            f"{row['peak_memory_mb']:.0f}",
        ]
        for row in read("prepare.json")["results"]
    ]
    return markdown_table(["decoded by", "images/s in all", "images/s decoding", "CPU s / 1,000",
                  "peak memory MB"], rows)  # fmt: skip


def overhead() -> str:
    rows = [
        [
            f"`{row['name']}`",
            f"{row['bare']:.0f}",
            f"{row['loader']:.0f}",
            f"{row['overhead']:.1%}",
        ]
        for row in read("overhead.json")["results"]
    ]
    return markdown_table(
        ["applier", "bare pipeline images/s", "loader images/s", "overhead"], rows
    )


def sweep() -> str:
    found = read("sweep.json")["sweep"]
    names = list(dict.fromkeys(row["name"] for row in found))
    rates = {
        (row["name"], row["batch_size"], row["workers"]): row["images_per_s"]["median"]
        for row in found
    }
    shapes = list(dict.fromkeys((row["batch_size"], row["workers"]) for row in found))
    rows = [
        [str(batch), str(workers), *(f"{rates[name, batch, workers]:.0f}" for name in names)]
        for batch, workers in shapes
    ]
    return markdown_table(
        ["batch size", "workers", *(f"`{name}` images/s" for name in names)], rows
    )


def loop() -> str:
    rows = [
        [
            f"`{row['backbone']}`, {row['size']} px, batches of {row['batch_size']}",
            f"{row['bare']:.1f}",
            f"{row['replayed']:.1f}",
            f"{row['loader']:.1f}",
            f"{row['replayed_to_bare']:.3f}",
            f"{row['loader_to_replayed']:.3f}",
        ]
        for row in read("train_loop.json")["results"]
    ]
    return markdown_table(["", "bare loop images/s", "fastleuk, one batch", "fastleuk, its loader",
                  "one batch / bare", "loader / one batch"], rows)  # fmt: skip


def recipes() -> str:
    rows = []
    for name in ("recipes-demo.json", "recipes-pbc.json"):
        found = read(name)
        for recipe, figures in found["results"].items():
            cells = [
                f"{mean(values):.4f} ± {stdev(values):.4f}"
                for values in (figures["f1_macro"], figures["auc"])
            ]
            seeds = str(len(figures["f1_macro"]))
            rows.append([f"{found['data']}, `{recipe}`", *cells, seeds])
    return markdown_table(["data, recipe", "macro-F1", "AUC", "seeds"], rows)


def scaling() -> str:
    rows = [
        [
            f"{row['rows']:,}",
            NONE if row["read_manifest_s"] is None else f"{row['read_manifest_s']:.2f}",
            f"{row['groups_s']:.2f}",
            f"{row['split_s']:.2f}",
            f"{row['plan_s']:.2f}",
            f"{row['peak_bytes_per_row']:.0f}",
            f"{row['plan_bytes_per_row']:.0f}",
        ]
        for row in read("scaling.json")["plan"]
    ]
    header = ["rows", "read CSV s", "groups s", "split s", "epoch plan s", "peak bytes a row",
              "plan bytes a sample"]  # fmt: skip
    return markdown_table(header, rows)


def flat() -> str:
    rows = [
        [f"{row['rows']:,}", f"{row['images_per_s']:.0f}"] for row in read("scaling.json")["loader"]
    ]
    return markdown_table(["images in the set", "images/s, cached and fused"], rows)


def limits() -> str:
    """Cores and bytes a node needs, from the measured CPU seconds and the assumed rate."""
    document = read("pipeline.json")
    if any("below_noise" not in row for row in document["operators"]):
        raise KeyError("below_noise")  # of an older run: differences of whole graphs
    cpu = {r["name"]: r["cpu_s_per_1000_images"] / 1e3 for r in document["results"]}
    one = {(o["name"], o["graph"]): o["ms_per_image"] / 1e3 for o in document["operators"]}
    host = one["draw parameters", "host"] + one["matrices and kernels", "fused"]
    decode = one["read", "both"] + one["decode", "both"] + host
    needs = {
        "torchvision on the CPU, from files: cores": cpu["torchvision-pil"],
        "compiled on the CPU, from files: cores": cpu["dali-compiled-files"],
        "compiled on the CPU, from the cache: cores": cpu["dali-compiled-cache"],
        "fused on the GPU, from BMP files: cores": decode,
        "fused on the GPU, from the cache: cores": host,
    }
    rows = [
        [name, *(f"{RATE * gpus * seconds:,.1f}" for gpus in NODES)]
        for name, seconds in needs.items()
    ]
    traffic = RATE * 224 * 224 * 3 / 1e9
    rows.append(["upload of uint8, GB/s", *(f"{traffic * gpus:,.2f}" for gpus in NODES)])
    share = traffic / 25
    rows.append(["share of each GPU's link", *(f"{share:.1%}" for _ in NODES)])
    rows.append(["images/s that training takes", *(f"{RATE * gpus:,}" for gpus in NODES)])
    return markdown_table(["", *(f"{gpus} GPU{'s' if gpus > 1 else ''}" for gpus in NODES)], rows)


RATE, NODES = 2500, (1, 8, 64)
NONE = "–"
RUNS = {"kept": "pipeline", "system": "pipeline-system"}
NOT_YET = "*Not measured since the method changed.*"

TABLES = {
    "machine": machine,
    "loaders": loaders,
    "allocator": allocator,
    "training": training,
    "operators": operators,
    "prepare": prepare,
    "sweep": sweep,
    "loop": loop,
    "recipes": recipes,
    "overhead": overhead,
    "scaling": scaling,
    "flat": flat,
    "limits": limits,
}

if __name__ == "__main__":
    main()
