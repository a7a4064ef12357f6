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
  const two = (n) => String(n).padStart(2, '0');
  const clock24 = (d) => two(d.getHours()) + ':' + two(d.getMinutes()) + ':' + two(d.getSeconds());
  // Times of the x axis, as exact as its span wants.
  function clock(u, splits) {
    const span = u.scales.x.max - u.scales.x.min;
    return splits.map((s) => {
      const d = new Date(s * 1000), day = d.toLocaleDateString('en', { month: 'short', day: 'numeric' });
      if (span > 4 * 86400) return day;
      const time = two(d.getHours()) + ':' + two(d.getMinutes());
      if (span > 600) return span > 86400 && time === '00:00' ? day : time;
      return time + ':' + two(d.getSeconds());
    });
  }
  // Values of the y axis. Counts have no halves.
  function marks(u, splits) {
    const whole = u.data.slice(1).every((all) => all.every((v) => v == null || Number.isInteger(v)));
    return splits.map((v) => (whole && !Number.isInteger(v) ? '' : value(v)));
  }
  function options(chart, width) {
    const line = colour('--line'), muted = colour('--muted'), font = '11px ' + token('--sans');
    const axis = { stroke: muted, font, grid: { stroke: line, width: 1 }, ticks: { show: false }, size: 22 };
    return {
      width, height: chart.height, padding: [6, 26, 0, 0],
      legend: { show: false },
      cursor: { points: { size: 6 }, y: false, drag: { x: false, y: false }, sync: { key: 'charts' } },
      hooks: { setCursor: [(u) => tell(u)], setData: [(u) => tell(u)] },
      scales: { x: { time: true, range: (u, low, high) => [Math.min(low, high - 60), high] }, y: { range: (u, low, high) => [Math.min(0, low ?? 0), high > 0 ? high * 1.08 : 1] } },
      axes: [{ ...axis, space: 72, values: clock, incrs: [1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800] }, { ...axis, size: 46, values: marks }],
      series: [
        {},
        ...shown(chart).map((s) => {
          const c = colour(`--${s.tone}-line`);
          return {
            label: s.label, stroke: c, width: chart.bars ? 0 : 1.5, points: { show: false }, spanGaps: false,
            fill: chart.bars ? c : chart.series.length === 1 || chart.stack ? faint(c) : undefined,
            paths: chart.bars ? uPlot.paths.bars({ size: [0.8, 24] }) : undefined,
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
    if (time) time.textContent = at == null ? '' : clock24(new Date(chart.times[at] * 1000));
  }
  // Of a stack the top is drawn first, and the others over it.
  const shown = (chart) => (chart.stack ? chart.series.toReversed() : chart.series);
  function stacked(chart) {
    if (!chart.stack) return [chart.times, ...chart.series.map((s) => s.values)];
    const sum = new Array(chart.times.length).fill(0);
    return [chart.times, ...chart.series.map((s) => s.values.map((v, i) => (v == null ? null : (sum[i] += v)))).reverse()];
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
