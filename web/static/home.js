/* home.js: follows */
