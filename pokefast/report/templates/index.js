// The table of runs is sorted by its headings; the runs that are ticked, or all where there is no
// table, are drawn side by side from the JSON in the page.
var data = JSON.parse(document.getElementById("data").textContent);
var place = document.getElementById("together");
var boxes = Array.from(document.querySelectorAll("tbody.rows input"));

document.querySelectorAll("thead button").forEach(function (button) {
  button.addEventListener("click", function () {
    var th = button.parentElement, body = document.querySelector("tbody.rows");
    var down = th.getAttribute("aria-sort") !== "descending";
    document.querySelectorAll("th[aria-sort]").forEach(function (other) {
      other.removeAttribute("aria-sort");
    });
    th.setAttribute("aria-sort", down ? "descending" : "ascending");
    var value = function (row) { return row.cells[th.cellIndex].dataset.v; };
    Array.from(body.rows).sort(function (a, b) {
      var x = value(a), y = value(b), order = Number(x) - Number(y);
      if (isNaN(order)) order = x < y ? -1 : x > y ? 1 : 0;
      return down ? -order : order;
    }).forEach(function (row) { body.appendChild(row); });
  });
});

function make(parent, tag, text, attributes) {
  var svg = parent.namespaceURI.endsWith("svg") || tag === "svg";
  var element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  if (text !== null && text !== undefined) element.textContent = text;
  Object.entries(attributes || {}).forEach(function (pair) {
    element.setAttribute(pair[0], pair[1]);
  });
  return parent.appendChild(element);
}

function section(title, note) {
  var part = make(place, "section");
  make(part, "h2", title);
  if (note) make(part, "p", note, { "class": "note" });
  return part;
}

function table(part, heads, rows, kind) {
  var scroll = make(part, "div", null, { "class": "scroll" });
  var box = make(scroll, "table", null, { "class": "wide " + kind });
  var head = make(make(box, "thead"), "tr"), body = make(box, "tbody");
  heads.forEach(function (text) { make(head, "th", text, { scope: "col" }); });
  rows.forEach(function (cells) {
    var row = make(body, "tr");
    cells.forEach(function (cell) {
      var td = make(row, "td");
      if (typeof cell === "function") cell(td); else td.textContent = cell;
    });
  });
}

function colour(i) { return "color: var(--c" + (i + 1) + ")"; }

function nameOf(run, i) {
  return function (td) {
    make(td, "span", "\u25cf ", { style: colour(i) });
    if (run.page) make(td, "a", run.name, { href: run.page }); else td.append(run.name);
  };
}

function pairOf(first, other) {  // as seen from the first; undefined where there is none
  var is = function (pair, a, b) { return pair.of[0] === a.name && pair.of[1] === b.name; };
  var pair = data.pairs.find(function (pair) { return is(pair, first, other); });
  var back = data.pairs.find(function (pair) { return is(pair, other, first); });
  if (pair || !back) return pair;
  var ends = back.difference === null ? [null, null, null] : [-back.difference, -back.high, -back.low];
  return { images: back.images, difference: ends[0], low: ends[1], high: ends[2],
    better: back.worse, worse: back.better };
}

function signed(value) { return (value < 0 ? "\u2212" : "+") + Math.abs(value).toFixed(3); }

function scores(runs) {
  var first = runs[0], asked = false, chance = false;
  var rows = runs.map(function (run, i) {
    var own = run.score === null ? "not known" : run.score.toFixed(4);
    if (run.ends[0] !== null) own += " (" + run.ends[0].toFixed(3) + " to " + run.ends[1].toFixed(3) + ")";
    if (run.metric !== first.metric) own += " " + run.metric;
    if (!i) return [nameOf(run, 0), "", own, "", "", ""];
    var pair = pairOf(first, run);
    if (!pair) { asked = true; return [nameOf(run, i), "?", own, "", "", ""]; }
    var text = "";
    if (pair.difference !== null) {
      text = signed(pair.difference) + " (" + signed(pair.low) + " to " + signed(pair.high) + ")";
      if (pair.low <= 0 && pair.high >= 0) { text += " *"; chance = true; }
    }
    return [nameOf(run, i), text, own, pair.images, pair.better.n, pair.worse.n];
  });
  var note = "Difference: to the first run, on images that both predicted without having seen them, with the interval that holds it in 95 of 100 such sets of images.";
  if (chance) note += " * may be chance.";
  if (asked) note += boxes.length ? " ?: not computed yet, or cannot be; the command below says it."
    : " ?: there are no such images.";
  if (first.lower) note += " Less is better.";
  table(section("Scores", note), ["run", "difference", first.metric + ", own test part", "images",
    "only it is right", "only the first is"], rows, "lines");
}

function options(runs) {
  var names = {};
  runs.forEach(function (run) { Object.assign(names, run.options); });
  var rows = Object.keys(names).filter(function (name) {
    return runs.some(function (run) { return run.options[name] !== runs[0].options[name]; });
  }).map(function (name) {
    return [name].concat(runs.map(function (run) { return name in run.options ? run.options[name] : "\u2013"; }));
  });
  var part = section("Options that differ");
  if (!rows.length) make(part, "p", "None.");
  else {
    table(part, [""].concat(runs.map(function () { return ""; })), rows, "");
    part.querySelectorAll("th:not(:first-child)").forEach(function (th, i) { nameOf(runs[i], i)(th); });
  }
}

