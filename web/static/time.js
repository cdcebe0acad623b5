/* time.js - times in the reader's zone; without this script they are the server's, with the zone's name. */
'use strict';
document.addEventListener('DOMContentLoaded', function () {
  const lang = document.documentElement.lang;
  document.querySelectorAll('time').forEach(function (one) {
    const when = { day: 'numeric', month: lang === 'vi' ? 'numeric' : 'short', year: 'numeric', hour: '2-digit', minute: '2-digit' };
    if (!one.closest('.entries')) when.timeZoneName = 'short'; /* what is printed or passed on says whose time it is */
    one.textContent = new Date(one.dateTime).toLocaleString(lang === 'vi' ? 'vi' : 'en-GB', when);
  });
});
