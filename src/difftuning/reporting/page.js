// What the page can do besides standing there: point at curves and zoom into them, a slider over pictures, loading itself again.
"use strict";

const SVG = "http://www.w3.org/2000/svg";

function make(parent, name, attributes = {}, text = "") {
  const node = parent.namespaceURI === SVG ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = text;
  parent.append(node);
  return node;
}

function short(value) {
  return String(Number(value.toPrecision(4)));
}

// About five round numbers within two limits.
function ticks([from, to]) {
  const raw = Math.abs(to - from) / 5, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((one) => one * power >= raw) * power, found = [];
  for (let n = Math.ceil(Math.min(from, to) / step); n * step <= Math.max(from, to); n++) found.push(n * step);
  return found;
}

class Chart {
  constructor(frame) {
    this.frame = frame;
    this.svg = frame.querySelector("svg");
    this.data = JSON.parse(this.svg.querySelector("metadata").textContent);
    this.points = this.data.series.flatMap((series) => series.points.map(([x, y]) => ({ x, y, series })));
    if (!this.points.length) return;
    this.view = make(this.svg, "g", { class: "view" });
    this.ring = make(this.svg, "circle", { class: "near", r: 6, visibility: "hidden" });
    this.tip = make(frame, "div", { class: "tip", role: "status" });
    this.chosen = -1;
    this.reset();
    this.tools();
    this.pointer();
  }

  // Between the numbers and the drawing.
  place({ x, y }) {
    const [left, top, right, bottom] = this.data.box, [x0, x1] = this.xlim, [y0, y1] = this.ylim;
    return [left + ((x - x0) / (x1 - x0)) * (right - left), bottom - ((y - y0) / (y1 - y0)) * (bottom - top)];
  }

  number(px, py) {
    const [left, top, right, bottom] = this.data.box, [x0, x1] = this.xlim, [y0, y1] = this.ylim;
    return [x0 + ((px - left) / (right - left)) * (x1 - x0), y0 + ((bottom - py) / (bottom - top)) * (y1 - y0)];
  }

  inside(px, py) {
    const [left, top, right, bottom] = this.data.box;
    return px >= left - 1 && px <= right + 1 && py >= top - 1 && py <= bottom + 1;
  }

  at(event) {
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
    return [place.x, place.y];
  }

  pointer() {
    let start = null, box = null;
    this.svg.classList.add("live");
    const end = () => {
      box?.remove();
      start = box = null;
    };
    this.svg.addEventListener("pointerdown", (event) => {
      this.near(event);
      if (event.pointerType === "touch" || event.button || !this.inside(...this.at(event))) return;
      event.preventDefault();
      this.svg.setPointerCapture(event.pointerId);
      start = this.at(event);
      box = make(this.svg, "rect", { class: "pick" });
    });
    this.svg.addEventListener("pointermove", (event) => {
      if (!start) return this.near(event);
      const [x, y] = this.at(event);
      box.setAttribute("x", Math.min(x, start[0]));
      box.setAttribute("y", Math.min(y, start[1]));
      box.setAttribute("width", Math.abs(x - start[0]));
      box.setAttribute("height", Math.abs(y - start[1]));
    });
    this.svg.addEventListener("pointerup", (event) => {
      if (!start) return;
      const [a, b] = [this.number(...start), this.number(...this.at(event))], [x, y] = this.at(event);
      const large = Math.abs(x - start[0]) > 6 && Math.abs(y - start[1]) > 6;
      end();
      if (large) this.zoom(order(this.xlim, a[0], b[0]), order(this.ylim, a[1], b[1]));
    });
    this.svg.addEventListener("pointercancel", end);
    this.svg.addEventListener("pointerleave", () => !start && this.choose(-1));
    this.svg.addEventListener("dblclick", () => this.reset());
  }

  near(event) {
    const [px, py] = this.at(event);
    let found = -1, least = 40 ** 2;
    this.points.forEach((point, index) => {
      const [x, y] = this.place(point), far = (x - px) ** 2 + (y - py) ** 2;
      if (far < least && this.inside(x, y)) [found, least] = [index, far];
    });
    this.choose(found);
  }

  choose(index) {
    this.chosen = index;
    this.ring.setAttribute("visibility", index < 0 ? "hidden" : "visible");
    if (index < 0) return void (this.tip.textContent = "");
    const point = this.points[index], [px, py] = this.place(point), { rows } = this.data;
    this.ring.setAttribute("cx", px);
    this.ring.setAttribute("cy", py);
    const [, , wide, high] = this.svg.getAttribute("viewBox").split(" ").map(Number);
    const told = rows.length
      ? [rows[point.y], `${flat(this.data.x)}: ${short(point.x)}`]
      : [`${flat(this.data.x)}: ${short(point.x)}`, `${flat(this.data.y)}: ${short(point.y)}`];
    this.tip.textContent = [point.series.name, ...told].join("\n");
    this.tip.style.top = `${(100 * py) / high}%`;
    // On the side that has more room, so that it never leaves a narrow page.
    const right = px > wide / 2;
    this.tip.style.left = right ? "auto" : `${(100 * px) / wide}%`;
    this.tip.style.right = right ? `${100 - (100 * px) / wide}%` : "auto";
    this.tip.style.transform = `translate(${right ? "-10px" : "10px"}, ${py > high / 2 ? "-110%" : "10px"})`;
  }

