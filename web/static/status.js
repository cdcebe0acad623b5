/* status.js: follows */
