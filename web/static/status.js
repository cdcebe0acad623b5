/* status.js - the operator's page: asks /status/data every 2 s while the page is seen, and draws. */
'use strict';
document.documentElement.classList.add('js');
document.addEventListener('DOMContentLoaded', function () {
  const $ = (id) => document.getElementById(id);
  const say = $('texts').dataset, live = $('live').dataset, lang = document.documentElement.lang;
  const number = (v, digits) => Number(v).toLocaleString(lang, { maximumFractionDigits: digits });
  const mb = (bytes) => (bytes === undefined || bytes === null ? '–' : number(bytes / 1e6, 1) + ' MB');
  const ms = (v) => (v === undefined || v === null ? '–' : number(v, v < 10 ? 1 : 0) + ' ms');
  let timer = 0, asking = false, last = null;

  function svg(name, attributes, text) {
    const node = document.createElementNS('http://www.w3.org/2000/svg', name);
    Object.keys(attributes).forEach((key) => node.setAttribute(key, attributes[key]));
    if (text !== undefined) node.textContent = text;
    return node;
  }
  function html(name, text, className) {
    const node = document.createElement(name);
    if (text !== undefined) node.textContent = text;
    if (className) node.className = className;
    return node;
  }
  function span(seconds) {
    const d = Math.floor(seconds / 86400), h = Math.floor(seconds % 86400 / 3600), m = Math.floor(seconds % 3600 / 60);
    return (d ? d + ' d ' : '') + (d || h ? h + ' h ' : '') + m + ' min';
  }
  function said(text) { if ($('live').textContent !== text) $('live').textContent = text; }

  function numbers(data) {
    const rows = [[say.rss, mb(data.rss_bytes)], [say.peak, mb(data.peak_bytes)], [say.bound, mb(data.bound_bytes)]];
    if (data.queue) rows.push([say.queue, say.queued.replace('%1', data.queue.waiting).replace('%2', data.queue.limit).replace('%3', data.queue.running)]);
    if (data.model) {
      rows.push([say.model, data.model.name + ', ' + (say[data.model.state] || data.model.state)], [say.loads, number(data.model.loads, 0)]);
      if (data.model.sha256) rows.push([say.hash, data.model.sha256.slice(0, 12) + ' …']);
    }
    rows.push([say.uptime, span(data.uptime_s || 0)], [say.version, data.version]);
    const list = $('numbers');
    list.textContent = '';
    rows.forEach(function (row) {
      const div = html('div');
      div.append(html('dt', row[0]), html('dd', row[1]));
      list.appendChild(div);
    });
  }
  const mine = []; /* what this page has seen since it was opened, between and after the server's samples */
  function memory(data) {
    const chart = $('memory'), now = performance.now() / 1000, W = Math.max(240, chart.clientWidth), H = 200, L = 62, R = 8, T = 12, B = 26;
    const points = (data.memory || []).concat(mine.map((p) => [now - p[0], p[1]])).sort((p, q) => q[0] - p[0]);
    const peak = Math.max(data.peak_bytes || 0, 1), bound = data.bound_bytes || 0;
    const far = bound > 3 * peak, most = far ? peak * 1.2 : Math.max(bound, peak), top = most * 1.08; /* else the curve is flat */
    const longest = Math.max(60, points[0][0]);
    const x = (ago) => W - R - ago / longest * (W - L - R), y = (bytes) => H - B - bytes / top * (H - T - B);
    chart.setAttribute('viewBox', '0 0 ' + W + ' ' + H); /* as wide as it stands there: its letters keep their size */
    chart.textContent = '';
    [0, 0.5, 1].forEach(function (share) {
      const bytes = share * most;
      chart.append(svg('line', { class: 'axis', x1: L, x2: W - R, y1: y(bytes), y2: y(bytes) }),
        svg('text', { x: L - 6, y: y(bytes) + 4, 'text-anchor': 'end' }, number(bytes / 1e6, 0) + ' MB'));
    });
    chart.append(svg('text', { x: L, y: H - 8 }, number(longest, 0) + ' ' + say.seconds), svg('text', { x: W - R, y: H - 8, 'text-anchor': 'end' }, say.now));
    if (bound && !far) chart.append(svg('line', { class: 'bound', x1: L, x2: W - R, y1: y(bound), y2: y(bound) }));
    $('bound-key').hidden = !bound || far;
    const line = points.map((p) => x(p[0]).toFixed(1) + ' ' + y(p[1]).toFixed(1)).join('L');
    chart.append(svg('path', { class: 'under', d: 'M' + line + 'L' + x(0) + ' ' + y(0) + 'L' + x(points[0][0]) + ' ' + y(0) + 'Z' }),
      svg('path', { class: 'rss', d: 'M' + line }));
  }
  function latency(data) {
    const box = $('latency');
    box.textContent = '';
    (data.latency || []).forEach(function (one) {
      const figure = html('figure'), W = 320, H = 120, B = 22, T = 6;
      let buckets = one.buckets || [];
      while (buckets.length > 1 && !buckets[buckets.length - 1][1]) buckets = buckets.slice(0, -1);
      while (buckets.length > 1 && !buckets[0][1]) buckets = buckets.slice(1);
      const most = Math.max(1, ...buckets.map((b) => b[1])), step = (W - 8) / Math.max(1, buckets.length);
      const name = say['stage' + one.stage[0].toUpperCase() + one.stage.slice(1)] || one.stage;
      const told = 'p50 ' + ms(one.p50_ms) + ' · p95 ' + ms(one.p95_ms) + ' · p99 ' + ms(one.p99_ms);
      const chart = svg('svg', { class: 'chart', viewBox: '0 0 ' + W + ' ' + H, role: 'img', 'aria-label': name + ': ' + told });
      const every = Math.ceil(buckets.length / 7);
      buckets.forEach(function (bucket, i) {
        const h = bucket[1] / most * (H - B - T);
        const column = svg('rect', { class: 'column', x: 4 + i * step + 1, width: Math.max(1, step - 2), y: H - B - h, height: h });
        const edge = bucket[0] === null || bucket[0] === '+Inf' ? '∞' : number(bucket[0], 1);
        column.appendChild(svg('title', {}, '≤ ' + edge + ' ms: ' + number(bucket[1], 0)));
        chart.appendChild(column);
        if (i % every === 0) chart.appendChild(svg('text', { x: 4 + (i + 0.5) * step, y: H - 7, 'text-anchor': 'middle' }, edge));
      });
      figure.append(html('h3', name), chart, html('figcaption', told, 'hint'));
      box.appendChild(figure);
    });
    if (!box.firstChild) box.appendChild(html('p', say.none, 'hint'));
  }
  function requests(data) {
    const body = $('requests');
    body.textContent = '';
    (data.requests || []).slice().sort((a, b) => b.count - a.count).forEach(function (one) {
      const row = html('tr');
      row.append(html('td', one.route.replace('(none)', say.other).trim()), html('td', String(one.status)), html('td', number(one.count, 0), 'number'));
      body.appendChild(row);
    });
  }
  async function ask() {
    clearTimeout(timer);
    if (document.hidden) { said(live.paused); return; }
    if (asking) return;
    asking = true;
    try {
      const answer = await fetch('/status/data', { credentials: 'same-origin', cache: 'no-store' });
      if (answer.status === 401 || answer.status === 403) { location.reload(); return; }
      if (!answer.ok) throw new Error(answer.status);
      const data = last = await answer.json();
      mine.push([performance.now() / 1000, data.rss_bytes]);
      if (mine.length > 1000) mine.shift();
      numbers(data);
      memory(data);
      latency(data);
      requests(data);
      said(live.live);
    } catch (e) {
      said(live.lost);
    }
    asking = false;
    timer = setTimeout(ask, 2000);
  }
  document.addEventListener('visibilitychange', ask);
  addEventListener('resize', function () { if (last) memory(last); });
  ask();
});
