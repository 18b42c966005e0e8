"""The serving benchmark's table and chart."""

from pathlib import Path
from typing import Any


def ratio(servers: dict[str, Any], ours: str, connections: int, figure: str) -> float:
    """Our figure over the best peer's: highest for `rate`, lowest for latencies."""
    values = {name: found["loads"][connections][figure] for name, found in servers.items()}
    own = values.pop(ours)
    best = max(values.values()) if figure == "rate" else min(values.values())
    return float(own / best)


def format_table(result: dict[str, Any], ours: str) -> str:
    """Markdown: one row a server and number of connections, then what else was measured."""
    servers = result["servers"]
    lines = [
        "| server | connections | requests/s | p50 ms | p95 ms | p99 ms | CPU ms/request |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in servers.items():
        for connections, load in found["loads"].items():
            cells = [f"{load[key]:.1f}" for key in ("rate", "p50", "p95", "p99")]
            row = [name, str(connections), *cells, f"{load['cpu_ms']:.2f}"]
            lines.append(f"| {' | '.join(row)} |")
    lines.append("")
    for name, found in servers.items():
        memory = f"{found['memory_mb']:.0f} MB, largest process {found['workers_mb']:.0f} MB"
        lines.append(f"{name}: ready in {found['ready_seconds']:.1f} s, {memory}")
    if ours in servers and len(servers) > 1:
        lines.append("")
        for connections in servers[ours]["loads"]:
            rate, tail = (ratio(servers, ours, connections, key) for key in ("rate", "p99"))
            lines.append(
                f"{connections} connections: {rate:.2f} x the best peer's requests/s, "
                f"{tail:.2f} x its p99"
            )
    lines.append("")
    for name, found in servers.items():
        rate, tail = found["photos"]["rate"], found["photos"]["p99"]
        lines.append(f"{name}, 12-Mpx photos among the faces: {rate:.0f}/s, p99 {tail:.0f} ms")
    lines += format_batches(result, ours)
    lines.append(f"one label from all servers: {result['images_with_one_label']} images")
    return "\n".join(lines)


def format_batches(result: dict[str, Any], ours: str) -> list[str]:
    """Images a second through `/predict_batch` against the bare predictor."""
    bare = result["bare_images_per_second"]
    rates = result["servers"].get(ours, {}).get("batches", {})
    lines = [
        f"{size} a request: {rate:.0f} images/s, {rate / bare:.0%}" for size, rate in rates.items()
    ]
    return ["", f"bare predictor: {bare:.0f} images/s", *lines]


def draw_chart(result: dict[str, Any], path: Path) -> None:
    """Requests a second and p99 by connections."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for name, found in result["servers"].items():
        counts = list(found["loads"])
        for axis, key in zip(axes, ("rate", "p99"), strict=True):
            axis.plot(counts, [found["loads"][count][key] for count in counts], "o-", label=name)
    for axis, label in zip(axes, ("requests a second", "p99 latency, ms"), strict=True):
        axis.set(xscale="log", xlabel="connections", ylabel=label, ylim=(0, None))
        axis.set_xticks(counts, [str(count) for count in counts])
    axes[0].legend()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
