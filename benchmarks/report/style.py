"""How reports look: colours for light and dark screens, and the style sheet of a page."""

from __future__ import annotations

__all__ = ["CHART_STYLE", "chart_colours", "page_style"]

# Eight hues that stay apart for colour-blind readers and have a contrast of 3 : 1 with the paper
# (after Okabe and Ito, darkened for white paper, lightened for black).
_LIGHT = {
    "paper": "#ffffff",
    "panel": "#f5f6f8",
    "ink": "#1a1d21",
    "soft": "#59616b",
    "rule": "#d9dde2",
    "accent": "#0b5cad",
    "warn": "#fff4d6",
    "warn-rule": "#d9a300",
    "hit": "31,95,168",
    "miss": "200,60,20",
    "c0": "#0b5cad",
    "c1": "#c2410c",
    "c2": "#0f7b5f",
    "c3": "#a03390",
    "c4": "#8a6500",
    "c5": "#2a8cc4",
    "c6": "#b3261e",
    "c7": "#4d4d4d",
}
_DARK = {
    "paper": "#14171b",
    "panel": "#1d2126",
    "ink": "#e8eaed",
    "soft": "#a3abb5",
    "rule": "#353b43",
    "accent": "#7ab8ff",
    "warn": "#33290b",
    "warn-rule": "#c79a1a",
    "hit": "102,170,255",
    "miss": "255,130,90",
    "c0": "#6db1ff",
    "c1": "#ff9457",
    "c2": "#4fcfa6",
    "c3": "#e48ad6",
    "c4": "#e0be4a",
    "c5": "#9ad8f7",
    "c6": "#ff8a80",
    "c7": "#bdbdbd",
}

CHART_STYLE = """
.chart{font:13px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
.chart text{fill:var(--ink)}
.chart .label{fill:var(--soft)}
.chart .title{font-size:16px;font-weight:600}
.chart .grid{stroke:var(--rule);stroke-width:1}
.chart .axis{stroke:var(--soft);stroke-width:1}
.chart polyline{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round}
.chart .published polyline{stroke-dasharray:6 4}
.chart .spread{stroke:var(--c);stroke-width:1.5;fill:none;opacity:.75}
.chart .mark{fill:var(--c);stroke:var(--paper);stroke-width:1}
.chart .published .mark{fill:var(--paper);stroke:var(--c);stroke-width:1.5}
.chart .paper{fill:var(--paper)}
.chart .frame{fill:none;stroke:var(--rule);stroke-width:1}
.chart .points{fill:none;stroke:var(--c);opacity:.8;stroke-width:1.5}
.chart .m0{stroke-width:5;stroke-linecap:round}
.chart .plain{--c:var(--soft)}
""" + "".join(f".s{i}{{--c:var(--c{i})}}" for i in range(8))

