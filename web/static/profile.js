/* profile.js: follows */
