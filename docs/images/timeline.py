#!/usr/bin/env python3
"""Draws the same stretch of several timelines below each other, as an SVG for light and dark pages.

    timeline.py trace.json... --out FILE [--step N] [--before MS] [--length MS]

Each trace.json is one panel, named as its configuration. Panels are aligned where step N of the
trace, counted from 0, has got its batch (the end of the loop's input wait): that is 0 ms. They begin
`before` ms earlier. Everything that is drawn or written in the picture is read from the files.
"""

import argparse
import html
import json

WIDTH, LABELS, RIGHT = 960, 150, 24  # pixels: all of it, the names of tracks, the right margin
ROW, BAR, TITLE, AXIS = 22, 16, 34, 26  # heights in pixels
LETTER = 6.6  # pixels, at most, of a letter of 11 px

# Colours of spans, for light and dark pages. What is not named here is drawn as "other".
COLOURS = {
    "step": ("#3b6fb6", "#6d9fe0"),
    "upload": ("#d9822b", "#e79a4b"),
    "start of step": ("#b3261e", "#ff7b72"),
    "sleep": ("#a5863b", "#d4b25e"),
    "launch": ("#7a4fb5", "#b08be8"),
    "input wait": ("#b3261e", "#ff7b72"),
    "other": ("#6e7781", "#8b949e"),
}

STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600;font-size:13px}"
    ".page{fill:#ffffff}.line{stroke:#d0d7de}.inside{fill:#ffffff}.quiet{fill:#59636e}"
    ".gap{stroke:#59636e;fill:none}"
)
DARK = (
    "text{fill:#e6edf3}.page{fill:#0d1117}.line{stroke:#30363d}.inside{fill:#0d1117}"
    ".quiet{fill:#9198a1}.gap{stroke:#9198a1}"
)


def class_of(name):
    return (name if name in COLOURS else "other").replace(" ", "-")


def style():
    def rules(place):
        return "".join(f".{class_of(name)}{{fill:{both[place]}}}" for name, both in COLOURS.items())

    return f"{STYLE}{rules(0)}@media(prefers-color-scheme:dark){{{DARK}{rules(1)}}}"


class Trace:
    """Spans by track, in the order of the file. Times in ms."""

    def __init__(self, file):
        with open(file, encoding="utf-8") as stream:
            events = json.load(stream)["traceEvents"]
        self.file = file
        self.name = ""
        self.tracks = {}
        names = {}
        for event in events:
            if event["ph"] == "M" and event["name"] == "process_name":
                self.name = event["args"]["name"].removeprefix("slackline ")
            elif event["ph"] == "M" and event["name"] == "thread_name":
                names[event["tid"]] = event["args"]["name"]
                self.tracks[event["args"]["name"]] = []
            elif event["ph"] == "X":
                begin = event["ts"] / 1000
                span = (begin, begin + event["dur"] / 1000, event["name"])
                self.tracks[names[event["tid"]]].append(span)

    def take(self, step):
        """When step `step` had its batch."""
        waits = [end for _, end, name in self.tracks.get("loop", []) if name == "input wait"]
        if step >= len(waits):
            raise SystemExit(f"{self.file}: has {len(waits)} steps, counted from 0: none is {step}")
        return waits[step]


def bar(x0, x1, y, name):
    """A span; its name is written inside where there is room."""
    width = max(x1 - x0, 1.2)  # pixels: what is shorter is still to be seen
    title = f"<title>{html.escape(name)}</title>"
    out = [
        f'<rect x="{x0:.1f}" y="{y + 3}" width="{width:.1f}" height="{BAR}" '
        f'class="{class_of(name)}">{title}</rect>'
    ]
    if width > len(name) * LETTER + 4:
        out.append(
            f'<text x="{(x0 + x1) / 2:.1f}" y="{y + 15}" text-anchor="middle" class="inside">'
            f"{html.escape(name)}</text>"
        )
    return out


def drawn_together(spans, scale):
    """Runs of spans that are too short to be told apart, as one span each: an input worker's."""
    out = []
    for first, last, name in spans:
        is_short = (last - first) * scale < 6
        if out and is_short and out[-1][3] and (first - out[-1][1]) * scale < 1.5:
            same = name == out[-1][2]
            out[-1] = (out[-1][0], last, name if same else "samples", True)
        else:
            out.append((first, last, name, is_short))
    return [span[:3] for span in out]


