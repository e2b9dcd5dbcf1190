// What Gradio leaves out for keyboards and screen readers. Nothing here talks to the server.
(() => {
  // What is typed and not sent: it survives a reload, and what is typed while a prompt is on its way stays.
  const box = () => document.querySelector("#prompt textarea");
  const type = (text) => {
    const set = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set;
    set.call(box(), text);
    box().dispatchEvent(new Event("input", { bubbles: true }));
  };
  let restored = false;
  let sending = null;
  const draft = {
    keep: (text) => sessionStorage.setItem("chatfeedback:draft", text ?? ""),
    restore: () => {
      if (restored || !box()) return;
      restored = true;
      const kept = sessionStorage.getItem("chatfeedback:draft");
      if (kept && !box().value) type(kept);
    },
    send: (text) => { sending = text; },
    sent: () => {
      if (box()?.value === sending) type("");
      sending = null;
    },
  };
  window.chatfeedback = { draft };

  const names = { "submit-button": "Send", "stop-button": "Stop" };

  const improve = () => {
    draft.restore();
    for (const [id, name] of Object.entries(names)) {
      document.querySelector(`#prompt [data-testid="${id}"], #prompt .${id}`)?.setAttribute("aria-label", name);
    }
    // Replies can be reached with Tab; Enter or Space opens their feedback as a click does.
    for (const reply of document.querySelectorAll('#chatbot [data-testid="bot"]:not([tabindex])')) {
      reply.tabIndex = 0;
    }
    const open = new URL(window.location.href).searchParams.get("conversation");
    for (const button of document.querySelectorAll("#conversations button[data-conversation]")) {
      if (button.dataset.conversation === open) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
    // Times are in the reader's own zone.
    for (const time of document.querySelectorAll("time[datetime]:not([title])")) {
      const instant = new Date(time.dateTime);
      time.title = time.textContent;
      time.textContent = instant.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
    }
  };

  document.addEventListener("keydown", (event) => {
    if ((event.key === "Enter" || event.key === " ") && event.target.matches?.('#chatbot [data-testid="bot"]')) {
      event.preventDefault();
      event.target.click();
    }
  });
  let due = false;
  new MutationObserver(() => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => { due = false; improve(); });
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
