"""How the page about packing looks: one style sheet, in light and dark."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fbfaf8; --card: #ffffff; --ink: #1d1c1a; --soft: #5c5954; --line: #dcd8d1;
  --own: #2c6e63; --other: #9a948a; --raw: #c6c0b4; --warn: #9a3b12;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #161615; --card: #1f1f1d; --ink: #ecebe7; --soft: #a9a69f; --line: #3a3936;
    --own: #6fc3b2; --other: #85817a; --raw: #5e5b56; --warn: #f0a077;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink); line-height: 1.5;
  font-family: system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif;
}
main { max-width: 68rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.5rem 0 .6rem; }
h3 { font-size: 1rem; margin: 0 0 .4rem; overflow-wrap: anywhere; }
p { margin: .4rem 0; max-width: 46rem; overflow-wrap: anywhere; }
.soft { color: var(--soft); }
.warn { color: var(--warn); }
ul { margin: .3rem 0; padding-left: 1.2rem; }
li { margin: .15rem 0; overflow-wrap: anywhere; }
.facts {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: .75rem;
  margin: 1.25rem 0 0; padding: 0;
}
.facts > div { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .7rem .9rem; }
.facts dt { color: var(--soft); font-size: .85rem; }
.facts dd { margin: .1rem 0 0; font-size: 1.35rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.card {
  background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .8rem 1rem;
  margin: .75rem 0;
}
.scroll { overflow-x: auto; max-width: 100%; }
.scroll:focus-visible { outline: 2px solid var(--own); }
table { border-collapse: collapse; width: 100%; font-size: .93rem; }
caption { text-align: left; color: var(--soft); padding: 0 0 .4rem; }
th, td {
  text-align: left; padding: .32rem .9rem .32rem 0; border-bottom: 1px solid var(--line);
  vertical-align: baseline;
}
thead th { color: var(--soft); font-weight: 500; font-size: .85rem; }
tbody th { font-weight: 400; }
th:last-child, td:last-child { padding-right: 0; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.own th, tr.own td { font-weight: 600; }
td.bar { width: 46%; min-width: 7rem; }
.bar span { display: block; height: 1rem; min-width: 2px; border-radius: 0 .2rem .2rem 0; background: var(--other); }
tr.own .bar span { background: var(--own); }
tr.raw .bar span { background: var(--raw); }
.bar .cut { clip-path: polygon(0 0, 100% 0, calc(100% - .4rem) 33%, 100% 66%, calc(100% - .4rem) 100%, 0 100%); }
@media (max-width: 32rem) {
  table.bars, .bars tbody, .bars caption { display: block; }
  .bars thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .bars tr {
    display: grid; grid-template-columns: 1fr auto auto; column-gap: .9rem; padding: .3rem 0;
    border-bottom: 1px solid var(--line);
  }
  .bars th, .bars td { border: 0; padding: 0; }
  .bars td.bar { grid-row: 2; grid-column: 1 / -1; width: auto; }
}
.shown { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(17rem, 100%), 1fr)); gap: .75rem; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .7rem; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .5rem; align-items: start; }
.pair.wide { grid-template-columns: 1fr; }
.pair img { width: 100%; height: auto; display: block; border-radius: .2rem; }
.grains img { image-rendering: pixelated; }
figcaption { font-size: .88rem; margin-top: .5rem; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.scale { max-width: 24rem; margin: .5rem 0 1rem; font-size: .85rem; color: var(--soft); }
.scale img { width: 100%; height: .9rem; display: block; border: 1px solid var(--line); }
.scale div { display: flex; justify-content: space-between; font-variant-numeric: tabular-nums; }
details summary { cursor: pointer; color: var(--soft); padding: .3rem 0; }
"""