def arrows(bars, y):
    """Points at the copies that start a step: some microseconds each, so that bars are too thin."""
    out, before = [], -WIDTH
    for i, (x, _, name) in enumerate(bars):
        if name != "start of step":
            continue
        if x - before > 8:
            out.append(f'<path d="M{x:.1f},{y + 5} l-4,-7 h8 z" class="{class_of(name)}"/>')
            others = [other[0] for other in bars[i:] if other[2] != name]
            if min(others, default=WIDTH - RIGHT) - x > len(name) * LETTER + 12:
                out.append(f'<text x="{x + 8:.1f}" y="{y + 15}">{name}</text>')
        before = x
    return out


def gaps(spans, begin, end):
    """Where a device computes nothing between two steps."""
    steps = sorted(span for span in spans if span[2] == "step")
    pairs = zip(steps, steps[1:])
    return [(x[1], y[0]) for x, y in pairs if x[1] >= begin and y[0] <= end and y[0] > x[1]]


def panel(trace, top, args):
    begin = trace.take(args.step) - args.before
    end = begin + args.length
    scale = (WIDTH - LABELS - RIGHT) / args.length

    def place(time):
        return LABELS + (min(max(time, begin), end) - begin) * scale

    out = [f'<text x="8" y="{top + 22}" class="title">{html.escape(trace.name)}</text>']
    y = top + TITLE
    for track, spans in trace.tracks.items():
        seen = [span for span in spans if span[1] > begin and span[0] < end]
        if not seen:
            continue
        out.append(f'<text x="8" y="{y + 15}" class="quiet">{html.escape(track)}</text>')
        out.append(
            f'<line x1="{LABELS}" y1="{y + ROW}" x2="{WIDTH - RIGHT}" y2="{y + ROW}" class="line"/>'
        )
        together = drawn_together(seen, scale) if track.startswith("input ") else seen
        for first, last, name in together:
            out += bar(place(first), place(last), y, name)
        out += arrows([(place(first), place(last), name) for first, last, name in seen], y)
        for first, last in gaps(spans, begin, end):
            x0, x1 = place(first), place(last)
            words = f"idle {last - first:.1f} ms"
            out.append(f'<path d="M{x0:.1f},{y + 11} H{x1:.1f}" class="gap"/>')
            if x1 - x0 > len(words) * LETTER + 4:
                out.append(
                    f'<text x="{(x0 + x1) / 2:.1f}" y="{y + 8}" text-anchor="middle">{words}</text>'
                )
        y += ROW
    return out, y


def axis(y, args):
    """Milliseconds since the step took its batch."""
    scale = (WIDTH - LABELS - RIGHT) / args.length
    ticks = (digit * 10**zeros for zeros in range(6) for digit in (1, 2, 5))
    tick = next(each for each in ticks if args.length / each <= 12)
    out = []
    for at in range(-int(args.before // tick) * tick, int(args.length - args.before) + 1, tick):
        x = LABELS + (at + args.before) * scale
        out.append(f'<line x1="{x:.1f}" y1="{TITLE}" x2="{x:.1f}" y2="{y + 4}" class="line"/>')
        out.append(f'<text x="{x:.1f}" y="{y + 16}" text-anchor="middle">{at} ms</text>')
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("traces", nargs="+", metavar="trace.json")
    parser.add_argument("--out", required=True, metavar="FILE")
    parser.add_argument("--step", type=int, default=1, help="of the trace, from 0")
    parser.add_argument("--before", type=float, default=5, metavar="MS")
    parser.add_argument("--length", type=float, default=40, metavar="MS")
    args = parser.parse_args()

    traces = [Trace(file) for file in args.traces]
    body, y = [], 0
    for trace in traces:
        drawn, y = panel(trace, y, args)
        body += drawn
    height = y + AXIS
    names = html.escape(" and ".join(trace.name for trace in traces))
    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>Timelines of {names}</title><style>{style()}</style>",
        f'<rect width="{WIDTH}" height="{height}" class="page"/>',
        *axis(y, args),
        *body,
        "</svg>",
    ]
    with open(args.out, "w", encoding="utf-8") as out:
        out.write("\n".join(svg) + "\n")


if __name__ == "__main__":
    main()
