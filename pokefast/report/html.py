"""Parts of an HTML page that needs no network: its frame, charts as inline SVG, tables.

Every function takes plain values and gives HTML; text from data is escaped here.
"""

import base64
import hashlib
from html import escape

import numpy as np
from matplotlib.ticker import MaxNLocator

__all__ = [
    "frame",
    "line_chart",
    "bars",
    "confusion_table",
    "facts",
    "table",
    "tiles",
    "figure_grid",
]

STYLE = """
:root{--bg:#f6f7f9;--card:#fff;--text:#1b1f27;--soft:#5d6675;--line:#e2e5ea;--accent:#2f62d4;
--heat:47 98 212;--second:#cf6a2c;--good:#1b7f4d;--bad:#b3372f;color-scheme:light}
@media (prefers-color-scheme:dark){:root{--bg:#12151b;--card:#1b1f27;--text:#e9ecf1;--soft:#98a2b3;
--line:#2c323d;--accent:#7fa6ff;--heat:84 130 240;--second:#f0965c;--good:#5ecb94;--bad:#f2857c;
color-scheme:dark}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--text);font:15px/1.5 system-ui,-apple-system,
"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;-webkit-text-size-adjust:100%}
main{max-width:1080px;margin:0 auto;padding:32px 20px 56px}
header{margin-bottom:22px}
.kicker{color:var(--accent);font-weight:600;font-size:13px;letter-spacing:.04em;margin:0}
h1{font-size:30px;line-height:1.2;letter-spacing:-.02em;margin:4px 0 8px}
h2{font-size:17px;letter-spacing:-.01em;margin:0 0 4px}
p{margin:0 0 10px;max-width:72ch}
.soft,figcaption,.note{color:var(--soft)}
.note{font-size:13px;max-width:none}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:20px 22px;
margin-top:16px;min-width:0}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:0 16px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(148px,1fr));gap:12px}
.tile{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:14px 16px}
.tile b{display:block;font-size:25px;line-height:1.2;letter-spacing:-.02em;font-weight:650;
font-variant-numeric:tabular-nums}
.tile.first{background:var(--accent);border-color:var(--accent);color:#fff}
@media (prefers-color-scheme:dark){.tile.first{background:#24418a;border-color:#24418a}}
.tile span{font-size:13px;color:var(--soft)}.tile.first span{color:#ffffffd9}
.scroll{overflow-x:auto;margin:0 -22px;padding:0 22px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:14px}
th,td{text-align:left;padding:6px 14px 6px 0;border-bottom:1px solid var(--line);
vertical-align:top}
tr:last-child>td,tr:last-child>th{border-bottom:0}
thead th,.plain th{color:var(--soft);font-weight:500;font-size:13px}
.wide{width:100%}.num{text-align:right;white-space:nowrap}
svg{display:block;width:100%;height:auto}
svg text{font:12px system-ui,sans-serif;fill:var(--soft)}
.legend{display:flex;gap:16px;flex-wrap:wrap;font-size:13px;color:var(--soft);margin:2px 0 6px}
.legend i{display:inline-block;width:14px;height:3px;border-radius:2px;margin-right:6px;
vertical-align:middle}
.bars{display:grid;grid-template-columns:max-content 1fr max-content;gap:9px 12px;
align-items:center;margin-top:12px;font-variant-numeric:tabular-nums}
.bar{height:10px;border-radius:5px;background:rgb(var(--heat)/.14)}
.bar i{display:block;height:100%;border-radius:5px;background:var(--accent)}
.matrix{font-size:13px}.matrix th,.matrix td{border:0;padding:0}
.matrix tbody th{padding-right:10px;text-align:right;color:var(--soft);font-weight:500}
.matrix thead th{height:76px;vertical-align:bottom;position:relative}
.matrix thead span{position:absolute;left:50%;bottom:6px;transform-origin:0 100%;
transform:rotate(-45deg);white-space:nowrap}
.matrix td{width:38px;min-width:32px;height:34px;text-align:center;vertical-align:middle;
border:1px solid var(--card);border-radius:6px;background:rgb(var(--heat)/var(--v,.05))}
.matrix td.full{color:#fff}.matrix td.right{font-weight:650}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(104px,1fr));gap:16px 12px;
margin-top:12px}
.grid.pairs{grid-template-columns:repeat(auto-fill,minmax(196px,1fr))}
figure{margin:0;min-width:0}
figure div{display:flex;gap:4px}
figure img{width:100%;min-width:0;flex:1 1 0;aspect-ratio:1;object-fit:contain;border-radius:6px;
image-rendering:pixelated;background:rgb(128 128 128/.16)}
figcaption{font-size:12px;line-height:1.35;margin-top:5px;overflow-wrap:anywhere}
figcaption b{color:var(--text);font-weight:600}.bad{color:var(--bad)}.good{color:var(--good)}
h3{font-size:14px;font-weight:600;margin:14px 0 0}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,360px),1fr));gap:0 32px}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,230px),1fr));
gap:0 28px;margin:10px 0 0;font-size:14px}
.facts div{display:flex;justify-content:space-between;gap:14px;padding:5px 0;
border-bottom:1px solid var(--line)}
.facts dt{color:var(--soft)}.facts dd{margin:0;text-align:right;overflow-wrap:anywhere}
.facts .given{color:var(--accent);font-weight:600}
pre{margin:10px 0 0;padding:12px 14px;border-radius:8px;background:var(--bg);font-size:13px;
border:1px solid var(--line);white-space:pre-wrap;overflow-wrap:anywhere}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
footer{margin-top:26px;color:var(--soft);font-size:13px}
.rows td{white-space:nowrap}
th button{all:unset;cursor:pointer;color:inherit;white-space:nowrap}
th button:focus-visible{outline:2px solid var(--accent);border-radius:3px}
th[aria-sort] button::after{content:" \\2191";color:var(--accent)}
th[aria-sort=descending] button::after{content:" \\2193"}
tbody.rows tr:hover{background:rgb(var(--heat)/.06)}
@media (max-width:560px){main{padding:20px 12px 40px}section{padding:16px}h1{font-size:24px}
.scroll{margin:0 -16px;padding:0 16px}.tiles{grid-template-columns:1fr 1fr}.tile b{font-size:21px}
.matrix td{width:30px;min-width:27px;height:30px}.matrix{font-size:12px}svg text{font-size:16px}
.grid{grid-template-columns:repeat(auto-fill,minmax(88px,1fr))}
.grid.pairs{grid-template-columns:repeat(auto-fill,minmax(140px,1fr))}}
@media print{body{background:#fff}section,.tile{break-inside:avoid}}
"""

