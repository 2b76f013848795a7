// theme.js: the chosen theme, set before the first paint. Loaded in <head>; app.js holds the buttons.
try {
  const theme = localStorage.getItem("theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch { /* storage is off: the system's theme stands */ }
