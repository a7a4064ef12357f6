// Keys: see the list that "?" opens.
(() => {
  'use strict';
  const { $, on, toggle } = window.frame;
  const keys = $('#keys'), palette = $('#palette');
  if (!keys) return; // the page for logging in

  const typing = (e) => e.target.closest?.('input:not([type="checkbox"], [type="radio"]), textarea, select, [contenteditable]');
  const open = (dialog) => { if (!dialog.open) dialog.showModal(); };
  on($('#open-keys'), 'click', () => open(keys));
  on($('#open-palette'), 'click', () => openPalette());
  // A click beside a dialog closes it.
  for (const d of [keys, palette]) on(d, 'click', (e) => { if (e.target === d) d.close(); });

  // Rows of lists.
  const rows = () => [...document.querySelectorAll('[data-rows] > tbody > tr:has(a.row), [data-rows] > li:has(a.row)')];
  function move(step) {
    const all = rows();
    if (!all.length) return;
    const at = all.findIndex((r) => r.hasAttribute('data-local-cursor'));
    const next = all[at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + step, 0), all.length - 1)];
    all[at]?.removeAttribute('data-local-cursor');
    next.setAttribute('data-local-cursor', '');
    $('a.row', next).focus({ preventScroll: true });
    next.scrollIntoView({ block: 'nearest' });
  }
  const current = () => $('[data-local-cursor]');

  // Commands.
  const input = $('input', palette), list = $('#palette-list');
  let shown = [], chosen = 0;
  function commands(text) {
    const pages = [...document.querySelectorAll('.places a')].map((a) => ({ text: a.querySelector('span').textContent, hint: a.dataset.key ? 'g ' + a.dataset.key : '', go: () => { location.href = a.href; } }));
    const also = [
      { text: 'Keyboard shortcuts', hint: '?', go: () => open(keys) },
      ...($('#live-state') ? [{ text: 'Pause or go on with live updates', hint: 'p', go: toggle }] : []),
    ];
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const found = [...pages, ...also].filter((c) => words.every((w) => c.text.toLowerCase().includes(w)));
    const ask = text.trim();
    if (ask) found.push({ text: 'Was it sent: ' + ask, hint: 'search', go: () => { location.href = '/was-it-sent?q=' + encodeURIComponent(ask); } });
    return found;
  }
  function choose(i) {
    chosen = (i + shown.length) % shown.length;
    [...list.children].forEach((li, n) => li.setAttribute('aria-selected', String(n === chosen)));
    list.children[chosen]?.scrollIntoView({ block: 'nearest' });
    input.setAttribute('aria-activedescendant', 'command-' + chosen);
  }
  function fill() {
    shown = commands(input.value);
    list.replaceChildren(...shown.map((c, n) => {
      const li = document.createElement('li'), hint = document.createElement('span');
      li.id = 'command-' + n;
      li.setAttribute('role', 'option');
      li.append(c.text, hint);
      hint.className = 'hint';
      hint.textContent = c.hint;
      on(li, 'click', () => run(n));
      on(li, 'pointermove', () => { if (chosen !== n) choose(n); });
      return li;
    }));
    choose(0);
  }
  function run(n) {
    palette.close();
    shown[n]?.go();
  }
  function openPalette() {
    input.value = '';
    open(palette);
    fill();
    input.focus();
  }
  on(input, 'input', fill);
  on(input, 'keydown', (e) => {
    if (e.key === 'ArrowDown' || (e.ctrlKey && e.key === 'n')) choose(chosen + 1);
    else if (e.key === 'ArrowUp' || (e.ctrlKey && e.key === 'p')) choose(chosen - 1);
    else if (e.key === 'Enter') run(chosen);
    else return;
    e.preventDefault();
  });

  let going = 0; // until when "g" waits for its letter
  on(document, 'keydown', (e) => {
    if ((e.ctrlKey || e.metaKey) && !e.altKey && e.key.toLowerCase() === 'k') {
      e.preventDefault();
      openPalette();
      return;
    }
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.key === 'Escape' && typing(e) && !e.target.closest('dialog')) { e.target.blur(); return; }
    if (typing(e) || $('dialog[open]')) return;
    if (going > Date.now()) {
      going = 0;
      const place = $(`.places a[data-key="${CSS.escape(e.key)}"]`);
      if (place) { e.preventDefault(); location.href = place.href; }
      return;
    }
    const act = {
      '?': () => open(keys),
      g: () => { going = Date.now() + 1500; },
      '/': () => { const box = $('[data-search]') ?? $('#ask'); box.focus(); box.select(); },
      w: () => { $('#ask').focus(); $('#ask').select(); },
      p: toggle,
      j: () => move(1),
      k: () => move(-1),
      n: () => $('.pager a[rel="next"]')?.click(),
      x: () => current() && $('input[type="checkbox"]', current())?.click(),
    }[e.key];
    if (act) { e.preventDefault(); act(); }
  });
})();
