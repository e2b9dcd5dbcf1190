// What Gradio leaves out: drafts, keyboards and screen readers.
(() => {
  // What is typed and not sent: it survives a reload, and what is typed while a prompt is on its way stays. It is
  // kept for whoever typed it: the next one who signs in at this browser does not get it.
  const box = () => document.querySelector("#prompt textarea");
  const put = (into, text) => {
    const set = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set;
    set.call(into, text);
    into.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const type = (text) => put(box(), text);
  const person = () => document.querySelector("#account [data-person]")?.dataset.person;
  // Each prompt has an id of its own, made here and sent with it: of what comes twice with one id, the server stores one.
  // When the content of the box changes it is another prompt. crypto.randomUUID is not there on a page over plain http.
  const prompt = { text: null, id: "" };
  const digits = (byte) => byte.toString(16).padStart(2, "0");
  const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), digits).join("");
  const idOf = (text) => {
    if (text !== prompt.text) Object.assign(prompt, { text, id: newId() });
    return prompt.id;
  };
  let restored = false;
  const entered = []; // what stood in the box at each Enter that Gradio has not come to yet
  const draft = {
    put,
    // With the id: what was stored before the page was loaded again, and is sent once more, is known by it.
    keep: (text) => {
      const kept = [person(), text ?? "", text === prompt.text ? prompt.id : ""];
      if (restored) sessionStorage.setItem("chatfeedback:typed", JSON.stringify(kept));
    },
    restore: () => {
      if (restored || !box() || !person()) return;
      restored = true;
      const [typist, kept, id] = JSON.parse(sessionStorage.getItem("chatfeedback:typed") ?? "[]");
      if (kept && typist === person() && !box().value) {
        if (id) Object.assign(prompt, { text: kept, id });
        type(kept);
      } else draft.keep(box().value);
    },
    // What stood in the box when Enter was pressed: Gradio looks later, when something else may be typed already.
    send: (text) => {
      while (entered.length && performance.now() - entered[0].at >= 1000) entered.shift();
      const sending = entered.shift() ?? { text, id: idOf(text) };
      draft.keep(box().value);
      chatfeedback.scroll.follow();
      return sending;
    },
    // What was stored leaves the box; what has been typed or corrected since does not. The store replaces what no
    // database takes.
    sent: (stored) => {
      if (box()?.value.toWellFormed().replaceAll("\0", "\ufffd") === stored) type("");
    },
  };
  // Numbers the states of a comment: on a busy machine they may overtake each other on their way.
  let typed = 0;
  Object.assign(window.chatfeedback, { draft, stamp: () => ++typed });

  const names = { "submit-button": "Send", "stop-button": "Stop" };

  // What Undo gives back is another prompt when it is sent again, also with the same text in the box.
  document.addEventListener("click", (event) => {
    if (event.target.closest?.('#chatbot button[aria-label="Undo"]')) prompt.text = null;
  }, true);

  // On a phone the list of conversations covers the page: it goes when something was chosen in it.
  document.addEventListener("click", (event) => {
    const chosen = event.target.closest?.("#new-conversation, #conversations button[data-conversation]");
    if (chosen && window.innerWidth < 1024) document.querySelector("#sidebar.open .toggle-button")?.click();
  });

  // A message that is opened for editing is shown with the buttons that end it.
  let editing = null;
  const showEditing = () => {
    const now = document.querySelector("#chatbot textarea.edit-textarea");
    if (now && now !== editing) {
      now.dataset.opened = now.value; // what is left as it was is no edit (unsaved.js)
      document.querySelector('#chatbot button[aria-label="Cancel"]')?.scrollIntoView({ block: "nearest" });
    }
    editing = now;
  };

  const improve = () => {
    draft.restore();
    chatfeedback.unsaved.resume();
    recover();
    showEditing();
    chatfeedback.scroll.watch();
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
    if (event.key !== "Escape") return;
    if (event.target.matches?.("textarea.edit-textarea")) {
      document.querySelector('#chatbot button[aria-label="Cancel"]')?.click();
    } else if (event.target.closest?.("#feedback-panel, #chatbot")) {
      document.querySelector("#feedback-close")?.click();
    }
  });
  document.addEventListener("keydown", (event) => {
    // Gradio lets Enter choose a reason too, and then tells of the opposite.
    if (event.key === "Enter" && event.target.matches?.("#feedback-reasons input")) {
      event.preventDefault();
      event.stopPropagation();
      event.target.click();
    }
    const enters = event.key === "Enter" && !event.shiftKey && !event.isComposing && event.target === box();
    if (enters) entered.push({ text: box().value, id: idOf(box().value), at: performance.now() });
  }, true);
  document.addEventListener("input", (event) => {
    if (event.target === box()) {
      idOf(box().value);
      draft.keep(box().value); // Gradio tells of it later, and not at all while it is in trouble
    }
    // When Gradio has taken the new text over.
    const tell = () => document.querySelector("#feedback-typed")?.click();
    if (!event.target.matches?.("#feedback-comment textarea")) return;
    if (chatfeedback.unsaved.type()) setTimeout(tell);
  });

  // What got no answer to its end, for one because the server ended in the middle of it, Gradio covers with an error
  // that takes every click. All there is to show is in the store, so the page is loaded again.
  let recovering = false;
  const recover = async () => {
    if (recovering || !document.querySelector('[data-testid="status-tracker"] .error')) return;
    const last = Number(sessionStorage.getItem("chatfeedback:recovered"));
    if (Date.now() - last < 30_000) return; // it did not help
    recovering = true;
    await chatfeedback.comeBack();
    sessionStorage.setItem("chatfeedback:recovered", Date.now());
    window.location.reload();
  };

  let due = false;
  new MutationObserver(() => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => { due = false; improve(); });
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
