/* home.js - the start page: choosing a picture (camera, file, drop, paste), the square round the spot, advice on the
 * photograph, sending. Without this script the page is a plain form. The picture itself is sent as it is, with the
 * square as whole pixels; only what is larger than the limit, or of a kind that the server does not read but the
 * browser does, is drawn anew as JPEG, and the square with it. */
'use strict';
document.documentElement.classList.add('js');
document.addEventListener('DOMContentLoaded', function () {
  const $ = (id) => document.getElementById(id);
  const say = $('texts').dataset;
  const form = $('send'), stage = $('stage'), square = $('square'), shown = $('picture'), dialog = $('camera'), video = $('video');
  const limit = (Number(form.dataset.limit) || 5e6) - 20000; /* bytes; the rest is for the form round it */
  const PIXELS = 12e6;   /* most that is drawn on a canvas: phones refuse more than 16 million */
  const GUIDE = 0.6;     /* diameter of the camera's circle, of the shorter side */
  const CHECK = 256;     /* side of the reduced picture that the advice is computed on */
  let picture = null;    /* {file, kind, image, url, width, height, x, y, side, whole} in pixels of the upright picture */
  let busy = false, opening = 0, adviceTimer = 0, saidTimer = 0;

  form.noValidate = true; /* the file input is hidden now; what is sent is put together below */

  /* ---- messages ---- */
  function problem(text) {
    $('problem').textContent = text || '';
    $('problem').hidden = !text;
    if (text && $('problem').scrollIntoView) $('problem').scrollIntoView({ block: 'nearest' });
  }
  function wait(text) {
    $('wait-text').textContent = text || '';
    $('wait').hidden = !text;
    $('sent').hidden = text !== say.sending;
    if (text) $('wait').scrollIntoView({ block: 'nearest' }); /* below the button, so below a small window's edge */
  }

  /* ---- a picture comes in ---- */
  function kindOf(head) { /* by the first bytes, as the server does it */
    const text = String.fromCharCode.apply(null, head);
    if (head[0] === 0xff && head[1] === 0xd8 && head[2] === 0xff) return 'jpeg';
    if (text.slice(0, 8) === '\x89PNG\r\n\x1a\n') return 'png';
    if (text.slice(0, 4) === 'RIFF' && text.slice(8, 12) === 'WEBP') return 'webp';
    if (text.slice(4, 8) === 'ftyp' && /^(hei|hev|mif1|msf1)/.test(text.slice(8, 12))) return 'heic';
    return '';
  }
  function load(url) {
    return new Promise(function (done, fail) {
      const image = new Image();
      image.onload = () => (image.naturalWidth ? done(image) : fail());
      image.onerror = fail;
      image.src = url;
    });
  }
  async function open(file, share) {
    if (busy || !file) return;
    const turn = ++opening;
    problem();
    wait(say.reading);
    let kind = '', image = null, url = '';
    try {
      kind = kindOf(new Uint8Array(await new Response(file.slice(0, 16)).arrayBuffer()));
      url = URL.createObjectURL(file);
      if (!/svg/.test(file.type)) image = await load(url);
    } catch (e) { /* said below */ }
    if (turn !== opening) { URL.revokeObjectURL(url); return; }
    wait();
    if (!image) {
      URL.revokeObjectURL(url);
      const heic = kind === 'heic' || (!kind && (/hei[cf]/i.test(file.type) || /\.hei[cf]$/i.test(file.name || '')));
      problem(heic ? say.heic : kind ? say.damaged : say.unreadable);
      return;
    }
    if (picture) URL.revokeObjectURL(picture.url);
    const width = image.naturalWidth, height = image.naturalHeight, side = Math.round(Math.min(width, height) * (share || 1));
    picture = { file, kind, image, url, width, height, side, x: (width - side) / 2, y: (height - side) / 2, whole: false };
    shown.width = width;
    shown.height = height;
    shown.src = url;
    $('whole').checked = false;
    $('advice').textContent = '';
    if (!history.state) history.pushState({ edit: true }, ''); /* so that "back" leads to the choice, not off the page */
    show(true);
    place();
    $('edit').querySelector('h1').focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  function show(edit) {
    $('start').hidden = $('around').hidden = edit;
    $('edit').hidden = $('actions').hidden = !edit;
  }
  function reset() {
    if (picture) URL.revokeObjectURL(picture.url);
    picture = null;
    opening++;
    setBusy(false);
    problem();
    shown.removeAttribute('src');
    $('image').value = $('capture').value = '';
    show(false);
  }

  /* ---- the square ---- */
  const clamp = (v, low, high) => Math.max(low, Math.min(v, high));
  const shorter = () => Math.min(picture.width, picture.height);
  function place() {
    const p = picture;
    p.side = clamp(p.side, shorter() / 10, shorter());
    p.x = clamp(p.x, 0, p.width - p.side);
    p.y = clamp(p.y, 0, p.height - p.side);
    square.hidden = p.whole;
    square.style.left = p.x / p.width * 100 + '%';
    square.style.top = p.y / p.height * 100 + '%';
    square.style.width = p.side / p.width * 100 + '%';
    square.style.height = p.side / p.height * 100 + '%';
    $('size').value = Math.round(p.side / shorter() * 100);
    $('size').disabled = $('smaller').disabled = $('larger').disabled = p.whole;
    clearTimeout(adviceTimer);
    adviceTimer = setTimeout(advise, 200);
  }
  function resize(side) { /* round its middle */
    const p = picture, old = p.side;
    p.side = clamp(side, shorter() / 10, shorter());
    p.x += (old - p.side) / 2;
    p.y += (old - p.side) / 2;
    place();
  }
  function tell() { /* where the square is now, for those who do not see it; once the keys rest */
    clearTimeout(saidTimer);
    saidTimer = setTimeout(function () {
      if (!picture) return;
      const percent = (v, of) => Math.round(v / of * 100);
      $('square-said').textContent = say.moved.replace('%1', percent(picture.x, picture.width))
        .replace('%2', percent(picture.y, picture.height)).replace('%3', percent(picture.side, picture.width));
    }, 500);
  }
  const points = new Map(); /* pointers that are down on the square, in pixels of the picture */
  let grip = null;          /* one pointer: {corner, ...}; two: {distance, side} */
  function at(event) {
    const box = stage.getBoundingClientRect();
    return { x: (event.clientX - box.left) / box.width * picture.width, y: (event.clientY - box.top) / box.height * picture.height };
  }
  function grasp() {
    const p = picture, list = Array.from(points.values());
    if (list.length === 2) {
      grip = { distance: Math.hypot(list[0].x - list[1].x, list[0].y - list[1].y) || 1, side: p.side };
    } else if (list.length === 1) {
      const near = 30 / stage.getBoundingClientRect().width * p.width, o = list[0];
      const reach = Math.min(near, p.side / 3);
      const left = o.x - p.x < reach, right = p.x + p.side - o.x < reach, top = o.y - p.y < reach, bottom = p.y + p.side - o.y < reach;
      /* a corner: the opposite one stays */
      grip = (left || right) && (top || bottom)
        ? { fixedX: left ? p.x + p.side : p.x, fixedY: top ? p.y + p.side : p.y, left, top }
        : { dx: o.x - p.x, dy: o.y - p.y };
    } else grip = null;
  }
  square.addEventListener('pointerdown', function (e) {
    if (busy || (e.pointerType === 'mouse' && e.button) || points.size === 2) return;
    square.setPointerCapture(e.pointerId);
    points.set(e.pointerId, at(e));
    grasp();
  });
  square.addEventListener('pointermove', function (e) {
    if (!points.has(e.pointerId) || !grip || !picture) return;
    const p = picture, o = at(e);
    points.set(e.pointerId, o);
    if (grip.distance) {
      const l = Array.from(points.values());
      resize(grip.side * Math.hypot(l[0].x - l[1].x, l[0].y - l[1].y) / grip.distance);
    } else if (grip.fixedX !== undefined) {
      const roomX = grip.left ? grip.fixedX : p.width - grip.fixedX, roomY = grip.top ? grip.fixedY : p.height - grip.fixedY;
      const want = Math.max(Math.abs(o.x - grip.fixedX), Math.abs(o.y - grip.fixedY));
      p.side = Math.max(shorter() / 10, Math.min(want, roomX, roomY));
      p.x = grip.left ? grip.fixedX - p.side : grip.fixedX;
      p.y = grip.top ? grip.fixedY - p.side : grip.fixedY;
      place();
    } else {
      p.x = o.x - grip.dx;
      p.y = o.y - grip.dy;
      place();
    }
  });
  ['pointerup', 'pointercancel', 'lostpointercapture'].forEach((name) => square.addEventListener(name, function (e) {
    if (points.delete(e.pointerId) && picture) grasp();
  }));
  /* else Chromium takes a quick move for a fling, and the tap that follows for its end: "Look at it" would do nothing */
  square.addEventListener('touchmove', (e) => e.preventDefault(), { passive: false });
  stage.addEventListener('click', function (e) { /* a tap beside it: the square comes there */
    if (busy || !picture || picture.whole || square.contains(e.target)) return;
    const o = at(e);
    picture.x = o.x - picture.side / 2;
    picture.y = o.y - picture.side / 2;
    place();
  });
  square.addEventListener('keydown', function (e) {
    if (busy || e.ctrlKey || e.metaKey || e.altKey) return;
    const step = shorter() * (e.shiftKey ? 0.1 : 0.02), p = picture;
    if (e.key === 'ArrowLeft') p.x -= step;
    else if (e.key === 'ArrowRight') p.x += step;
    else if (e.key === 'ArrowUp') p.y -= step;
    else if (e.key === 'ArrowDown') p.y += step;
    else if (e.key === '+' || e.key === '=') resize(p.side + shorter() * 0.05);
    else if (e.key === '-' || e.key === '_' || e.key === '−') resize(p.side - shorter() * 0.05);
    else return;
    e.preventDefault();
    place();
    tell();
  });
  $('size').addEventListener('input', () => resize(Number($('size').value) / 100 * shorter()));
  $('smaller').addEventListener('click', function () { resize(picture.side - shorter() * 0.1); tell(); });
  $('larger').addEventListener('click', function () { resize(picture.side + shorter() * 0.1); tell(); });
  $('whole').addEventListener('change', function () { picture.whole = $('whole').checked; place(); });

  /* ---- advice: on what would be looked at, reduced; never a wall ---- */
  function measure(p) {
    const canvas = document.createElement('canvas');
    const w = p.whole ? p.width : p.side, h = p.whole ? p.height : p.side, k = Math.min(1, CHECK / Math.max(w, h));
    const cw = canvas.width = Math.max(8, Math.round(w * k)), ch = canvas.height = Math.max(8, Math.round(h * k));
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.imageSmoothingQuality = 'high';
    context.drawImage(p.image, p.whole ? 0 : p.x, p.whole ? 0 : p.y, w, h, 0, 0, cw, ch);
    const data = context.getImageData(0, 0, cw, ch).data, light = new Float32Array(cw * ch);
    let sum = 0, white = 0;
    for (let i = 0; i < light.length; i++) {
      const r = data[4 * i], g = data[4 * i + 1], b = data[4 * i + 2];
      sum += light[i] = 0.299 * r + 0.587 * g + 0.114 * b;
      if (Math.min(r, g, b) >= 248) white++;
    }
    /* variance of the Laplacian by tiles of 32; the sharpest tenth counts, for skin round a spot is smooth */
    const tiles = [], T = 32;
    for (let ty = 1; ty + T < ch; ty += T) {
      for (let tx = 1; tx + T < cw; tx += T) {
        let s = 0, q = 0;
        for (let y = ty; y < ty + T; y++) {
          for (let x = tx; x < tx + T; x++) {
            const i = y * cw + x, l = light[i - 1] + light[i + 1] + light[i - cw] + light[i + cw] - 4 * light[i];
            s += l;
            q += l * l;
          }
        }
        tiles.push(q / (T * T) - s / (T * T) * (s / (T * T)));
      }
    }
    tiles.sort((a, b) => b - a);
    const mean = sum / light.length; /* the variance against the mean's square: a dark picture is not a blurred one */
    return { mean, white: white / light.length, sharp: tiles.length ? tiles[Math.floor(tiles.length / 10)] / (mean * mean) : Infinity, pixels: Math.min(w, h) };
  }
  function advise() {
    if (!picture) return;
    let m;
    try { m = measure(picture); } catch (e) { return; }
    const found = picture.advice = [];
    if (m.pixels < 200) found.push('few');
    /* 240 photographs of ISIC 2017 and PAD-UFES-20: 2 look blurred by this, 1 glaring, none dark or bright; blurred by
     * 1/80 to 1/20 of their side, all do */
    if (m.sharp < 4e-4 && m.mean <= 225) found.push('blur'); /* what is white all over cannot be judged */
    if (m.mean < 70) found.push('dark');
    if (m.mean > 225) found.push('bright');
    else if (m.white > 0.02) found.push('glare');
    const lines = found.map((one) => say[one]), list = $('advice'), key = lines.join('\n') || say.fine;
    if (list.dataset.key === key && list.firstChild) return; /* the same again is not said again */
    list.dataset.key = key;
    list.textContent = '';
    (lines.length ? lines : [say.fine]).forEach(function (text) {
      const item = document.createElement('li');
      item.textContent = text;
      if (!lines.length) item.className = 'fine-one';
      list.appendChild(item);
    });
  }

  /* ---- sending ---- */
  async function drawn(p) { /* {blob, k}: the picture as JPEG below the limit, k times its size */
    let k = Math.min(1, Math.sqrt(PIXELS / (p.width * p.height)));
    for (let tries = 0; tries < 10; tries++, k *= 0.8) {
      const canvas = document.createElement('canvas');
      canvas.width = Math.max(1, Math.round(p.width * k));
      canvas.height = Math.max(1, Math.round(p.height * k));
      const context = canvas.getContext('2d');
      context.fillStyle = '#fff'; /* below what is transparent */
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.imageSmoothingQuality = 'high';
      context.drawImage(p.image, 0, 0, canvas.width, canvas.height);
      const blob = await new Promise((done) => canvas.toBlob(done, 'image/jpeg', 0.92));
      const size = { width: canvas.width, height: canvas.height };
      canvas.width = canvas.height = 0; /* phones count canvases */
      if (blob && blob.size <= limit) return { blob, width: size.width, height: size.height };
    }
    throw new Error('too large');
  }
  function cropOf(p, width, height) {
    if (p.whole || (p.side >= p.width && p.side >= p.height)) return '';
    const side = Math.max(1, Math.min(Math.round(p.side * width / p.width), width, height));
    const x = clamp(Math.round(p.x * width / p.width), 0, width - side), y = clamp(Math.round(p.y * height / p.height), 0, height - side);
    return x + ',' + y + ',' + side + ',' + side;
  }
  function setBusy(on) {
    busy = on;
    form.setAttribute('aria-busy', on);
    ['look', 'another', 'whole'].forEach((id) => { $(id).disabled = on; });
    ['size', 'smaller', 'larger'].forEach((id) => { $(id).disabled = on || !!(picture && picture.whole); });
    if (!on) wait();
  }
  function post(body) {
    return new Promise(function (done, fail) {
      const request = new XMLHttpRequest();
      let slow = 0;
      request.open('POST', form.action);
      request.setRequestHeader('Accept', 'application/json');
      request.timeout = 310000;
      request.upload.onprogress = (e) => { if (e.lengthComputable) $('sent').value = e.loaded / e.total; };
      request.upload.onload = function () {
        wait(say.looking);
        slow = setTimeout(() => wait(say.slow), 8000);
      };
      request.onloadend = function () {
        clearTimeout(slow);
        if (!request.status) { fail(say.offline); return; }
        let answer = {};
        try { answer = JSON.parse(request.responseText); } catch (e) { /* a page: redirected, or a proxy's */ }
        if (request.status < 300 && answer.url) done(answer.url);
        else if (request.status < 300 && /\/result\/./.test(request.responseURL)) done(request.responseURL);
        else fail((answer.error && answer.error.message) || say.failed);
      };
      request.send(body);
    });
  }
  form.addEventListener('submit', async function (e) {
    e.preventDefault();
    if (!picture || busy) return;
    problem();
    setBusy(true);
    $('sent').value = 0;
    wait(say.sending);
    try {
      const p = picture, as = /jpeg|png|webp/.test(p.kind) && p.file.size <= limit;
      let out = { blob: p.file, width: p.width, height: p.height };
      if (!as) {
        try { out = await drawn(p); } catch (error) { throw say.failed; }
      }
      const body = new FormData();
      body.append('csrf', form.elements.csrf.value);
      body.append('crop', cropOf(p, out.width, out.height));
      body.append('advice', (p.advice || []).join(',')); /* the result says it once more */
      const keep = form.elements.keep;
      if (keep && keep.checked) body.append('keep', '1');
      body.append('image', out.blob, as ? 'photo.' + p.kind : 'photo.jpeg');
      const url = await post(body);
      wait(say.drawing);
      location.replace(url); /* takes the place of the preview, so that "back" leads to the choice */
    } catch (text) {
      setBusy(false);
      problem(typeof text === 'string' ? text : say.failed);
    }
  });

  /* ---- ways in ---- */
  $('choose').addEventListener('click', () => $('image').click());
  [$('image'), $('capture')].forEach((input) => input.addEventListener('change', () => open(input.files[0])));
  $('another').addEventListener('click', function () {
    if (history.state) history.back();
    else reset();
  });
  addEventListener('popstate', function () { if (picture && !history.state) { reset(); $('choose').focus(); } });
  addEventListener('pageshow', function (e) { if (e.persisted) reset(); });
  document.addEventListener('paste', function (e) {
    const files = e.clipboardData && e.clipboardData.files;
    if (files && files.length && !dialog.open) { e.preventDefault(); open(files[0]); }
  });
  const carries = (e) => e.dataTransfer && Array.from(e.dataTransfer.types).includes('Files');
  document.addEventListener('dragover', function (e) {
    if (!carries(e)) return;
    e.preventDefault();
    $('drop').classList.add('over');
  });
  document.addEventListener('dragleave', function (e) { if (!e.relatedTarget) $('drop').classList.remove('over'); });
  document.addEventListener('drop', function (e) {
    if (!carries(e)) return;
    e.preventDefault();
    $('drop').classList.remove('over');
    open(e.dataTransfer.files[0]);
  });

  /* ---- camera ---- */
  let stream = null, starting = 0, refused = '';
  function release() {
    starting++;
    if (stream) stream.getTracks().forEach((track) => track.stop());
    stream = null;
    video.srcObject = null;
    $('shoot').disabled = true;
  }
  function guide() {
    const box = video.getBoundingClientRect(), k = Math.min(box.width / video.videoWidth, box.height / video.videoHeight);
    const side = Math.min(video.videoWidth, video.videoHeight) * k * GUIDE;
    dialog.querySelector('.guide').style.width = dialog.querySelector('.guide').style.height = (side || 0) + 'px';
  }
  async function start(facing) {
    release();
    const turn = starting;
    $('camera-wait').hidden = false;
    let got = null;
    const size = { width: { ideal: 1920 }, height: { ideal: 1440 } };
    const others = video.dataset.devices ? video.dataset.devices.split('\n') : null; /* cameras that do not say where they look */
    const which = others ? { deviceId: { exact: others[facing === 'user' ? 1 : 0] } } : { facingMode: { ideal: facing } };
    try {
      got = await navigator.mediaDevices.getUserMedia({ audio: false, video: Object.assign(which, size) });
      if (turn !== starting || !dialog.open) { got.getTracks().forEach((track) => track.stop()); return; }
      stream = got;
      video.srcObject = got;
      await video.play();
    } catch (e) {
      if (got) got.getTracks().forEach((track) => track.stop());
      if (turn !== starting) return;
      refused = e.name === 'NotAllowedError' || e.name === 'SecurityError' ? say.denied : say.nocamera;
      dialog.close();
      problem(refused);
      $('choose').focus();
      return;
    }
    if (turn !== starting) return;
    const track = stream.getVideoTracks()[0], seen = (track.getSettings ? track.getSettings().facingMode : '') || '';
    video.classList.toggle('mirror', seen === 'user');
    track.onended = function () { if (stream && dialog.open) { dialog.close(); problem(say.nocamera); } };
    $('camera-wait').hidden = true;
    $('shoot').disabled = false;
    guide();
    if (document.activeElement.name !== 'facing') $('shoot').focus();
    try {
      const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((d) => d.kind === 'videoinput');
      $('facing').hidden = cameras.length < 2;
      if (cameras.length > 1 && !seen && !others) video.dataset.devices = cameras.slice(0, 2).map((d) => d.deviceId).join('\n');
    } catch (e) { /* then there is no choice */ }
  }
  $('take').addEventListener('click', function () {
    const can = navigator.mediaDevices && navigator.mediaDevices.getUserMedia && dialog.showModal;
    problem();
    if (can && !refused) {
      dialog.showModal();
      start(dialog.querySelector('[name=facing]:checked').value);
    } else if (can || matchMedia('(pointer: coarse)').matches) {
      $('capture').click(); /* the phone's own camera; after a refusal too */
      refused = ''; /* it may have been allowed meanwhile: asked again next time */
    } else problem(isSecureContext ? say.nocamera : say.insecure);
  });
  dialog.addEventListener('change', (e) => { if (e.target.name === 'facing') start(e.target.value); });
  dialog.addEventListener('close', release);
  $('camera-close').addEventListener('click', () => dialog.close());
  $('shoot').addEventListener('click', function () {
    if (!stream || !video.videoWidth) return;
    const canvas = document.createElement('canvas');
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext('2d').drawImage(video, 0, 0);
    canvas.toBlob(function (blob) {
      dialog.close();
      if (blob) open(blob, Math.min(1, GUIDE * 1.2));
      else problem(say.nocamera);
    }, 'image/jpeg', 0.95);
  });
  addEventListener('resize', function () { if (stream) guide(); });
  addEventListener('pagehide', function () { if (dialog.open) dialog.close(); });
});
