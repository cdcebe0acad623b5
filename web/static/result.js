/* result.js: follows */
