// The page works without this file; it saves the reader the reloading.
(() => {
  'use strict';
  const $ = (selector, root = document) => root.querySelector(selector);
  const parts = ['tabs', 'list', 'pane'];
  let served = remember(document); // what the server last said, by part

  function remember(doc) {
    return Object.fromEntries(parts.map((id) => [id, doc.getElementById(id).innerHTML]));
  }

  async function read(url) {
    const response = await fetch(url, { headers: { Accept: 'text/html' } });
    return new DOMParser().parseFromString(await response.text(), 'text/html');
  }

  // put shows a part as the server has it now. The focus stays on its link.
  function put(id, doc) {
    const fresh = doc.getElementById(id);
    if (served[id] === fresh.innerHTML) return false;
    const old = document.getElementById(id);
    const focus = old.contains(document.activeElement) && document.activeElement.getAttribute('href');
    served[id] = fresh.innerHTML;
    old.replaceChildren(...document.adoptNode(fresh).childNodes);
    if (focus) $(`[href="${CSS.escape(focus)}"]`, old)?.focus();
    return true;
  }

  let asked = 0;
  async function show(url, push) {
    const turn = ++asked;
    let doc;
    try { doc = await read(url); } catch { location.href = url; return; }
    if (turn !== asked) return; // a later click wins
    if (push) history.pushState(null, '', url);
    document.title = doc.title;
    document.body.className = doc.body.className;
    const pane = $('#pane');
    pane.toggleAttribute('data-live', doc.getElementById('pane').hasAttribute('data-live'));
    parts.forEach((id) => put(id, doc));
    dress();
    pane.scrollTop = 0;
    reveal();
    if (push && doc.body.classList.contains('chosen')) pane.focus({ preventScroll: true });
    scrollTo(0, 0);
  }

  // refresh renews the lists, and the pane when it shows what may change.
  let refreshing = false, again = false;
  async function refresh() {
    if (refreshing) { again = true; return; }
    refreshing = true;
    try {
      const turn = asked;
      const doc = await read(location.href);
      if (turn === asked) {
        const before = new Set([...document.querySelectorAll('#list .item')].map((a) => a.dataset.id));
        put('tabs', doc);
        if (put('list', doc)) {
          for (const a of document.querySelectorAll('#list .item')) {
            if (!before.has(a.dataset.id)) a.classList.add('fresh');
          }
        }
        if ($('#pane').hasAttribute('data-live')) put('pane', doc);
        dress();
      }
      await follow();
    } catch { /* the server is unavailable; the event stream tells when it is back */ }
    refreshing = false;
    if (again) { again = false; refresh(); }
  }

  // dress shows the controls that need this script and restores the choices.
  function dress(root = document) {
    for (const button of root.querySelectorAll('.copy[hidden]')) button.hidden = false;
    for (const group of root.querySelectorAll('[data-keep]')) {
      const kept = sessionStorage.getItem(group.dataset.keep);
      const input = kept && $(`input[value="${CSS.escape(kept)}"]`, group);
      if (input) input.checked = true;
    }
  }

  const reveal = () => $('#list [aria-current]')?.scrollIntoView({ block: 'nearest' });

  // Tasks of the form that still wait for their answer: id to notice.
  const waiting = new Map();
  async function follow() {
    for (const [id, notice] of waiting) {
      const doc = await read(`/tasks/${id}`);
      const chip = $('#pane .chip', doc);
      if (!chip) { waiting.delete(id); continue; }
      const word = chip.textContent;
      if (word === 'PENDING' || word === 'STARTED') continue;
      const mail = $('#pane .facts a[href^="/mails/"]', doc);
      const text = { SUCCESS: 'done', FAILURE: 'failed', REVOKED: 'revoked', RETRY: 'will be tried again' }[word] || 'the answer is no';
      const link = mail ? [mail.getAttribute('href'), 'Read the mail'] : [`/tasks/${id}`, 'See the result'];
      notice(text, chip.className, link);
      if (word !== 'RETRY') waiting.delete(id);
    }
  }

  function toast(title, id) {
    const box = document.createElement('div');
    box.className = 'toast';
    const text = document.createElement('span');
    const a = document.createElement('a');
    a.dataset.nav = '';
    const close = document.createElement('button');
    close.type = 'button';
    close.className = 'close';
    close.setAttribute('aria-label', 'Dismiss');
    close.textContent = '×';
    close.addEventListener('click', () => box.remove());
    box.append(text, a, close);
    $('#toasts').replaceChildren(box);
    const say = (word, tone, [href, label]) => {
      text.textContent = `${title}: ${word}`;
      a.href = href;
      a.textContent = label;
      box.className = `toast ${tone.replace('chip', '').trim()}`;
    };
    say('sent, waiting for the worker', 'calm', [`/tasks/${id}`, 'See the task']);
    return say;
  }

  const dialog = $('#compose'), form = $('#compose-form'), error = $('#compose-error');
  if (dialog.open) { dialog.close(); dialog.showModal(); }
  function openCompose() {
    error.hidden = true;
    if (!dialog.open) dialog.showModal();
    $('input[name="task"]:checked', form).focus();
  }
  dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const send = $('#compose-send');
    send.disabled = true;
    try {
      const response = await fetch(form.action, {
        method: 'POST', headers: { Accept: 'application/json' }, body: new URLSearchParams(new FormData(form)),
      });
      const answer = await response.json();
      if (!response.ok) throw new Error(answer.error);
      error.hidden = true;
      dialog.close();
      waiting.set(answer.id, toast(answer.title, answer.id));
      refresh();
    } catch (reason) {
      error.textContent = reason instanceof TypeError ? 'The development mode does not answer. Is it still running?' : reason.message;
      error.hidden = false;
      error.scrollIntoView({ block: 'nearest' });
    }
    send.disabled = false;
  });

  document.addEventListener('click', async (event) => {
    if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const copy = event.target.closest('.copy');
    if (copy) {
      const source = $(copy.dataset.copy);
      try {
        await navigator.clipboard.writeText(source.textContent);
        copy.textContent = 'Copied';
      } catch {
        getSelection().selectAllChildren(source);
        copy.textContent = 'Selected';
      }
      setTimeout(() => { copy.textContent = 'Copy'; }, 1600);
      return;
    }
    const a = event.target.closest('a');
    if (!a) return;
    if (a.matches('#open-compose, [data-compose]')) {
      event.preventDefault();
      openCompose();
    } else if (a.matches('[data-close]')) {
      event.preventDefault();
      dialog.close();
      if (location.pathname === '/send') history.replaceState(null, '', '/');
    } else if (a.matches('[data-nav]')) {
      event.preventDefault();
      if (a.closest('.toast')) a.closest('.toast').remove();
      show(a.getAttribute('href'), true);
    }
  });
  document.addEventListener('change', (event) => {
    const group = event.target.closest('[data-keep]');
    if (group) sessionStorage.setItem(group.dataset.keep, event.target.value);
  });
  addEventListener('popstate', () => show(location.href, false));

  // Up and down walk through a list.
  document.addEventListener('keydown', (event) => {
    const item = event.target.closest?.('.item');
    if (!item || (event.key !== 'ArrowDown' && event.key !== 'ArrowUp')) return;
    const all = [...document.querySelectorAll('#list .item')];
    all[all.indexOf(item) + (event.key === 'ArrowDown' ? 1 : -1)]?.focus();
    event.preventDefault();
  });

  const live = $('#live');
  live.hidden = false;
  const say = (on) => {
    live.classList.toggle('off', !on);
    $('.word', live).textContent = on ? 'Live' : 'Stopped';
  };
  const stream = new EventSource('/events');
  stream.addEventListener('open', () => say(true));
  stream.addEventListener('error', () => say(false));
  stream.addEventListener('change', refresh);
  dress();
  reveal();
})();
