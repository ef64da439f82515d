#pragma once

namespace slackline::app {

/// The style sheet of the report.
///
/// The palette is Okabe's and Ito's, made to be told apart whatever the colour vision: "Color
/// Universal Design", 2002, https://jfly.uni-koeln.de/color/. In this order the first ones have the
/// most contrast with a white page. Their black is the colour of text here, as it must be seen in
/// the dark too; their yellow is darker on white.
inline constexpr const char* kStyle = R"css(
:root {
  color-scheme: light dark;
  --page: #f6f7f8; --card: #ffffff; --text: #1b1f23; --muted: #59626b; --rule: #d5dadf;
  --idle: #c3c9d0; --warn: #a33c00;
  --s0: #0072b2; --s1: #d55e00; --s2: #009e73; --s3: #cc79a7;
  --s4: #1b1f23; --s5: #e69f00; --s6: #56b4e9; --s7: #b3a600;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #14171a; --card: #1d2125; --text: #e8eaed; --muted: #a3acb5; --rule: #3a4148;
    --idle: #59626b; --warn: #ff9b5e;
    --s0: #3d9fd9; --s1: #f07d24; --s2: #1fb98c; --s4: #e8eaed; --s7: #f0e442;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1rem; max-width: 76rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  overflow-wrap: anywhere;
}
h1 { font-size: 1.6rem; margin: 0.5rem 0; }
h2 { font-size: 1.25rem; margin: 2rem 0 0.75rem; }
h3 { font-size: 1rem; margin: 0 0 0.5rem; }
p { margin: 0.5rem 0; max-width: 65em; }
.card {
  background: var(--card); border: 1px solid var(--rule); border-radius: 6px;
  padding: 0.75rem 1rem; margin: 0 0 1rem;
}
.run { border-left-width: 6px; }
.key { display: inline-block; width: 1.6em; height: 1.6em; line-height: 1.6em; text-align: center;
  border-radius: 4px; font-weight: 700; margin-right: 0.4em; border: 2px solid currentColor; }
.muted, figcaption { color: var(--muted); font-size: 0.875rem; }
.missing { border-left: 4px solid var(--rule); padding-left: 0.75rem; color: var(--muted); }
.warning { color: var(--warn); }
.charts { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; align-items: start; }
.charts > * { margin: 0; min-width: 0; }
.charts > .wide, .charts > .missing { grid-column: 1 / -1; }
.beside { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; align-items: center; }
.beside > * { min-width: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.6rem; border-bottom: 1px solid var(--rule); text-align: left;
  vertical-align: top; overflow-wrap: normal; }
th { font-weight: 600; }
td.number, th.number { text-align: right; white-space: nowrap; }
.path { overflow-wrap: anywhere; min-width: 7em; }
th code, code[title] { overflow-wrap: normal; }
.reports { min-width: 9em; }
code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 0.875em;
  overflow-wrap: anywhere; }
pre { overflow-x: auto; }
ul { margin: 0.5rem 0; padding-left: 1.25rem; }
svg { display: block; width: 100%; height: auto; font-family: inherit; }
svg.swatch { display: inline-block; width: 2.2em; height: 0.9em; margin-right: 0.4em; }
svg text { font-size: 12px; fill: var(--text); }
svg .tick { fill: var(--muted); }
svg .letter { font-weight: 700; stroke: var(--card); stroke-width: 4px; paint-order: stroke; }
svg .on-bar { fill: #10151a; }
svg .on-bar.s4 { fill: var(--text); }
.grid { stroke: var(--rule); stroke-width: 1; }
.axis { stroke: var(--muted); stroke-width: 1; }
.mark { stroke: var(--muted); stroke-width: 1; stroke-dasharray: 2 3; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.band { stroke: none; opacity: 0.16; }
.bar { stroke: var(--card); stroke-width: 1.5; }
th svg + code { font-family: inherit; font-size: inherit; }
.dot { stroke: var(--card); stroke-width: 1; }
.line.s0 { stroke: var(--s0); }
.line.s1 { stroke: var(--s1); stroke-dasharray: 9 3; }
.line.s2 { stroke: var(--s2); stroke-dasharray: 3 3; }
.line.s3 { stroke: var(--s3); stroke-dasharray: 10 3 2 3; }
.line.s4 { stroke: var(--s4); stroke-dasharray: 16 4; }
.line.s5 { stroke: var(--s5); stroke-dasharray: 5 2; }
.line.s6 { stroke: var(--s6); stroke-dasharray: 10 3 2 3 2 3; }
.line.s7 { stroke: var(--s7); stroke-dasharray: 2 5; }
.band.s0, .bar.s0, .dot.s0 { fill: var(--s0); } .band.s1, .bar.s1, .dot.s1 { fill: var(--s1); }
.band.s2, .bar.s2, .dot.s2 { fill: var(--s2); } .band.s3, .bar.s3, .dot.s3 { fill: var(--s3); }
.band.s4, .dot.s4 { fill: var(--s4); } .bar.s4 { fill: var(--idle); }
.band.s5, .bar.s5, .dot.s5 { fill: var(--s5); } .band.s6, .bar.s6, .dot.s6 { fill: var(--s6); }
.band.s7, .bar.s7, .dot.s7 { fill: var(--s7); }
.key.s0 { color: var(--s0); } .key.s1 { color: var(--s1); } .key.s2 { color: var(--s2); }
.key.s3 { color: var(--s3); } .key.s4 { color: var(--s4); } .key.s5 { color: var(--s5); }
.key.s6 { color: var(--s6); } .key.s7 { color: var(--s7); }
.key b { color: var(--text); }
@media (max-width: 700px) {
  body { padding: 0.6rem; }
  .charts, .beside { grid-template-columns: 1fr; }
  table { font-size: 0.875rem; }
  .card { padding: 0.6rem; }
  th, td { padding: 0.3rem 0.4rem; }
  svg text { font-size: 16px; }
}
@media print {
  body { background: none; max-width: none; padding: 0; font-size: 10pt; }
  .card, tr { break-inside: avoid; }
  .scroll { overflow: visible; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
)css";

}  // namespace slackline::app
