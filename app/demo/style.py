"""The style sheet of report.html: inline, no resource from elsewhere; light and dark follow the reader's system."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #f6f7f9; --card: #ffffff; --ink: #16202c; --soft: #5a6776; --line: #dfe4ea; --track: #e9edf2;
  --accent: #0f766e; --accent-soft: #d5efeb; --kept: #9a5b00; --kept-soft: #fdf0d9; --bad: #b42318; --bad-soft: #fde7e4;
  --bar: #3b82a0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #10151b; --card: #19212a; --ink: #e6ebf1; --soft: #9aa8b7; --line: #2b3642; --track: #26303b;
    --accent: #4fd1c0; --accent-soft: #12393a; --kept: #f4b860; --kept-soft: #3a2c12;
    --bad: #ff9b8e; --bad-soft: #431d19;
    --bar: #5aa9c7;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 1240px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 19px; margin: 40px 0 12px; letter-spacing: -0.005em; }
h3 { font-size: 15px; margin: 0; overflow-wrap: anywhere; }
p { margin: 0 0 8px; }
a { color: var(--accent); }
.soft { color: var(--soft); }
.small { font-size: 13px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 20px; }
.verdict { border-left: 6px solid var(--accent); margin: 20px 0 16px; }
.verdict.kept { border-left-color: var(--kept); }
.verdict.bad { border-left-color: var(--bad); }
.badge {
  display: inline-block; padding: 2px 10px; border-radius: 999px; font-size: 13px; font-weight: 600;
  background: var(--accent-soft); color: var(--accent);
}
.kept .badge { background: var(--kept-soft); color: var(--kept); }
.bad .badge { background: var(--bad-soft); color: var(--bad); }
.verdict .note { margin: 12px 0 0; }
.verdict .sentence { font-size: 18px; line-height: 1.4; margin: 10px 0 0; max-width: 75ch; }
.figures { display: flex; flex-wrap: wrap; gap: 6px 24px; margin: 14px 0 0; }
.figures div { display: flex; gap: 6px; font-size: 13px; }
.figures dt { color: var(--soft); } .figures dd { margin: 0; font-variant-numeric: tabular-nums; font-weight: 600; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; }
.tile { padding: 14px 18px; }
.tile b {
  display: block; font-size: 24px; line-height: 1.2; font-variant-numeric: tabular-nums;
  letter-spacing: -0.01em;
}
.columns {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 16px;
  align-items: start;
}
.columns h2 { margin-top: 24px; }
.rows { display: grid; grid-template-columns: max-content 1fr max-content; gap: 8px 14px; align-items: center; }
.rows .number { text-align: right; font-variant-numeric: tabular-nums; font-size: 13px; white-space: nowrap; }
.track { position: relative; height: 12px; border-radius: 6px; background: var(--track); overflow: hidden; }
.track i { position: absolute; top: 0; bottom: 0; border-radius: 6px; background: var(--bar); min-width: 2px; }
.pair .track i { box-shadow: inset 0 0 0 1px color-mix(in srgb, var(--ink) 30%, transparent); }
.dot {
  display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 7px;
  vertical-align: -1px; border: 1px solid color-mix(in srgb, var(--ink) 25%, transparent);
}
.pair { display: grid; gap: 3px; } .pair .track { height: 8px; }
.pair .track:first-child i { opacity: .45; }
.group { margin: 0 0 12px; }
.group > summary, details.plain > summary {
  cursor: pointer; list-style: none; display: flex; flex-wrap: wrap; align-items: center; gap: 10px 14px;
  padding: 12px 16px;
}
.group > summary::-webkit-details-marker, details.plain > summary::-webkit-details-marker { display: none; }
.group > summary::before, details.plain > summary::before {
  content: "▸"; color: var(--soft); transition: transform .15s;
}
.group[open] > summary::before, details.plain[open] > summary::before { transform: rotate(90deg); }
.group { padding: 0; } .group .inside { padding: 0 16px 16px; display: grid; gap: 14px; }
.strip { display: flex; flex-wrap: wrap; gap: 4px; margin-left: auto; }
.strip img { width: 44px; height: 44px; object-fit: cover; border-radius: 6px; display: block; }
.strip span { align-self: center; padding-left: 4px; }
.photo {
  border-top: 1px solid var(--line); padding-top: 14px; content-visibility: auto;
  contain-intrinsic-size: auto 420px;
}
.photo header { display: flex; flex-wrap: wrap; gap: 4px 12px; align-items: baseline; margin-bottom: 8px; }
.triple { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 10px; }
figure { margin: 0; }
figure img { width: 100%; height: auto; display: block; border-radius: 8px; background: var(--track); }
figcaption {
  font-size: 13px; color: var(--soft); padding: 5px 2px 0; display: flex; justify-content: space-between;
  gap: 8px;
}
.lead { font-size: 16px; max-width: 75ch; }
.reason { max-width: 85ch; margin: 0 0 4px; }
.changes h3 { margin: 24px 0 8px; } .changes h4 { font-size: 15px; margin: 0; overflow-wrap: anywhere; }
.changes .photo { padding: 14px 0; } .changes details.plain { border-top: 1px solid var(--line); }
.figures.plain { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)); gap: 4px 32px; margin: 8px 0 0; }
.figures.plain div { justify-content: space-between; border-bottom: 1px solid var(--line); padding: 3px 0; }
.figures.plain dd { white-space: nowrap; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
caption { text-align: left; padding-bottom: 6px; }
th, td { text-align: left; vertical-align: top; padding: 8px 16px 8px 0; border-top: 1px solid var(--line); font-weight: inherit; }
th[scope=row] { font-weight: 600; white-space: nowrap; } thead th { color: var(--soft); font-size: 13px; border-top: 0; }
td.number, th.number { white-space: nowrap; font-variant-numeric: tabular-nums; }
td .pair { min-width: 110px; padding-top: 2px; } th.wide { width: 22%; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.missing {
  display: grid; place-items: center; aspect-ratio: 4 / 3; border-radius: 8px; background: var(--track);
  color: var(--soft); font-size: 13px; padding: 12px; text-align: center;
}
.legend { margin-top: 12px; }
.legend.rows { grid-template-columns: max-content minmax(80px, 1fr) max-content; gap: 6px 14px; font-size: 13px; }
ul.files { margin: 0; padding: 0 16px 14px 34px; } ul.files li { overflow-wrap: anywhere; }
code { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
footer { margin-top: 40px; color: var(--soft); font-size: 13px; }
@media (max-width: 640px) {
  main { padding: 20px 14px 48px; }
  .triple { grid-template-columns: 1fr; }
  .wide { display: none; } th, td { padding-right: 10px; } td.number { white-space: normal; min-width: 64px; }
  .strip { margin-left: 0; }
}
@media print {
  body { background: #fff; }
  .photo { break-inside: avoid; content-visibility: visible; }
}
"""