function chart(parent, title, runs) {
  var lines = runs.map(function (run) { return run.curves[title] || []; }), all = lines.flat();
  if (!all.length) return;
  var xs = all.map(function (p) { return p[0]; }), ys = all.map(function (p) { return p[1]; });
  var left = Math.min.apply(null, xs), right = Math.max.apply(null, xs);
  var low = Math.min.apply(null, ys), high = Math.max.apply(null, ys), gap = (high - low) / 3;
  var digits = gap >= 1 ? 1 : gap >= 0.03 ? 2 : 3;
  var x = function (v) { return 44 + 250 * (right > left ? (v - left) / (right - left) : 0.5); };
  var y = function (v) { return 116 - 104 * (high > low ? (v - low) / (high - low) : 0.5); };
  var box = make(parent, "div");
  make(box, "h3", title);
  var svg = make(box, "svg", null, { viewBox: "0 0 300 140", role: "img", "aria-label": title });
  (gap ? [0, 1, 2, 3] : [0]).forEach(function (i) {
    var at = low + i * gap;
    make(svg, "line", null, { x1: 44, x2: 294, y1: y(at), y2: y(at), stroke: "var(--line)" });
    make(svg, "text", at.toFixed(digits), { x: 38, y: y(at) + 4, "text-anchor": "end", "font-size": 11 });
  });
  make(svg, "text", left, { x: x(left), y: 134, "text-anchor": "middle", "font-size": 11 });
  if (right > left) make(svg, "text", right, { x: 294, y: 134, "text-anchor": "end", "font-size": 11 });
  make(svg, "text", "epoch", { x: 169, y: 134, "text-anchor": "middle", "font-size": 11 });
  lines.forEach(function (line, i) {
    var points = line.map(function (p) { return x(p[0]) + "," + y(p[1]); }).join(" ");
    var group = make(svg, "g", null, { style: colour(i) });
    make(group, "title", runs[i].name);
    make(group, "polyline", null, { points: points, fill: "none", stroke: "currentColor", "stroke-width": 1.8 });
    if (line.length <= 20) line.forEach(function (p) {
      make(group, "circle", null, { cx: x(p[0]), cy: y(p[1]), r: 2.4, fill: "currentColor" });
    });
  });
}

function curves(runs) {
  var titles = {};
  runs.forEach(function (run) { Object.assign(titles, run.curves); });
  if (!Object.keys(titles).length) return;
  var part = section("Training"), legend = make(part, "p", null, { "class": "note" });
  runs.forEach(function (run, i) {
    var entry = make(legend, "span", null, { "class": "entry" });
    make(entry, "span", "\u25cf ", { style: colour(i) });
    entry.append(run.name);
  });
  var grid = make(part, "div", null, { "class": "charts" });
  Object.keys(titles).forEach(function (title) { chart(grid, title, runs); });
}

function images(found, right, wrong) {
  if (!found.shown.length) return;
  var some = found.n > found.shown.length ? "; the " + found.shown.length + " whose probabilities differ most." : ".";
  var note = "And " + wrong.name + " is wrong. True class, and below it what the wrong run says" + some;
  var grid = make(section("Only " + right.name + " is right: " + found.n, note), "div", null, { "class": "grid" });
  found.shown.forEach(function (i) {
    var figure = make(grid, "figure"), box = make(figure, "div"), caption = make(figure, "figcaption");
    if (i.image) make(box, "img", null, { src: i.image, alt: i.id });
    make(caption, "b", i.truth);
    make(caption, "br");
    caption.append(i.wrong);
    if (i.image) { caption.title = i.id; return; }
    make(caption, "br");
    caption.append(i.id);
  });
}

function show(runs) {
  place.replaceChildren();
  if (runs.length < 2) return;
  scores(runs);
  curves(runs);
  options(runs);
  runs.slice(1).forEach(function (run) {
    var pair = pairOf(runs[0], run);
    if (!pair) return;
    images(pair.better, run, runs[0]);
    images(pair.worse, runs[0], run);
  });
  if (!boxes.length) return;
  var folders = runs.map(function (run) { return run.folder; }).join(" ");
  make(section("The same as a page, computed anew"), "pre", data.command.join(folders));
}

function ticked() {
  var names = boxes.filter(function (box) { return box.checked; }).map(function (box) { return box.value; });
  boxes.forEach(function (box) {
    var known = data.runs.some(function (run) { return run.name === box.value; });
    box.disabled = !known || (!box.checked && names.length >= data.most);
  });
  show(data.runs.filter(function (run) { return names.includes(run.name); }));
  var bar = document.querySelector(".bar");
  bar.hidden = !names.length;
  bar.textContent = names.length < 2 ? "One run is ticked: tick another" : names.length + " runs side by side \u2193";
}

boxes.forEach(function (box) { box.addEventListener("change", ticked); });
if (boxes.length) ticked(); else show(data.runs);
