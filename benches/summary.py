"""All measurements in one text: the Rust crates, their alternatives, starting, and live streams."""

import argparse
import json
from pathlib import Path

CORE = {
    # Criterion's group and its baseline; pytest-benchmark's test of the same work.
    "encode and sign 640 B": ("ours", "test_aws_sdk_encode_and_sign"),
    "decode 1 KB": ("ours, to the frame", "test_aws_sdk_decode"),
    "journal": ("push, take and ack a chunk", "test_python_ring_push_and_ack"),
}


def criterion(directory: Path) -> dict[str, dict[str, float]]:
    """Medians in nanoseconds, by group and benchmark."""
    groups: dict[str, dict[str, float]] = {}
    for estimates in sorted(directory.glob("**/new/estimates.json")):
        name = json.loads((estimates.parent / "benchmark.json").read_text())
        median = json.loads(estimates.read_text())["median"]["point_estimate"]
        function = name["function_id"] or name["value_str"] or "ours"
        groups.setdefault(name["group_id"], {})[function] = median
    return groups


def python(path: Path) -> dict[str, float]:
    """Medians in nanoseconds, by test."""
    benchmarks = json.loads(path.read_text())["benchmarks"]
    return {each["name"]: each["stats"]["median"] * 1e9 for each in benchmarks}


def table(groups: dict[str, dict[str, float]], tests: dict[str, float]) -> str:
    """Markdown: every benchmark of the Rust crates beside its alternatives."""
    lines = ["## The core", "", "| | time, ns | times ours |", "| --- | ---: | ---: |"]
    for group, functions in groups.items():
        reference, test = CORE.get(group, ("ours", ""))
        ours = functions.get(reference)
        rows = [(f"{group}: {function}", time) for function, time in functions.items()]
        if test in tests:
            rows.append((f"{group}: in Python ({test.removeprefix('test_')})", tests[test]))
        for name, time in rows:
            ratio = f"{time / ours:.2f}" if ours else ""
            lines.append(f"| {name} | {time:.0f} | {ratio} |")
    return "\n".join(lines) + "\n"


def starting(tests: dict[str, float]) -> str:
    """Markdown: what an interpreter that imports the package takes, and what of it is ours."""
    lines = ["## Start", "", "| imports | time, ms | without the interpreter |"]
    lines.append("| --- | ---: | ---: |")
    nothing = tests.get("test_start[nothing]", 0.0)
    for name, time in tests.items():
        if name.startswith("test_start["):
            imports = name.removeprefix("test_start[").removesuffix("]")
            lines.append(f"| {imports} | {time / 1e6:.0f} | {(time - nothing) / 1e6:.0f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--criterion", type=Path, required=True, help="criterion's directory")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    options = parser.parse_args()
    tests = python(options.out / "python.json")
    core = table(criterion(options.criterion), tests)
    streams = (options.out / "streams.md").read_text()
    text = f"# Measured in one run\n\n{core}\n{starting(tests)}\n{streams}"
    (options.out / "table.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
