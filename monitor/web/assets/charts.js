// Charts: uPlot draws what data-chart of a figure says, instead of the drawing inside.
(() => {
  'use strict';
  const plots = new WeakMap(), figures = new Set();
  const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // Colours of the tokens in force: light-dark() is resolved on an element.
  const probe = document.createElement('span');
  probe.hidden = true;
  document.body.append(probe);
  function colour(name) {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  }
  function faint(rgb) { return rgb.replace(/^rgb\(/, 'rgba(').replace(/\)$/, ', 0.12)'); }

  function value(v) {
    if (v == null) return '–';
    const a = Math.abs(v);
    if (a >= 1000) return Math.round(v).toLocaleString('en');
    return String(+v.toPrecision(3));
  }
  function options(chart, width) {
    const line = colour('--line'), muted = colour('--muted'), font = '11px ' + token('--sans');
    const axis = { stroke: muted, font, grid: { stroke: line, width: 1 }, ticks: { show: false }, size: 22 };
    return {
      width, height: chart.height, padding: [6, 16, 0, 0],
      legend: { show: false },
      cursor: { points: { size: 6 }, y: false, drag: { x: false, y: false }, sync: { key: 'charts' } },
      hooks: { setCursor: [(u) => tell(u)], setData: [(u) => tell(u)] },
      scales: { x: { time: true, range: (u, low, high) => [Math.min(low, high - 60), high] }, y: { range: (u, low, high) => [Math.min(0, low ?? 0), high > 0 ? high * 1.08 : 1] } },
      axes: [axis, { ...axis, size: 46, values: (u, all) => all.map(value) }],
      series: [
        {},
        ...chart.series.map((s) => {
          const c = colour(`--${s.tone}-line`);
          return {
            label: s.label, stroke: c, width: 1.5, points: { show: false }, spanGaps: false,
            fill: chart.series.length === 1 || chart.stack ? faint(c) : undefined,
            paths: chart.bars ? uPlot.paths.bars({ size: [0.8, 40] }) : undefined,
          };
        }),
      ],
    };
  }
  // The caption has the values at the cursor, or the last ones, and the time.
  function tell(u) {
    const figure = u.root.closest('figure'), chart = plots.get(figure)?.chart;
    if (!chart) return;
    const at = u.cursor.idx ?? null;
    figure.querySelectorAll('.key b').forEach((b, i) => {
      const all = chart.series[i]?.values ?? [];
      b.textContent = value(at == null ? all.findLast((v) => v != null) : all[at]);
    });
    const time = figure.querySelector('.at');
    if (time) time.textContent = at == null ? '' : new Date(chart.times[at] * 1000).toLocaleTimeString();
  }
  function stacked(chart) {
    const data = [chart.times, ...chart.series.map((s) => s.values)];
    if (!chart.stack) return data;
    const sum = new Array(chart.times.length).fill(0);
    // The first series lies at the bottom, and is drawn last.
    return [chart.times, ...chart.series.map((s) => s.values.map((v, i) => (v == null ? null : (sum[i] += v))))];
  }

  function draw(figure, again) {
    const text = figure.dataset.chart;
    const had = plots.get(figure);
    if (had && had.text === text && !again) return;
    let chart;
    try { chart = JSON.parse(text); } catch { return; }
    const width = Math.floor(figure.clientWidth - parseFloat(getComputedStyle(figure).paddingLeft) - parseFloat(getComputedStyle(figure).paddingRight));
    if (!chart.times?.length || width < 40) return;
    const shape = JSON.stringify([chart.series.map((s) => [s.label, s.tone]), chart.unit, chart.bars, chart.height]);
    if (had && had.shape === shape && !again) {
      had.text = text;
      had.chart = chart;
      had.plot.setData(stacked(chart));
      tell(had.plot);
      return;
    }
    had?.plot.destroy();
    figure.querySelectorAll('.drawing, .nothing, .plot').forEach((e) => e.remove());
    const box = document.createElement('div');
    box.className = 'plot';
    box.setAttribute('aria-hidden', 'true');
    figure.append(box);
    const plot = new uPlot(options(chart, width), stacked(chart), box);
    plots.set(figure, { plot, text, shape, chart });
    figures.add(figure);
    tell(plot);
  }
  function all(again) {
    for (const f of figures) if (!f.isConnected) { plots.get(f)?.plot.destroy(); figures.delete(f); }
    document.querySelectorAll('figure[data-chart]').forEach((f) => draw(f, again));
  }
  all();
  document.addEventListener('live:changed', () => all());
  let resized;
  addEventListener('resize', () => { clearTimeout(resized); resized = setTimeout(() => all(true), 150); });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => all(true));
})();
