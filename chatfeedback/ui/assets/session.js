// End of a session while the page is open: by expiry, by sign-out in another tab, or by an administrator. The server
// then refuses calls with 401, and the page goes to the sign-in page, which leads back here. Drafts and feedback are
// kept (page.js, unsaved.js). A page that becomes visible checks its session, so that the next person at the browser
// does not see the conversation. A page whose call is refused with 403, because the person, their role or the consent
// text has changed, is reloaded.
(() => {
  const { isOwn, isCall, isWork, use } = chatfeedback.transport;
  const NOT_SIGNED_IN = 401, NOT_ALLOWED = 403;
  const left = () => new Promise(() => {}); // never resolves: the page is being left, so no error may appear
  use("session", async (resource, options, next) => {
    const answer = await next(resource, options);
    if (!isOwn(resource)) return answer;
    if (answer.status === NOT_SIGNED_IN) {
      const here = window.location.pathname + window.location.search;
      chatfeedback.unsaved.leave(isCall(resource) ? options : null);
      window.addEventListener("pagehide", () => chatfeedback.unsaved.leave(null)); // with text that was typed since
      window.location.assign(`/login?next=${encodeURIComponent(here)}&ended`);
      return left();
    }
    const last = Number(sessionStorage.getItem("chatfeedback:refused"));
    if (answer.status === NOT_ALLOWED && isWork(resource) && Date.now() - last > 10_000) {
      sessionStorage.setItem("chatfeedback:refused", Date.now()); // prevents a loop of reloads
      window.location.reload();
      return left();
    }
    return answer;
  });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") window.fetch("/gradio_api/app_id").catch(() => {}); // only its status matters
  });
  // For browsers that ignore the Clear-Site-Data header of the sign-out, as without TLS.
  document.addEventListener("submit", (event) => {
    if (event.target.matches?.("#account form")) sessionStorage.clear();
  });
})();
