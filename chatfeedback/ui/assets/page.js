// Page behaviour that Gradio lacks: drafts, keyboard use and screen readers.
(() => {
  const { gradio } = chatfeedback;
  const DATE = { year: "numeric", month: "short", day: "numeric" };
  const TIME_WITH_ZONE = { ...DATE, hour: "numeric", minute: "2-digit", timeZoneName: "short" };
  // Draft: text that is typed and not sent. It survives a reload, and typing while a prompt is in flight stays. It is
  // stored with the id of its person: another person who signs in at this browser does not get it.
  const box = gradio.promptBox;
  const put = (into, text) => {
    const set = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set;
    set.call(into, text);
    into.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const type = (text) => put(box(), text);
  const person = () => document.querySelector("#account [data-person]")?.dataset.person;
  // Idempotency key of a prompt: of several calls with the same id, the server stores one. A change of the text in the
  // box makes a new prompt. crypto.randomUUID does not exist on a page over plain http.
  const prompt = { text: null, id: "" };
  const digits = (byte) => byte.toString(16).padStart(2, "0");
  const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), digits).join("");
  const idOf = (text) => {
    if (text !== prompt.text) Object.assign(prompt, { text, id: newId() });
    return prompt.id;
  };
  let restored = false;
  const entered = []; // text of the box at each Enter that Gradio has not handled yet
  const draft = {
    put,
    // With the id: a prompt that was stored before a reload and is sent again is recognised by it.
    keep: (text) => {
      const kept = [person(), text ?? "", text === prompt.text ? prompt.id : ""];
      if (!restored || chatfeedback.storage.keep("chatfeedback:typed", JSON.stringify(kept))) return;
      chatfeedback.limits.notKept();
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
    // Return the text at the time of Enter: Gradio reads the box later, when other text may be in it.
    send: (text) => {
      while (entered.length && performance.now() - entered[0].at >= 1000) entered.shift();
      const sending = entered.shift() ?? { text, id: idOf(text) };
      draft.keep(box().value);
      chatfeedback.scroll.follow();
      return sending;
    },
    // The prompt that Undo puts back is a new prompt when it is sent again, even with the same text.
    undo: () => { prompt.text = null; },
    // Remove the stored prompt from the box, but no text that was typed or corrected since.
    sent: (id) => {
      if (id === prompt.id && box()?.value === prompt.text) type("");
    },
  };
  // Sequence number of comments: on a busy machine, calls may overtake each other.
  let typed = 0;
  Object.assign(window.chatfeedback, { draft, stamp: () => ++typed });
  chatfeedback.bridge.on("accepted", draft.sent);

  const names = { submit: "Send", stop: "Stop" };

  // On a phone the list of conversations covers the page: close it after a choice.
  document.addEventListener("click", (event) => {
    const chosen = event.target.closest?.("#new-conversation, #conversations button[data-conversation]");
    if (chosen && window.innerWidth < 1024) gradio.sidebarButton()?.click();
  });

  // Scroll to the buttons of a message that is opened for editing.
  let editing = null;
  const showEditing = () => {
    const now = gradio.editBox();
    if (now && now !== editing) {
      now.dataset.opened = now.value; // an unchanged text is no edit (unsaved.js)
      gradio.cancelButton()?.scrollIntoView({ block: "nearest" });
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
      gradio.promptButton(id)?.setAttribute("aria-label", name);
    }
    // Replies are in the tab order; Enter or Space opens the feedback panel, like a click.
    for (const reply of gradio.replies()) {
      if (!reply.hasAttribute("tabindex")) reply.tabIndex = 0;
    }
    const open = new URL(window.location.href).searchParams.get("conversation");
    for (const button of document.querySelectorAll("#conversations button[data-conversation]")) {
      if (button.dataset.conversation === open) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
    // Show times in the reader's time zone and name it; on the Analytics tab they are in UTC, like its days.
    for (const time of document.querySelectorAll("time[datetime]:not([title], #analytics-tab *)")) {
      const instant = new Date(time.dateTime);
      time.title = time.textContent;
      time.textContent = instant.toLocaleString([], TIME_WITH_ZONE);
    }
  };

  document.addEventListener("keydown", (event) => {
    if ((event.key === "Enter" || event.key === " ") && gradio.isReply(event.target)) {
      event.preventDefault();
      event.target.click();
    }
    if (event.key !== "Escape") return;
    if (event.target === gradio.editBox()) {
      gradio.cancelButton()?.click();
    } else if (event.target.closest?.("#feedback-panel, #chatbot")) {
      document.querySelector("#feedback-close")?.click();
    }
  });
  document.addEventListener("keydown", (event) => {
    // Gradio lets Enter toggle a reason too, but then reports the opposite.
    if (event.key === "Enter" && gradio.isReason(event.target)) {
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
      draft.keep(box().value); // Gradio reports it later, and not at all after an error
    }
    // After Gradio has taken over the new text.
    if (event.target !== gradio.commentBox()) return;
    if (chatfeedback.unsaved.type()) setTimeout(() => chatfeedback.bridge.send("comment_typed"));
  });

  // Gradio covers the outputs of a call that did not finish, as at a shutdown of the server, with an error that
  // intercepts every click. The store has everything that the page shows, so reload the page.
  let recovering = false;
  const recover = async () => {
    if (recovering || !gradio.hasError()) return;
    const last = Number(sessionStorage.getItem("chatfeedback:recovered"));
    if (Date.now() - last < 30_000) return; // the last reload did not help
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