PALETTE = ("var(--soft)", "var(--accent)", "var(--second)")
WIDTH, HEIGHT = 460, 220  # of a chart, in its own units
LEFT, RIGHT, TOP, BOTTOM = 38, 12, 10, 30  # margins for the axes' labels


def frame(title, body, script=""):
    """A whole page. Its policy forbids everything from elsewhere, and any script but `script`."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    scripts = f"script-src 'sha256-{digest}'; " if script else ""
    policy = f"default-src 'none'; {scripts}img-src data:; style-src 'unsafe-inline'"
    tail = f"<script>{script}</script>" if script else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n{tail}</body>\n</html>\n"
    )


def line_chart(series, x_label, low=None, high=None):
    """Lines over whole numbers from 1 on; `series` are (name, [segments]), a segment a list of
    (x, y), in which y may be NaN.
    """
    lines = [(n, [[p for p in s if np.isfinite(p[1])] for s in parts]) for n, parts in series]
    points = [p for _, parts in lines for part in parts for p in part]
    if not points:
        return '<p class="note">no epochs</p>'
    xs, ys = zip(*points, strict=True)
    low = min(ys) if low is None else low
    high = max(ys) if high is None else high
    y_ticks = MaxNLocator(4).tick_values(low, high if high > low else low + 1)
    low, high = y_ticks[0] if low < y_ticks[0] else low, max(high, low + 1e-9)
    y_ticks = [t for t in y_ticks if low - 1e-9 <= t <= high + 1e-9]
    last = max(max(xs), 2)
    x_ticks = [t for t in MaxNLocator(6, integer=True).tick_values(1, last) if 1 <= t <= last]

    def at(x, y):
        across = LEFT + (x - 1) / (last - 1) * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    out = []
    for tick in y_ticks:
        y = at(1, tick)[1]
        out.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="var(--line)"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in x_ticks:
        x = at(tick, low)[0]
        out.append(f'<text x="{x:.1f}" y="{HEIGHT - 12}" text-anchor="middle">{tick:g}</text>')
    for (name, parts), color in zip(lines, PALETTE, strict=False):
        for part in filter(None, parts):
            path = " ".join("{:.1f},{:.1f}".format(*at(x, y)) for x, y in part)
            out.append(
                f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2" '
                'stroke-linejoin="round" stroke-linecap="round"/>'
            )
            for x, y in part if len(part) <= 20 else part[-1:]:
                cx, cy = at(x, y)
                label = f"{escape(name)}, {escape(x_label)} {x:g}: {y:.4g}"
                out.append(
                    f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="3" fill="{color}">'
                    f"<title>{label}</title></circle>"
                )
    legend = "".join(
        f'<span><i style="background:{color}"></i>{escape(name)}</span>'
        for (name, _), color in zip(lines, PALETTE, strict=False)
    )
    names = escape(", ".join(name for name, _ in lines))
    return (
        f'<div class="legend">{legend}</div><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{names} by {escape(x_label)}">{"".join(out)}</svg>'
    )


def bars(rows):
    """Rows of (name, share in 0..1, text beside it) as horizontal bars."""
    cells = "".join(
        f'<div>{escape(str(name))}</div><div class="bar"><i style="width:{100 * share:.1f}%"></i>'
        f"</div><div>{escape(str(text))}</div>"
        for name, share, text in rows
    )
    return f'<div class="bars">{cells}</div>'


def confusion_table(counts, labels):
    """Counts [truth, prediction], coloured by their share of the row."""
    share = np.asarray(counts) / np.asarray(counts).sum(1, keepdims=True).clip(1)
    head = "".join(f"<th><span>{escape(label)}</span></th>" for label in labels)
    rows = []
    for i, label in enumerate(labels):
        cells = "".join(
            f'<td class="{"right " * (i == j)}{"full" * bool(v > 0.6)}" '
            f'style="--v:{0.04 + 0.96 * v:.2f}" '
            f'title="{escape(label)} taken for {escape(other)}: {n}">{n or ""}</td>'
            for j, (other, n, v) in enumerate(zip(labels, counts[i], share[i], strict=True))
        )
        rows.append(f"<tr><th>{escape(label)}</th>{cells}</tr>")
    return (
        f'<div class="scroll"><table class="matrix"><thead><tr><td style="background:none"></td>'
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def facts(rows, marked=()):
    """Rows of (name, value) in as many columns as fit; names among `marked` stand out."""
    cells = "".join(
        f"<div><dt>{escape(str(name))}</dt><dd{' class=given' if name in marked else ''}>"
        f"{escape(str(value))}</dd></div>"
        for name, value in rows
    )
    return f'<dl class="facts">{cells}</dl>'


def table(rows, head=()):
    """Rows of text below `head`, the first cell of each a heading."""
    body = "".join(
        f'<tr><th scope="row">{escape(str(row[0]))}</th>'
        + "".join(f"<td>{escape(str(cell))}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    top = "".join(f'<th scope="col">{escape(str(cell))}</th>' for cell in head)
    return (
        f'<div class="scroll"><table class="plain wide"><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def tiles(rows):
    """Rows of (value, what it is); the first one stands out."""
    cells = "".join(
        f'<div class="tile{" first" if i == 0 else ""}"><b>{escape(str(value))}</b>'
        f"<span>{escape(str(text))}</span></div>"
        for i, (value, text) in enumerate(rows)
    )
    return f'<div class="tiles">{cells}</div>'


def figure_grid(figures):
    """Figures of (pictures as data URIs, caption in bold, caption, class of the bold one)."""
    cells, most = [], 1
    for uris, strong, soft, kind in figures:
        most = max(most, len(uris))
        images = "".join(f'<img src="{escape(u)}" alt="{escape(strong)}">' for u in uris)
        cells.append(
            f'<figure><div>{images}</div><figcaption><b class="{kind}">{escape(strong)}</b>'
            f"{'<br>' if soft else ''}{escape(soft)}</figcaption></figure>"
        )
    return f'<div class="grid{" pairs" if most > 1 else ""}">{"".join(cells)}</div>'
