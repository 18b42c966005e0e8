/**
 * Tells people that their browser is too old, in place of buttons that could not work there. No module and no new
 * syntax, so that an old browser can run it. What is asked for here is the youngest that the modules use.
 */

(function () {
  if (window.AbortSignal && AbortSignal.any && Promise.withResolvers) return;
  document.documentElement.className = "old";
  document.getElementById("old").hidden = false;
})();
