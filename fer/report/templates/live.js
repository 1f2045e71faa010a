// Brings the page up to date every ten seconds, and leaves focus, scrolling and open details as they are.
'use strict';

const SECONDS = 10;
const button = document.getElementById('pause');
const news = document.getElementById('news');
const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
let paused = (sessionStorage.getItem('paused') ?? String(calm)) === 'true';

// Changes a node into another one, with as few changes as possible. Elements with an id are moved, not rewritten.
function update(now, next) {
  if (now.isEqualNode(next)) return;
  if (now.nodeName !== next.nodeName) return void now.replaceWith(next);
  if (now.nodeType !== Node.ELEMENT_NODE) return void (now.nodeValue = next.nodeValue);
  for (const {name} of [...now.attributes]) {
    if (!next.hasAttribute(name) && name !== 'open') now.removeAttribute(name);
  }
  for (const {name, value} of [...next.attributes]) {
    if (now.getAttribute(name) !== value && name !== 'open') now.setAttribute(name, value);
  }
  const known = new Map([...now.children].filter((child) => child.id).map((child) => [child.id, child]));
  const wanted = [...next.childNodes];
  wanted.forEach((child, index) => {
    const here = now.childNodes[index] ?? null;
    const same = child.id && known.get(child.id);
    if (same) {
      if (same !== here) now.insertBefore(same, here);
      update(same, child);
    } else if (here && !here.id && here.nodeName === child.nodeName) {
      update(here, child);
    } else {
      now.insertBefore(child, here);
    }
  });
  while (now.childNodes.length > wanted.length) now.lastChild.remove();
}

async function refresh() {
  try {
    const answer = await fetch(location.href, {cache: 'no-store'});
    const next = new DOMParser().parseFromString(await answer.text(), 'text/html');
    if (paused) return;
    const focused = document.activeElement;
    for (const id of ['made', 'main']) update(document.getElementById(id), next.getElementById(id));
    document.title = next.title;
    if (focused !== document.activeElement && focused.isConnected) focused.focus({preventScroll: true});
    say('');
  } catch {
    say('The server does not answer.');
  }
}

function say(text) {
  if (news.textContent !== text) news.textContent = text;
}

function show() {
  button.textContent = paused ? 'Resume updates' : 'Pause updates';
}

async function beat() {
  if (!paused && !document.hidden && getSelection().isCollapsed) await refresh();
  setTimeout(beat, SECONDS * 1000);
}

button.hidden = false;
button.addEventListener('click', () => {
  paused = !paused;
  sessionStorage.setItem('paused', String(paused));
  show();
  if (!paused) refresh();
});
show();
setTimeout(beat, SECONDS * 1000);