_PAGE = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0 auto;max-width:80rem;padding:1.25rem 1rem 3rem;background:var(--paper);
color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,
sans-serif;overflow-wrap:anywhere}
h1{font-size:1.7rem;line-height:1.2;margin:.2rem 0 .5rem;letter-spacing:-.01em}
h2{font-size:1.2rem;line-height:1.3;margin:2.5rem 0 .75rem}
h3{font-size:1rem;margin:1.5rem 0 .5rem}
p{margin:.5rem 0;max-width:44rem}
a{color:var(--accent)}
.eyebrow{color:var(--soft);font-size:.85rem;margin:0}
.headline{font-size:1.25rem;font-weight:600;line-height:1.35;margin:.75rem 0}
.caption,.sources,.key{color:var(--soft);font-size:.85rem;line-height:1.45}
.sources{margin:.6rem 0 0;padding-left:1.4rem}
nav{display:flex;flex-wrap:wrap;gap:.35rem .5rem;margin:1rem 0 0;font-size:.875rem}
nav a{border:1px solid var(--rule);border-radius:1rem;padding:.2rem .75rem;text-decoration:none}
nav:has(details){display:block}
nav details{margin:0}
nav details a{display:inline-block;margin:.3rem .5rem 0 0}
.notes,.bars,.facts,.rows,pre{max-width:62rem}
.notes{background:var(--warn);border-left:4px solid var(--warn-rule);border-radius:4px;
padding:.6rem .9rem;margin:1.25rem 0;font-size:.925rem}
.notes strong{display:block}
.notes ul{margin:.25rem 0 0;padding-left:1.1rem}
.scroll{overflow-x:auto;-webkit-overflow-scrolling:touch}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.925rem}
th,td{padding:.4rem .7rem;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}
th:first-child,td:first-child{text-align:left}
thead th{color:var(--soft);font-weight:600;vertical-align:bottom;font-size:.85rem;
white-space:normal;overflow-wrap:normal}
thead .group{text-align:center;border-bottom:2px solid var(--accent);color:var(--ink)}
thead .group.published{border-bottom:2px solid var(--rule);color:var(--soft)}
tbody th{font-weight:500}
.results .text{text-align:left}
.results .published{color:var(--soft);background:var(--panel)}
.results .first{padding-left:1.2rem}
.best{font-weight:700}
.best::after{content:"\\2009\\2605";font-size:.7em;vertical-align:.15em}
.results td.number:not(.best)::after{content:"\\2009\\2605";font-size:.7em;visibility:hidden}
.key .star{font-size:.8em}
.published-key{background:var(--panel);color:var(--soft);padding:0 .3rem;border-radius:3px}
sup{line-height:0;font-size:.7em}
details{margin:.75rem 0}
summary{cursor:pointer;color:var(--accent);font-size:.925rem;padding:.25rem 0}
figure{margin:0}
.panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(15rem,1fr));gap:.5rem 1rem;
margin:.5rem 0;max-width:56rem}
.panels h3{margin:.25rem 0;font-weight:500}
svg.chart{display:block;width:100%;height:auto}
svg.wide{max-width:48rem}
svg.narrow{display:none}
pre{background:var(--panel);border-radius:6px;padding:.75rem .9rem;margin:.5rem 0;
font-size:.85rem;line-height:1.45;white-space:pre-wrap;overflow-wrap:anywhere}
code,.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;
font-size:.9em}
dl.facts{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1.2rem;margin:.5rem 0;
font-size:.925rem}
dl.facts dt{color:var(--soft)}
dl.facts dd{margin:0}
.bars{list-style:none;color:var(--ink);margin:.75rem 0;padding:0;display:grid;column-gap:2rem;
font-size:.875rem;
grid-auto-flow:column;grid-auto-columns:1fr;grid-template-rows:repeat(var(--rows),auto)}
.bars li{order:var(--worst);display:grid;grid-template-columns:minmax(0,1fr) 6.5rem 6.2rem;
gap:.5rem;align-items:center;padding:.1rem 0;border-bottom:1px solid var(--rule)}
.bars .name{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.bars .track{height:.6rem;background:var(--panel);border-radius:2px;overflow:hidden}
.bars .fill{display:block;height:100%;background:var(--accent);width:calc(var(--share)*1%);
border-radius:2px;print-color-adjust:exact;-webkit-print-color-adjust:exact}
.bars .value{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.sort{font-size:.875rem;color:var(--soft)}
.sort input{accent-color:var(--accent);margin:0 .25rem 0 .75rem}
.by-name:checked~.bars li{order:var(--name)}
table.grid{font-size:.8rem;border-collapse:separate;border-spacing:1px}
table.grid th,table.grid td{border:0;padding:.25rem .35rem;text-align:center}
table.grid tbody th{text-align:left;position:sticky;left:0;background:var(--paper);z-index:1;
max-width:9rem;overflow:hidden;text-overflow:ellipsis}
table.grid thead th.column{writing-mode:vertical-rl;transform:rotate(180deg);text-align:left;
max-height:10rem;padding:.35rem .15rem;color:var(--ink);font-weight:500}
table.grid td{min-width:2rem}
table.grid td.zero{color:var(--soft)}
table.rows{width:100%;font-size:.85rem}
table.rows th,table.rows td{padding:.25rem .9rem .25rem 0;overflow-wrap:break-word}
table.rows .wrap,table.rows th:last-child{text-align:left;white-space:normal;width:60%}
table.rows tbody th{white-space:normal}
.hit{--rgb:var(--hit)}
.miss{--rgb:var(--miss)}
table.grid td.hit,table.grid td.miss{background:rgba(var(--rgb),var(--a))}
table.grid td,svg.matrix,.key .swatch{print-color-adjust:exact;-webkit-print-color-adjust:exact}
.key .swatch{display:inline-block;width:.9em;height:.9em;vertical-align:-.1em;border-radius:2px;
background:rgba(var(--rgb),.75);margin:0 .2em 0 .6em}
.matrix-frame{display:grid;grid-template-columns:auto minmax(0,1fr);gap:0 .4rem;max-width:52rem}
.matrix-frame .ticks{position:relative;width:9.5rem;font-size:.7rem;line-height:1}
.matrix-frame .ticks span{position:absolute;right:0;transform:translateY(-50%);max-width:100%;
overflow:hidden;text-overflow:ellipsis;white-space:nowrap;color:var(--soft);padding:1px 0}
.matrix-frame .columns{grid-column:2;display:flex;justify-content:space-between;gap:1rem;
font-size:.75rem;color:var(--soft);padding-bottom:.3rem}
svg.matrix{display:block;width:100%;height:auto;background:var(--panel);
outline:1px solid var(--rule)}
svg.matrix path{shape-rendering:crispEdges;fill:rgb(var(--rgb))}
svg.matrix rect{fill:transparent}
.pairs{display:grid;grid-template-columns:repeat(auto-fill,minmax(21rem,1fr));gap:1rem;
margin:1rem 0}
.pair{border:1px solid var(--rule);border-radius:8px;padding:.75rem;break-inside:avoid}
.pair h3{margin:0 0 .15rem;font-size:1rem}
.pair p{margin:0 0 .5rem;font-size:.85rem;color:var(--soft)}
.thumbs{display:grid;grid-template-columns:repeat(4,minmax(0,1fr));gap:.4rem;margin:.2rem 0 .6rem}
.thumbs img,.thumbs .gone{display:block;width:100%;aspect-ratio:1;border-radius:4px}
.thumbs img{object-fit:contain;background:var(--panel)}
.thumbs .gone{border:1px dashed var(--rule);font-size:.7rem;color:var(--soft);padding:.3rem;
overflow:hidden;line-height:1.2}
.pair .thumbs:last-child{margin-bottom:0}
footer{margin-top:3rem;color:var(--soft);font-size:.85rem;border-top:1px solid var(--rule);
padding-top:.75rem}
@media (max-width:40rem){
h1{font-size:1.4rem}
.headline{font-size:1.1rem}
svg.wide{display:none}
svg.narrow{display:block}
table.results,table.results tbody,table.results tr{display:block}
table.results thead{display:none}
table.results tr{display:grid;grid-template-columns:repeat(var(--across),minmax(0,1fr));
border-bottom:1px solid var(--rule);padding:.6rem 0;gap:.35rem .25rem;align-items:end}
table.results tbody th{grid-column:1/-1;border:0;padding:0;font-weight:600;white-space:normal}
table.results tbody th[data-label]::before{content:attr(data-label) ": ";font-weight:400;
color:var(--soft)}
table.results td{display:block;border:0;padding:.15rem .35rem;text-align:left;white-space:normal}
table.results td::before{content:attr(data-label);display:block;font-size:.75rem;
color:var(--soft);font-weight:400;line-height:1.2}
table.results td.number:not(.best)::after{content:none}
.results .first{grid-column-start:1;padding-left:.35rem}
.results.flat .first{grid-column-start:auto}
.bars{grid-auto-flow:row;grid-template-rows:none}
.bars li{grid-template-columns:minmax(0,1fr) 5rem 5.8rem}
dl.facts{grid-template-columns:1fr;gap:0}
dl.facts dd{margin:0 0 .6rem}
.matrix-frame{grid-template-columns:minmax(0,1fr)}
.matrix-frame .ticks{display:none}
.matrix-frame .columns{grid-column:1}
.matrix-frame .columns .end{display:none}
table.rows,table.rows tbody{display:block}
table.rows thead{display:none}
table.rows tr{display:grid;grid-template-columns:minmax(0,1fr) auto;padding:.3rem 0;
border-bottom:1px solid var(--rule)}
table.rows tbody th,table.rows td{border:0;padding:0}
table.rows .wrap{grid-column:1/-1;width:auto;color:var(--soft)}
.pairs{grid-template-columns:1fr}
}
@media print{
body{max-width:none;padding:0;font-size:11pt}
nav,.sort{display:none}
h2{break-after:avoid}
figure,table.results,.notes{break-inside:avoid}
}
"""


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in colours.items())


def chart_colours() -> str:
    """Return the colours as CSS variables, for light screens and paper, and for dark screens.

    Returns
    -------
    str
        CSS.
    """
    return (
        f":root{{color-scheme:light dark;{_variables(_LIGHT)}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{_variables(_DARK)}}}}}"
    )


def page_style() -> str:
    """Return the style sheet of a page.

    Returns
    -------
    str
        CSS, which asks for nothing from elsewhere.
    """
    return f"{chart_colours()}{CHART_STYLE}{_PAGE}"
