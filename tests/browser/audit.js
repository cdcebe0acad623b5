/* audit.js - what can be measured of a page's fitness for every reader, as a list of faults. Run by base.py in the page;
 * arguments[0]: {targets: whether sizes for fingers are asked}. Sources: WCAG 2.2, 1.4.3, 1.4.11, 2.5.5, 1.1.1, 1.3.1, 4.1.2. */
const faults = [], asked = arguments[0] || {};
const fault = (what, node) => faults.push(what + ': ' + (node.outerHTML || String(node)).replace(/\s+/g, ' ').slice(0, 140));
const shows = (node) => node.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && !node.closest('.hear, .away, [hidden]');

/* ---- colours: text against what lies behind it ---- */
function colour(text) {
  const found = text.match(/[\d.]+/g).map(Number), unit = text.startsWith('color(') ? 255 : 1;
  return [found[0] * unit, found[1] * unit, found[2] * unit, found.length > 3 ? found[3] : 1];
}
const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
function behind(node) { /* every layer from the page's ground up to here */
  const layers = [];
  for (let at = node; at; at = at.parentElement) {
    const style = getComputedStyle(at);
    layers.push(colour(style.backgroundColor));
    if (at.matches('dialog')) break;
  }
  const ground = colour(getComputedStyle(document.body).backgroundColor);
  return layers.reverse().reduce((below, layer) => over(layer, below), ground[3] ? ground : [255, 255, 255, 1]);
}
function light(c) {
  const [r, g, b] = c.map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : Math.pow((v + 0.055) / 1.055, 2.4); });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function contrast(a, b) {
  const [high, low] = [light(a), light(b)].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
}
function check(node, text, what, least) {
  const ground = behind(node), front = colour(text);
  for (let at = node; at; at = at.parentElement) front[3] *= Number(getComputedStyle(at).opacity);
  const got = contrast(over(front, ground), ground);
  if (got < least) fault(what + ' contrast ' + got.toFixed(2), node);
}
const seen = new Set(), walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || seen.has(node) || !shows(node)) continue;
  seen.add(node);
  const style = getComputedStyle(node);
  check(node, node instanceof SVGElement ? style.fill : style.color, 'text', 4.5);
  if (parseFloat(style.fontSize) < 12 || (node.matches('svg text') && node.getBoundingClientRect().height < 11)) fault('text of ' + style.fontSize, node);
}
document.querySelectorAll('input:not([type=hidden],[type=checkbox],[type=radio],[type=range],[type=file]), select, textarea').forEach(function (node) {
  if (!shows(node)) return;
  check(node, getComputedStyle(node).color, 'field', 4.5);
  const edge = getComputedStyle(node).borderTopColor, got = contrast(over(colour(edge), behind(node.parentElement)), behind(node.parentElement));
  if (got < 3) fault('edge contrast ' + got.toFixed(2), node);
});

