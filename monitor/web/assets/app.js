// The pages work without scripts. These save the reader the reloading.
(() => {
  'use strict';
  const root = document.documentElement;
  root.setAttribute('data-js', '');
  const $ = (selector, from = document) => from.querySelector(selector);
  const on = (target, name, handler) => target.addEventListener(name, handler);

  // htmx may make HTML of what the server sends, and may not evaluate code.
  const refuse = function () { throw new Error('code in attributes is not evaluated'); };
  let api;
  htmx.registerExtension('frame', {
    init(internal) {
      api = internal;
      const pass = { createHTML: (s) => s };
      api.initSecurity(window.trustedTypes ? trustedTypes.createPolicy('htmx', pass) : pass, refuse, refuse);
    },
    // What the reader has opened stays open.
    htmx_before_morph_attr(node, { attrName }) {
      return !(attrName === 'open' && (node.tagName === 'DETAILS' || node.tagName === 'DIALOG'));
    },
  });

  // Times relative to now. The text of the server is absolute.
  const relative = new Intl.RelativeTimeFormat('en', { numeric: 'always', style: 'short' });
  function ago(time) {
    const s = (new Date(time) - Date.now()) / 1000, a = Math.abs(s);
    if (a < 1.5) return 'now';
    if (a < 90) return relative.format(Math.round(s), 'second');
    if (a < 5400) return relative.format(Math.round(s / 60), 'minute');
    if (a < 129600) return relative.format(Math.round(s / 3600), 'hour');
    return relative.format(Math.round(s / 86400), 'day');
  }
  // Date and time as the server writes them, in the zone of the reader.
  const two = (n) => String(n).padStart(2, '0');
  const time = (d) => `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
  function stamp(d) {
    const off = -d.getTimezoneOffset(), a = Math.abs(off);
    return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${time(d)} ${off === 0 ? 'UTC' : (off < 0 ? '-' : '+') + `${two(Math.floor(a / 60))}:${two(a % 60)}`}`;
  }
  function times(from) {
    for (const t of from.querySelectorAll('time[data-ago], time[data-clock]')) {
      const d = new Date(t.dateTime), text = 'ago' in t.dataset ? ago(t.dateTime) : time(d), title = stamp(d);
      if (t.title !== title) t.title = title;
      if (t.textContent !== text) t.textContent = text;
    }
  }
  times(document);
  setInterval(() => { if (!document.hidden) times(document); }, 1000);

  // Tables that are wider than their place can be scrolled by keyboard.
  function regions() {
    for (const t of document.querySelectorAll('.table')) {
      const wide = t.scrollWidth > t.clientWidth + 1;
      if (wide === t.hasAttribute('tabindex')) continue;
      if (wide) {
        t.tabIndex = 0;
        t.setAttribute('role', 'region');
        t.setAttribute('aria-label', t.querySelector('caption')?.textContent.trim() || 'Table');
      } else for (const name of ['tabindex', 'role', 'aria-label']) t.removeAttribute(name);
    }
  }
  regions();
  on(window, 'resize', regions);

  // Live updates. The stream belongs to the element #live; htmx opens it, swaps, and connects
  // again with a jitter.
  const live = $('#live'), state = $('#live-state');
  const key = 'evently.live';
  let paused = sessionStorage.getItem(key) === 'paused', waiting;
  function show(name) {
    if (!state) return;
    state.setAttribute('data-local-state', name);
    $('.word', state).textContent = { on: 'Live', paused: 'Paused', lost: 'Offline', off: 'Live' }[name];
    state.setAttribute('aria-label', { on: 'Live updates: pause', paused: 'Live updates are paused: go on', lost: 'Live updates are interrupted', off: 'Live updates: connecting' }[name]);
    state.title = { on: 'Pause live updates (p)', paused: 'Go on with live updates (p)', lost: 'No connection to the monitor', off: 'Connecting' }[name];
  }
  function connect(after = 0) {
    clearTimeout(waiting);
    if (!live || paused) return;
    waiting = setTimeout(() => {
      if (paused || document.hidden) return;
      htmx.trigger(live, 'live:start');
      // On a slow machine htmx may not listen yet.
      waiting = setTimeout(() => { if (!api?.htmxProp(live).sse) connect(); }, 2000);
    }, after);
  }
  function toggle() {
    if (!live) return;
    paused = !paused;
    sessionStorage.setItem(key, paused ? 'paused' : 'on');
    show(paused ? 'paused' : 'off');
    const stream = api?.htmxProp(live).sse;
    if (paused) stream?.reader?.cancel();
    else connect();
  }
  if (live) {
    live.setAttribute('hx-sse:connect', '/live?page=' + encodeURIComponent(location.pathname + location.search));
    show(paused ? 'paused' : 'off');
    on(live, 'htmx:sse:before:connection', (e) => { if (paused) e.preventDefault(); });
    on(live, 'htmx:sse:after:connection', () => show(paused ? 'paused' : 'on'));
    on(live, 'htmx:sse:error', (e) => {
      show('lost');
      if (e.detail.status === 401 || e.detail.status === 403) location.reload();
    });
    // A stream that ended for good begins again, in a while and not all at once.
    on(live, 'htmx:sse:close', (e) => {
      if (paused) return;
      show(e.detail.reason === 'ended' ? 'lost' : 'off');
      connect(2000 + Math.random() * 3000);
    });
    on(live, 'htmx:error', () => { show('lost'); connect(5000 + Math.random() * 5000); });
    on(document, 'visibilitychange', () => { if (!document.hidden && !api?.htmxProp(live).sse) connect(); });
    on(document, 'htmx:after:process', () => connect(), { once: true });
    on(document, 'DOMContentLoaded', () => connect(50));
    on(document, 'htmx:after:swap', () => { times(live); regions(); document.dispatchEvent(new Event('live:changed')); });
    if (state) on(state, 'click', toggle);
  }

  // Copying works over plain http, too, where browsers have no clipboard for scripts.
  async function copy(text) {
    if (navigator.clipboard && window.isSecureContext) {
      try { await navigator.clipboard.writeText(text); return true; } catch { /* go on */ }
    }
    const area = document.createElement('textarea');
    area.value = text;
    area.setAttribute('readonly', '');
    area.className = 'hidden';
    ($('dialog[open]') ?? document.body).append(area);
    const focused = document.activeElement;
    area.select();
    let done = false;
    try { done = document.execCommand('copy'); } catch { /* it tells nothing */ }
    area.remove();
    focused?.focus?.({ preventScroll: true });
    return done;
  }
  const announcer = document.createElement('div');
  announcer.className = 'hidden';
  announcer.setAttribute('role', 'status');
  document.body.append(announcer);
  const say = (text) => { announcer.textContent = ''; setTimeout(() => { announcer.textContent = text; }, 50); };

  on(document, 'click', async (e) => {
    const button = e.target.closest('[data-copy]');
    if (button) {
      const from = button.dataset.copy;
      const source = from.startsWith('#') ? document.getElementById(from.slice(1)) : null;
      const done = await copy(source ? source.innerText : from);
      say(done ? 'Copied' : 'Not copied: choose the text and copy it by hand');
      if (done) {
        button.setAttribute('data-local-copied', '');
        setTimeout(() => button.removeAttribute('data-local-copied'), 1500);
      }
      return;
    }
    // A click anywhere on a row follows its link.
    const row = e.target.closest('tr:has(a.row)');
    if (row && !e.target.closest('a, button, input, select, label, summary') && !String(getSelection())) {
      const link = $('a.row', row);
      if (e.ctrlKey || e.metaKey) window.open(link.href, '_blank', 'noopener');
      else link.click();
    }
  });

  // A form that was sent is not sent twice, and a word that must be typed is compared.
  on(document, 'submit', (e) => {
    const form = e.target;
    if (form.method !== 'post') return;
    if (form.dataset.localSent) { e.preventDefault(); return; }
    form.dataset.localSent = 'yes';
    setTimeout(() => delete form.dataset.localSent, 5000);
  });
  on(document, 'input', (e) => {
    const want = e.target.dataset?.confirm;
    if (want !== undefined) e.target.setCustomValidity(e.target.value === want ? '' : 'Type ' + want);
  });
  for (const input of document.querySelectorAll('[data-confirm]')) input.setCustomValidity('Type ' + input.dataset.confirm);
  // One box chooses all rows.
  on(document, 'change', (e) => {
    const all = e.target.closest?.('[data-all]');
    if (all) for (const box of document.querySelectorAll(`input[name="${CSS.escape(all.dataset.all)}"]`)) box.checked = all.checked;
  });

  // A search box is completed word by word: browsers compare what is offered with the whole text.
  for (const box of document.querySelectorAll('[data-search][list]')) {
    const list = box.list, words = [...list.options].map((o) => o.value);
    const names = [...new Set(words.map((w) => w.slice(0, w.indexOf(':') + 1)))];
    let offered = words.join('\n');
    const offer = () => {
      const at = box.value.search(/\S*$/), before = box.value.slice(0, at), word = box.value.slice(at).toLowerCase();
      const fit = (word.includes(':') ? words : names).filter((w) => w.toLowerCase().startsWith(word) && w.toLowerCase() !== word);
      const text = fit.map((w) => before + w);
      if (offered === text.join('\n')) return;
      offered = text.join('\n');
      list.replaceChildren(...text.map((t) => { const o = document.createElement('option'); o.value = t; return o; }));
    };
    on(box, 'input', offer);
    on(box, 'focus', offer);
    offer();
  }

  window.frame = { $, on, toggle, say };
})();
