// charts.js: three uPlot shapes (bars, lines, fan) that read their colours from tokens.css.
// <div class="plot" data-chart="bars"><script type="application/json">{...}</script></div>, see {% plot %}.
// Amounts arrive as whole nano-dollars ("unit": "usd") or wei ("eth") and are only drawn here, never added to money.
(() => {
  const UNITS = {
    usd: {scale: 1e9, places: v => v && Math.abs(v) < .01 ? 6 : 2, text: (v, p) => "$" + v.toLocaleString("en-US", {minimumFractionDigits: p, maximumFractionDigits: p})},
    eth: {scale: 1e18, places: v => v && Math.abs(v) < .01 ? 6 : 4, text: (v, p) => v.toLocaleString("en-US", {minimumFractionDigits: p, maximumFractionDigits: p}) + " ETH"},
    count: {scale: 1, places: () => 0, text: v => v.toLocaleString("en-US")},
  };
  const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");
  const COLOURS = ["c1", "c2", "c3", "c4", "c5", "band-90", "band-50", "grid", "ink", "ink-2", "ink-3", "bad", "surface", "edge"];
  const two = n => String(n).padStart(2, "0");
  const day = s => { const d = new Date(s * 1e3); return `${d.getUTCDate()} ${MONTHS[d.getUTCMonth()]}` };
  const clock = s => { const d = new Date(s * 1e3); return `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}` };

  const probe = document.body.appendChild(Object.assign(document.createElement("i"), {hidden: true}));
  const colour = name => { probe.style.color = `var(--${name})`; return getComputedStyle(probe).color };  // resolves light-dark()
  const font = "12px Geist, system-ui, sans-serif";
  const live = new Set();

  // Axis labels: as many decimals as the step needs, the unit on the topmost label only when it is a word.
  const axisLabels = name => (u, ticks) => {
    const unit = UNITS[name], step = ticks.length > 1 ? ticks[1] - ticks[0] : ticks[0] || 1;
    const p = Math.max(0, Math.min(9, -Math.floor(Math.log10(step) + 1e-9)));
    const places = name === "usd" && p ? Math.max(2, p) : p;
    return ticks.map((v, i) => name === "eth" && i < ticks.length - 1 ? v.toFixed(places) : unit.text(v, places));
  };

  function draw(el) {
    const spec = el.spec ??= JSON.parse(el.querySelector("script").textContent);
    const unit = UNITS[spec.unit || "usd"], n = spec.x.length, w = el.clientWidth, narrow = w < 480;
    const scaled = v => v == null ? null : Number(v) / unit.scale, say = v => unit.text(v, unit.places(v));
    const y = spec.y.map(row => row.map(scaled));
    const c = Object.fromEntries(COLOURS.map(k => [k, colour(k)]));
    const time = spec.time === "hour" ? clock : day;
    const read = document.getElementById(spec.read);
    const rest = el.rest ??= read?.innerHTML;
    el.u?.destroy();

    const line = (stroke, more = {}) => ({stroke, width: 1.75, points: {show: false}, ...more});
    let data = [spec.x, ...y], series, bands = [];
    if (spec.kind === "bars") {
      const bars = uPlot.paths.bars({size: [.62, 36], radius: y.length > 1 ? 0 : .18});
      if (y.length > 1) {  // stacked: cumulative sums drawn back to front
        const sums = spec.x.map(() => 0);
        data = [spec.x, ...y.map(row => row.map((v, i) => sums[i] += v || 0)).reverse()];
      }
      const part = spec.part ? data[1].map((v, i) => i === n - 1 ? v : null) : null;  // the running day, drawn lighter
      if (part) { data[1] = data[1].map((v, i) => i === n - 1 ? null : v); data.push(part) }
      const shades = (spec.colors || ["c1", "c2", "c3", "c5"].slice(0, y.length)).slice().reverse();
      series = data.slice(1).map((_, i) => ({fill: c[shades[i]], stroke: y.length > 1 ? c.surface : c[shades[i]], width: y.length > 1 ? 1 : 0, paths: bars, points: {show: false}}));
      if (part) Object.assign(series.at(-1), {fill: c["band-50"], stroke: c.c1, width: 1});
    } else if (spec.kind === "fan") {  // y: past, median, p5, p25, p75, p95, with top-up
      const none = {stroke: "transparent", width: 0, points: {show: false}};
      series = [line(c.c1, {width: 2}), line(c.c1, {dash: [5, 4]}), none, none, none, none, line(c["ink-3"], {width: 1.5, dash: [1.5, 4], cap: "round"})].slice(0, y.length);
      bands = [{series: [6, 3], fill: c["band-90"]}, {series: [5, 4], fill: c["band-50"]}];
    } else {
      series = y.map((_, i) => line(c[(spec.colors || ["c1", "c2", "c3"])[i]], i || y.length > 1 ? {} : {fill: c["band-90"]}));
    }

    const marks = u => {  // threshold line, "now" line, direct labels
      const x = u.ctx, r = devicePixelRatio, {left, top, width, height} = u.bbox;
      x.save(); x.font = `${12 * r}px Geist, system-ui, sans-serif`; x.lineWidth = r;
      for (const m of spec.marks || []) {
        x.strokeStyle = x.fillStyle = c[m.color || "ink-2"];
        x.setLineDash((m.dash || []).map(v => v * r));
        x.textAlign = m.at === "end" ? "right" : "left";
        x.beginPath();
        if (m.y != null) {
          const Y = Math.round(u.valToPos(scaled(m.y), "y", true)) + .5;
          x.moveTo(left, Y); x.lineTo(left + width, Y); x.stroke();
          x.fillText(m.label, m.at === "end" ? left + width - 4 * r : left + 4 * r, Y + (m.below ? 14 : -5) * r);
        } else {
          const X = Math.round(u.valToPos(m.x, "x", true)) + .5;
          x.moveTo(X, top); x.lineTo(X, top + height); x.stroke();
          x.fillText(m.label, X + (m.at === "end" ? -6 : 6) * r, top + 11 * r);
        }
      }
      for (const t of spec.labels || []) {
        if (narrow && t.wide) continue;
        x.setLineDash([]); x.fillStyle = c[t.color || "ink-2"]; x.textAlign = t.align || "left";
        x.fillText(t.text, u.valToPos(t.x, "x", true), u.valToPos(scaled(t.y), "y", true));
      }
      x.restore();
    };
    const tell = u => {
      if (!read) return;
      const i = u.cursor.idx;
      if (i == null) { read.innerHTML = rest; return }
      const when = spec.time === "hour" ? clock(spec.x[i]) + " UTC" : day(spec.x[i]);
      const words = [when, " · "], strong = v => Object.assign(document.createElement("b"), {textContent: v});
      if (spec.kind !== "fan") words.push(strong(say(y.reduce((sum, row) => sum + (row[i] || 0), 0))));
      else if (y[0][i] != null) words.push("deposit ", strong(say(y[0][i])));
      else if (y[1][i] != null) words.push("forecast ", strong(say(y[1][i])), `, 9 cases of 10 between ${say(y[2][i])} and ${say(y[5][i])}`);
      read.replaceChildren(...words);
    };
    const top = scaled(spec.max);
    el.u = new uPlot({
      width: w, height: el.clientHeight, series: [{}, ...series], bands, legend: {show: false}, padding: [8, 6, 0, 0],
      tzDate: ts => uPlot.tzDate(new Date(ts * 1e3), "UTC"),
      scales: {
        x: {time: true, range: spec.kind === "bars" ? (u, a, b) => { const pad = n > 1 ? (b - a) / n * .6 : 43200; return [a - pad, b + pad] } : (u, a, b) => a === b ? [a - 43200, b + 43200] : [a, b]},
        y: {range: (u, a, b) => [0, top || (b || 1) * (spec.kind === "bars" ? 1.05 : 1.12)]},
      },
      cursor: {y: false, drag: {x: false, y: false}, points: {show: spec.kind === "lines", size: 7, fill: c.surface}},
      axes: [
        {stroke: c["ink-2"], font, grid: {show: false}, ticks: {show: false}, gap: 8, size: 30, space: narrow ? 62 : 78, incrs: spec.time === "hour" ? undefined : [1, 2, 5, 7, 14, 30, 90].map(d => d * 86400), values: (u, ticks) => ticks.map(time)},
        {stroke: c["ink-2"], font, grid: {stroke: c.grid, width: 1}, ticks: {show: false}, gap: 4, size: (u, v) => 12 + 7 * Math.max(1, ...(v || []).map(s => s.length)), space: 44, values: axisLabels(spec.unit || "usd")},
      ],
      hooks: {draw: [marks], setCursor: [tell]},
    }, data, el);
  }

  const start = scope => scope.querySelectorAll("[data-chart]").forEach(el => {
    if (live.has(el)) return;
    live.add(el);
    draw(el);
    let w = el.clientWidth;
    new ResizeObserver(() => { if (el.isConnected && el.clientWidth !== w) { w = el.clientWidth; draw(el) } }).observe(el);
  });
  (document.fonts?.load ? document.fonts.load("12px Geist") : Promise.resolve()).then(() => {
    start(document);
    document.body.dataset.drawn = "1";
  });
  document.addEventListener("htmx:load", event => start(event.target));
  document.addEventListener("themechange", () => requestAnimationFrame(() => live.forEach(el => el.isConnected ? draw(el) : live.delete(el))));
})();
