/* profile.js - the history: two pictures are ticked before they can be seen side by side; copying a new token.
 * Without this script the same forms work, and the server says what is missing. */
'use strict';
document.documentElement.classList.add('js');
document.addEventListener('DOMContentLoaded', function () {
  const $ = (id) => document.getElementById(id);
  const picks = Array.from(document.querySelectorAll('[name=pick]')), compare = $('compare-do');
  function count() {
    const ticked = picks.filter((box) => box.checked).length;
    picks.forEach((box) => { box.disabled = ticked === 2 && !box.checked; });
    compare.disabled = ticked !== 2;
    compare.hidden = picks.length < 2;
    $('compare-hint').hidden = picks.length < 2 || ticked === 2;
  }
  picks.forEach((box) => box.addEventListener('change', count));
  addEventListener('pageshow', count); /* a browser keeps ticks over "back" */
  count();

  if ($('copy')) {
    $('copy').addEventListener('click', async function () {
      const button = $('copy'), field = $('token');
      field.select();
      try { await navigator.clipboard.writeText(field.value); } catch (e) { document.execCommand('copy'); }
      button.textContent = button.dataset.done;
    });
  }
});
