// A session ends while the page is open: by time, by a sign-out in another tab, by an administrator. What is sent then
// is refused, and the page goes to where one signs in; what was typed or rated is kept (page.js, unsaved.js), and the
// way back leads here again. A page that is looked at again asks for itself, lest it shows the next person what was
// said. One that may not do what it offers, because the person, their role or the consent text has changed, is loaded
// again.
(() => {
  const { isOwn, isCall, isWork, use } = chatfeedback.transport;
  const NOT_SIGNED_IN = 401, NOT_ALLOWED = 403;
  const left = () => new Promise(() => {}); // the page is being left: no error has to be shown any more
  use("session", async (resource, options, next) => {
    const answer = await next(resource, options);
    if (!isOwn(resource)) return answer;
    if (answer.status === NOT_SIGNED_IN) {
      const here = window.location.pathname + window.location.search;
      chatfeedback.unsaved.leave(isCall(resource) ? options : null);
      window.addEventListener("pagehide", () => chatfeedback.unsaved.leave(null)); // with what was typed since
      window.location.assign(`/login?next=${encodeURIComponent(here)}&ended`);
      return left();
    }
    const last = Number(sessionStorage.getItem("chatfeedback:refused"));
    if (answer.status === NOT_ALLOWED && isWork(resource) && Date.now() - last > 10_000) {
      sessionStorage.setItem("chatfeedback:refused", Date.now()); // where it does not help: not again and again
      window.location.reload();
      return left();
    }
    return answer;
  });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") window.fetch("/gradio_api/app_id").catch(() => {}); // the answer says nothing
  });
  // Where the browser does not do it by itself when it is told to (sign_in.py), as without TLS.
  document.addEventListener("submit", (event) => {
    if (event.target.matches?.("#account form")) sessionStorage.clear();
  });
})();
