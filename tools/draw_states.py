"""Draws docs/pictures/states.svg: the phases of a session and the roles of its legs.

The moves are those of the tables in `rust/session/src/session/state.rs`, which a test there writes
to `rust/session/states.txt`. Only the places are set here; a move without a place is an error.

    .venv/bin/python tools/draw_states.py
"""

import math
from collections import defaultdict
from html import escape
from pathlib import Path

ROOT = Path(__file__).parent.parent
MOVES = ROOT / "rust" / "session" / "states.txt"
PICTURE = ROOT / "docs" / "pictures" / "states.svg"

WIDTH, HEIGHT = 1120, 850
ACROSS, DOWN = 72, 22
"""Half the size of a state."""
SIZE = f'width="{2 * ACROSS}" height="{2 * DOWN}"'

ENDS = ("Finished", "Failed")

STATES = {
    "phase": {
        "Idle": (100, 140),
        "Opening": (300, 140),
        "Waiting": (300, 370),
        "Dormant": (450, 530),
        "Live": (590, 140),
        "Live with a standby Opening": (960, 140),
        "Live with a standby Ready": (680, 370),
        "Live with a standby Waiting": (960, 370),
        "Finished": (790, 550),
        "Failed": (960, 550),
    },
    "role": {
        "Standby": (130, 720),
        "Standby that replays": (130, 800),
        "Current": (430, 720),
        "Retiring": (700, 720),
        "Ended": (970, 720),
    },
}

# Of a line: by how much its middle is beside the straight way, and where on it its words are.
LINES = {
    ("Idle", "Opening"): (0, 0.5),
    ("Opening", "Live"): (0, 0.5),
    ("Opening", "Waiting"): (-40, 0.5),
    ("Waiting", "Opening"): (-40, 0.5),
    ("Live", "Waiting"): (0, 0.42),
    ("Live", "Dormant"): (0, 0.62),
    ("Dormant", "Waiting"): (0, 0.5),
    ("Live", "Live with a standby Opening"): (-26, 0.5),
    ("Live with a standby Opening", "Live"): (-26, 0.5),
    ("Live with a standby Opening", "Live with a standby Ready"): (0, 0.5),
    ("Live with a standby Opening", "Live with a standby Waiting"): (-22, 0.5),
    ("Live with a standby Waiting", "Live with a standby Opening"): (-22, 0.35),
    ("Live with a standby Opening", "Opening"): (72, 0.5),
    ("Live with a standby Waiting", "Waiting"): (-92, 0.62),
    ("Live with a standby Waiting", "Dormant"): (-30, 0.5),
    ("Live with a standby Ready", "Live with a standby Waiting"): (0, 0.5),
    ("Live with a standby Ready", "Live"): (0, 0.45),
    ("Standby", "Standby that replays"): (0, 0.5),
    ("Standby", "Current"): (0, 0.5),
    ("Standby that replays", "Current"): (0, 0.5),
    ("Current", "Retiring"): (0, 0.5),
    ("Retiring", "Ended"): (0, 0.5),
    ("Current", "Ended"): (-42, 0.5),
    ("Standby", "Ended"): (-82, 0.5),
    ("Standby that replays", "Ended"): (30, 0.5),
}

STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1d2433; text-anchor: middle; }
.title { font-weight: 600; text-anchor: start; }
.event { font-size: 12px; fill: #41507a; paint-order: stroke; stroke: #f6f7fb; stroke-width: 5px; }
.state { fill: #ffffff; stroke: #4051b5; stroke-width: 1.5; }
.end { fill: #e3e6f5; }
.live { fill: #edeffa; stroke: #4051b5; stroke-dasharray: 5 4; }
.line { fill: none; stroke: #6a76a8; stroke-width: 1.4; marker-end: url(#head); }
"""

HEAD = (
    '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
    'orient="auto"><path d="M0 0L8 4L0 8Z" fill="#6a76a8"/></marker>'
)

Point = tuple[float, float]


def moves() -> dict[str, dict[tuple[str, str], list[str]]]:
    """Return the events of each move, by the kind of state and the two states."""
    found: dict[str, dict[tuple[str, str], list[str]]] = {
        "phase": defaultdict(list),
        "role": defaultdict(list),
    }
    for line in MOVES.read_text(encoding="utf-8").splitlines():
        kind, _, move = line.partition(": ")
        start, _, rest = move.partition(" -- ")
        event, _, end = rest.partition(" -> ")
        found[kind][start, end].append(event)
    return found


def edge(start: Point, towards: Point) -> Point:
    """Return where a line from a state's middle leaves the state."""
    x, y = towards[0] - start[0], towards[1] - start[1]
    scale = min(ACROSS / abs(x) if x else math.inf, DOWN / abs(y) if y else math.inf)
    return start[0] + x * scale, start[1] + y * scale


def line(start: Point, end: Point, beside: float, at: float, words: str) -> list[str]:
    """Return a line with its words."""
    x, y = end[0] - start[0], end[1] - start[1]
    length = math.hypot(x, y)
    middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    bend = middle[0] - y / length * beside * 2, middle[1] + x / length * beside * 2
    first, last = edge(start, bend), edge(end, bend)
    path = f"M{first[0]:.0f} {first[1]:.0f}Q{bend[0]:.0f} {bend[1]:.0f} {last[0]:.0f} {last[1]:.0f}"
    here = [
        (1 - at) ** 2 * one + 2 * at * (1 - at) * between + at**2 * other
        for one, between, other in zip(first, bend, last, strict=True)
    ]
    return [
        f'<path class="line" d="{path}"/>',
        f'<text class="event" x="{here[0]:.0f}" y="{here[1] + 4:.0f}">{escape(words)}</text>',
    ]


def state(name: str, place: Point) -> list[str]:
    """Return a state with its name."""
    x, y = place
    kind = "state end" if name in (*ENDS, "Ended") else "state"
    shown = name.removeprefix("Live with a ").replace("Standby that replays", "Standby, replaying")
    return [
        f'<rect class="{kind}" x="{x - ACROSS}" y="{y - DOWN}" {SIZE} rx="10"/>',
        f'<text x="{x}" y="{y + 5}">{escape(shown)}</text>',
    ]


def draw() -> str:
    """Return the picture.

    Raises:
        ValueError: A session cannot end from every phase, which the picture says.
        KeyError: A state or a move has no place.
    """
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>The phases of a session, and the roles of its legs</title>",
        f"<style>{STYLE}</style>",
        f"<defs>{HEAD}</defs>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="12" fill="#f6f7fb"/>',
        '<rect class="live" x="495" y="92" width="560" height="344" rx="14"/>',
        '<text class="title" x="28" y="40">Phases of a session</text>',
        '<text class="title" x="510" y="424">Live: a leg speaks for the session</text>',
        '<text class="title" x="28" y="640">Roles of a leg</text>',
        '<text x="875" y="512">from every other phase</text>',
    ]
    for kind, found in moves().items():
        places = STATES[kind]
        for end in ENDS if kind == "phase" else ():
            if {start for start, to in found if to == end} != set(places) - set(ENDS):
                raise ValueError(f"{end} does not follow every phase")
        for (start, end), events in found.items():
            # What changes nothing is left out, and so is the end, which follows every phase.
            if start != end and end not in ENDS:
                beside, at = LINES[start, end]
                parts += line(places[start], places[end], beside, at, ", ".join(events))
        for name, place in places.items():
            parts += state(name, place)
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
