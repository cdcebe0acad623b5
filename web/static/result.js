/* result.js - the result page: the map's opacity, class and colours without a reload, print, copying the link.
 * Without this script the form reloads the page. */
'use strict';
document.documentElement.classList.add('js');
document.addEventListener('DOMContentLoaded', function () {
  const $ = (id) => document.getElementById(id);
  const form = $('explain'), heat = $('heat');
  let turn = 0;

  function blank(image) { /* nothing in it: every pixel is transparent */
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = 32;
    const context = canvas.getContext('2d');
    context.drawImage(image, 0, 0, 32, 32);
    return !context.getImageData(0, 0, 32, 32).data.some((v, i) => i % 4 === 3 && v);
  }
  function fetchMap() {
    const mine = ++turn, said = $('heat-said'), select = $('class'), image = new Image();
    const name = select.options[select.selectedIndex].text;
    const quiet = setTimeout(() => { said.textContent = form.dataset.loading; }, 300);
    image.onload = function () {
      clearTimeout(quiet);
      if (mine !== turn) return;
      const empty = blank(image);
      document.querySelectorAll('.heat').forEach((one) => { one.src = image.src; });
      heat.hidden = $('report-map').hidden = empty;
      $('where-text').textContent = empty ? form.dataset.blank : form.dataset.where;
      said.textContent = empty ? form.dataset.blank : form.dataset.shown.replace('%1', name);
      $('map-name').textContent = name;
    };
    image.onerror = function () {
      clearTimeout(quiet);
      if (mine === turn) said.textContent = form.dataset.failed;
    };
    image.src = form.dataset.heat + '?class=' + encodeURIComponent(select.value) + '&colormap=' + encodeURIComponent($('colormap').value);
  }
  if (form && heat) {
    const see = () => { heat.style.opacity = Number($('alpha').value) / 100; };
    $('alpha').addEventListener('input', see);
    see(); /* a browser keeps the slider's place over a reload */
    $('class').addEventListener('change', fetchMap);
    $('colormap').addEventListener('change', fetchMap);
    form.addEventListener('submit', (e) => e.preventDefault());
  }

  if ($('copy')) {
    $('copy').addEventListener('click', async function () {
      const button = $('copy'), field = $('link');
      field.select();
      try { await navigator.clipboard.writeText(field.value); } catch (e) { document.execCommand('copy'); }
      button.textContent = button.dataset.done;
    });
  }

  /* the kinds in question are open; the server says so too (`opened`), then nothing moves here */
  const kinds = document.querySelector('.kinds');
  if (!kinds.querySelector('[open]')) {
    Array.from(kinds.querySelectorAll('div > .kind')).slice(0, Number(kinds.dataset.open)).forEach((one) => { one.open = true; });
  }

  /* all shares are printed; where there is much to say it is set smaller, so that it stays one page */
  const said = Array.from(document.querySelectorAll('.kind.asked, .for-doctor')).map((n) => n.textContent).join('');
  document.body.classList.toggle('tight', said.length > 1300);
  const others = document.querySelector('.others');
  let was = false;
  addEventListener('beforeprint', function () { if (others) { was = others.open; others.open = true; } });
  addEventListener('afterprint', function () { if (others) others.open = was; });
  $('print').addEventListener('click', () => print());
});