  // The keyboard and fingers do by buttons what the mouse does.
  tools() {
    const bar = make(this.frame, "div", { class: "tools" });
    const step = (by) => {
      const shown = this.points.map((_, index) => index).filter((index) => this.inside(...this.place(this.points[index])));
      const next = this.chosen < 0 ? (by > 0 ? 0 : -1) : shown.indexOf(this.chosen) + by;
      if (shown.length) this.choose(shown.at(next % shown.length));
    };
    const around = (factor) => {
      const point = this.points[this.chosen];
      const middle = point ? [point.x, point.y] : [(this.xlim[0] + this.xlim[1]) / 2, (this.ylim[0] + this.ylim[1]) / 2];
      const limits = (lim, at, full) => {
        const half = ((lim[1] - lim[0]) * factor) / 2;
        return Math.abs(2 * half) >= Math.abs(full[1] - full[0]) ? full : [at - half, at + half];
      };
      this.zoom(limits(this.xlim, middle[0], this.data.xlim), limits(this.ylim, middle[1], this.data.ylim));
    };
    const button = (sign, label, action) => {
      make(bar, "button", { type: "button", "aria-label": label, title: label }, sign).addEventListener("click", action);
    };
    button("◀", "previous point", () => step(-1));
    button("▶", "next point", () => step(1));
    button("+", "zoom in", () => around(0.5));
    button("−", "zoom out", () => around(2));
    button("all", "show all of it", () => this.reset());
    bar.addEventListener("focusout", (event) => bar.contains(event.relatedTarget) || this.choose(-1));
  }

  reset() {
    this.zoom([...this.data.xlim], [...this.data.ylim]);
  }

  zoom(xlim, ylim) {
    [this.xlim, this.ylim] = [xlim, ylim];
    const all = String([xlim, ylim]) === String([this.data.xlim, this.data.ylim]);
    this.svg.classList.toggle("zoomed", !all);
    this.view.replaceChildren();
    if (!all) this.draw();
    this.choose(this.chosen >= 0 && this.inside(...this.place(this.points[this.chosen])) ? this.chosen : -1);
  }

  // The part that is zoomed into, drawn again from the numbers.
  draw() {
    const [left, top, right, bottom] = this.data.box, { rows } = this.data, id = `clip${(Chart.count += 1)}`;
    make(make(this.view, "clipPath", { id }), "rect", { x: left, y: top, width: right - left, height: bottom - top });
    for (const x of ticks(this.xlim)) {
      const [px] = this.place({ x, y: 0 });
      make(this.view, "line", { class: "rule", x1: px, x2: px, y1: top, y2: bottom });
      make(this.view, "text", { x: px, y: bottom + 14, "text-anchor": "middle" }, short(x));
    }
    const heights = rows.length ? rows.map((_, row) => row) : ticks(this.ylim);
    for (const y of heights) {
      const [, py] = this.place({ x: 0, y });
      if (!this.inside(left, py)) continue;
      make(this.view, "line", { class: "rule", x1: left, x2: right, y1: py, y2: py });
      make(this.view, "text", { x: left - 6, y: py + 3, "text-anchor": "end" }, rows.length ? rows[y] : short(y));
    }
    const drawn = make(this.view, "g", { "clip-path": `url(#${id})` });
    for (const { points, colour } of this.data.series) {
      const places = points.map(([x, y]) => this.place({ x, y }));
      if (!rows.length) make(drawn, "polyline", { class: "curve", points: places.join(" "), style: `stroke: ${colour}` });
      if (points.length <= 60) for (const [cx, cy] of places) make(drawn, "circle", { cx, cy, r: 3, style: `fill: ${colour}` });
    }
  }
}
Chart.count = 0;

// A label of two lines as one.
function flat(text) {
  return text.replace(/\s+/g, " ");
}

// Two limits in the direction of others.
function order([from, to], a, b) {
  return from < to === a < b ? [a, b] : [b, a];
}

function slider(group) {
  const slides = [...group.querySelectorAll(".slide")];
  if (slides.length < 2) return;
  const first = group.hidden ? 0 : slides.length - 1;
  group.hidden = false;
  group.classList.add("moving");
  const bar = make(group, "div", { class: "slider" }), axis = group.dataset.axis;
  group.insertBefore(bar, slides[0]);
  const output = make(bar, "output");
  const range = make(bar, "input", { type: "range", min: 0, max: slides.length - 1, step: 1, "aria-label": axis });
  const show = () => {
    slides.forEach((slide, index) => slide.classList.toggle("shown", index === Number(range.value)));
    output.textContent = `${axis}: ${slides[range.value].dataset.place}`;
    range.setAttribute("aria-valuetext", slides[range.value].dataset.place);
  };
  range.value = first;
  range.addEventListener("input", show);
  show();
}

document.querySelectorAll(".chart").forEach((frame) => new Chart(frame));
document.querySelectorAll(".slides").forEach(slider);

const seconds = Number(document.body.dataset.reload);
if (seconds) setInterval(() => document.hidden || location.reload(), 1000 * seconds);