/* ---- names and structure ---- */
const labelled = (node) => (node.getAttribute('aria-labelledby') || '').split(' ').filter(Boolean).map((id) => document.getElementById(id)).filter(Boolean).map((n) => n.textContent).join(' ');
document.querySelectorAll('input:not([type=hidden]), select, textarea, button, a[href], summary, [role], dialog, nav, svg[role=img], meter, progress').forEach(function (node) {
  if (!shows(node) || node.closest('[aria-hidden=true]')) return;
  const own = node.matches('input, select, textarea') ? Array.from(node.labels || []).map((l) => l.textContent).join(' ') : node.textContent;
  const image = Array.from(node.querySelectorAll ? node.querySelectorAll('img') : []).map((i) => i.alt).join(' ');
  const name = (node.getAttribute('aria-label') || '') + labelled(node) + own + image;
  if (!name.trim() && !node.matches('[role=status], [role=alert]')) fault('no name', node);
});
document.querySelectorAll('img').forEach((image) => { if (!image.hasAttribute('alt')) fault('no alt', image); });
const ids = Array.from(document.querySelectorAll('[id]')).map((n) => n.id);
ids.forEach((id, i) => { if (ids.indexOf(id) !== i) fault('twice', document.getElementById(id)); });
['for', 'aria-labelledby', 'aria-describedby', 'form', 'aria-controls'].forEach((name) => document.querySelectorAll('[' + name + ']').forEach(function (node) {
  node.getAttribute(name).split(' ').forEach((id) => { if (!document.getElementById(id)) fault(name + ' leads nowhere', node); });
}));
let level = 0;
const heads = Array.from(document.querySelectorAll('h1, h2, h3, h4')).filter((n) => shows(n) && !n.closest('dialog'));
if (heads.filter((n) => n.tagName === 'H1').length !== 1) fault('headings of the first level: ' + heads.filter((n) => n.tagName === 'H1').length, document.title);
heads.forEach(function (node) {
  if (Number(node.tagName[1]) > level + 1) fault('a level is skipped', node);
  level = Number(node.tagName[1]);
});
if (document.querySelectorAll('main').length !== 1) fault('main', document.body);
if (!document.title.trim()) fault('no title', document.head);
document.querySelectorAll('[tabindex]').forEach((n) => { if (n.tabIndex > 0) fault('tabindex', n); });
document.querySelectorAll('[style], [onclick]').forEach((n) => { if (n.hasAttribute('onclick')) fault('inline handler', n); });
document.querySelectorAll('main *').forEach((n) => {
  if (n.childNodes.length === 1 && n.firstChild.nodeType === 3 && /\{\{|\}\}|undefined|\bnull\b|NaN|%\d\b|\{\w+\}/.test(n.textContent) && shows(n)) fault('left-over', n);
});

/* ---- room ---- */
const wide = document.documentElement.clientWidth; /* innerWidth grows with what sticks out on a phone */
if (document.documentElement.scrollWidth > wide || innerWidth > wide) fault('sideways ' + document.documentElement.scrollWidth + ' > ' + wide, document.title);
document.querySelectorAll('body *').forEach(function (node) {
  if (!shows(node) || node.closest('svg, .scroll, .finder, .away, .hear') || node.id === 'square') return;
  const box = node.getBoundingClientRect();
  if (box.width && (box.right > wide + 0.5 || (box.left < -0.5 && !node.matches('.skip')))) fault('beyond the edge', node);
  if (node.clientWidth && node.scrollWidth > node.clientWidth + 1 && getComputedStyle(node).display !== 'inline' && node.matches('p, li, a, button, summary, h1, h2, h3, label, dd, dt, td, th, span, figcaption, option, select')) fault('cut or overflowing', node);
});
document.querySelectorAll('img').forEach(function (image) {
  const box = image.getBoundingClientRect();
  if (!shows(image) || !image.naturalWidth || getComputedStyle(image).objectFit === 'contain' || image.matches('.heat')) return;
  if (Math.abs(box.width / box.height - image.naturalWidth / image.naturalHeight) > 0.02) fault('stretched', image);
});
document.querySelectorAll('.frame').forEach(function (frame) { /* the map lies exactly on the photograph */
  const a = frame.querySelector('.photo').getBoundingClientRect(), heat = frame.querySelector('.heat');
  if (!heat || !shows(heat)) return;
  const b = heat.getBoundingClientRect();
  if (['left', 'top', 'width', 'height'].some((k) => Math.abs(a[k] - b[k]) > 0.5)) fault('the map lies beside the photograph', heat);
});
document.querySelectorAll('.away, .hear').forEach((n) => { if (n.getBoundingClientRect().width > 2) fault('hidden, but takes room', n); });
if (asked.targets) {
  document.querySelectorAll('button, .button, summary, select, textarea, input:not([type=hidden],[type=checkbox],[type=radio]), .top a, .bottom a, .entry').forEach(function (node) {
    if (!shows(node) || node.matches('.skip')) return;
    const box = node.getBoundingClientRect();
    if (box.height < 43.9 || box.width < 43.9) fault('target of ' + box.width.toFixed(0) + ' x ' + box.height.toFixed(0), node);
  });
  document.querySelectorAll('input[type=checkbox], input[type=radio]').forEach(function (node) {
    const label = node.labels && node.labels[0];
    if (shows(node) && (!label || label.getBoundingClientRect().height < 43.9)) fault('target', node);
  });
}
return faults;
