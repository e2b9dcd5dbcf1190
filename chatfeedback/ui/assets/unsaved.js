// Unsaved feedback: an outbox in `sessionStorage`. A thumb, a reason or a comment is stored in this tab when it is
// sent, and removed when it is answered. After a reload, because the session ended or the connection was lost, the rest
// is sent again: only for the same person, and only with its conversation on the screen. A page that stays open retries
// calls that did not reach the server. Retries are safe, because setting a part of a rating is idempotent.
//
// The line under the comment shows "Saved" only for answered feedback.
(() => {
  const KEY = "chatfeedback:unsaved";
  const REASON = "reason "; // prefix of the part for each code
  const { isCall, readCall, use } = chatfeedback.transport;
  const { commentBox, editBox, panelTarget: panel, rowOf, rows } = chatfeedback.gradio;
  const LOST = 500; // from this HTTP status on, a call may be retried
  const NOT_YET = "Not saved yet: the server cannot be reached. This is kept here, and saved as soon as it can.";
  const MAX_PAUSE_MS = 30_000;
  const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  const never = () => new Promise(() => {}); // Gradio would cover the panel with an error that intercepts every click
  const person = () => document.querySelector("#account [data-person]")?.dataset.person;
  const open = () => chatfeedback.navigation.shown();
  const messageAt = (index) => rows()[index]?.dataset.message;

  // Each note is one part of the rating of one message. Notes from before a reload wait for `resume`.
  let notes = JSON.parse(sessionStorage.getItem(KEY) ?? "[]").map((note) => ({ at: Date.now(), ...note, waits: true }));
  const answers = new Map(); // failure flag, by event whose answer came before the response to its queue/join request
  let sent = 0;
  const TYPING = 3; // seconds after a key press
  const typed = new Map(); // time of the last change of a comment that is not stored, by target
  let lastTyped = -Infinity;
  const store = () => {
    const kept = notes.filter((note) => note.person);
    if (!kept.length) return sessionStorage.removeItem(KEY);
    const plain = kept.map(({ person, about, part, wanted, at }) => ({ person, about, part, wanted, at }));
    return chatfeedback.storage.keep(KEY, JSON.stringify(plain));
  };
  const drop = (gone) => {
    const before = notes.length;
    notes = notes.filter((note) => !gone(note));
    if (notes.length !== before) store();
    tell();
  };

  // Comments that are too long to be sent, by target: they come back into the box with the panel.
  const longComments = new Map();
  // Last status line of each target. An answer may come when the panel is open for another reply.
  const said = new Map();
  let drawing = "";
  const tell = () => {
    tellAboutOthers();
    const drawn = document.querySelector("#feedback-saved [data-about]");
    if (!drawn) return;
    // Gradio changes the element in place, so compare its unique attribute.
    if (drawn.dataset.said !== drawing) hear(drawn);
    drawing = drawn.dataset.said;
    const about = panel();
    const mine = notes.filter((one) => one.about === about && one.part !== "edit");
    const lost = mine.some((one) => one.lost);
    const saving = mine.length ? ["status", "Saving…"] : null;
    const [role, text] = lost ? ["alert", NOT_YET] : saving ?? said.get(about) ?? ["status", ""];
    if (drawn.textContent === text) return;
    drawn.setAttribute("role", role);
    drawn.textContent = text;
  };
  const hear = ({ dataset, textContent, role }) => {
    said.set(dataset.about, [role, textContent, "refused" in dataset]);
    const box = commentBox();
    if (longComments.has(dataset.about) && dataset.about === panel()) {
      const text = longComments.get(dataset.about);
      setTimeout(() => { if (dataset.about === panel()) chatfeedback.draft.put(box, text); }); // after the other outputs
      return;
    }
    if (dataset.comment === undefined || dataset.about !== panel() || isBeingTyped() || box.value === dataset.comment) return;
    isPainting = true; // not typed by the person
    chatfeedback.draft.put(box, dataset.comment);
    isPainting = false;
  };
  let isPainting = false;
  const panelIsOpen = () => document.querySelector("#feedback-panel")?.checkVisibility();
  const tellAboutOthers = () => {
    const shown = document.querySelector("#cf-unsaved");
    const others = notes.some((one) => one.lost && !(panelIsOpen() && one.about === panel()));
    if (!others) return shown?.remove();
    if (shown) return;
    const alert = Object.assign(document.createElement("p"), { id: "cf-unsaved", role: "alert" });
    document.body.append(alert);
    alert.textContent = NOT_YET;
  };
  new MutationObserver((changes) => {
    if (changes.some(({ target }) => (target.closest ? target : target.parentElement)?.closest("#feedback-panel"))) tell();
  }).observe(document.documentElement, {
    childList: true,
    subtree: true,
    characterData: true,
    attributeFilter: ["data-said"],
  });

  // Parse the feedback in a call: its target, and the new value of each part of the rating.
  const read = ({ source, data, event: told }) => {
    switch (source) {
      case "chatbot": {
        const message = told?.liked === undefined ? null : data[2];
        const value = { true: "like", false: "dislike" }[told?.liked] ?? "";
        return message && open() ? { about: `${open()} ${message}`, parts: { value } } : null;
      }
      case "feedback-reasons":
        return { about: data[0], parts: { [REASON + told.value]: told.selected } };
      case "comment_typed":
      case "feedback-comment":
      case "feedback-close":
        return data[0] && data[1] !== null ? { about: data[0], parts: { comment: data[1] } } : null;
      case "unsaved_feedback": {
        const { message, about, reasons = {}, age, ...parts } = told;
        for (const [code, isChosen] of Object.entries(reasons)) parts[REASON + code] = isChosen;
        return { about, parts, age };
      }
      default:
        return null;
    }
  };
  const note = ({ about, parts, age = 0 }) => {
    const call = ++sent;
    for (const [part, wanted] of Object.entries(parts)) {
      drop((one) => one.about === about && one.part === part);
      notes.push({ person: person(), about, part, wanted, call, typed: typed.get(about), at: Date.now() - 1000 * age });
    }
    store();
    tell();
    return call;
  };
  const refused = ({ about, part }, sentence) => {
    said.set(about, ["alert", `Not saved. ${sentence}`, part === "comment"]);
    tell();
  };
  // `failed`: the handler raised an unexpected error, so its answer has no status line.
  const answered = (event, failed) => {
    const mine = notes.filter((one) => one.event === event);
    for (const { about, part, typed: state } of mine) if (part === "comment" && typed.get(about) === state) typed.delete(about);
    pause = 1000;
    drop((one) => one.event === event);
    if (failed && mine.length) refused(mine[0], "Something went wrong here; change it to try again.");
    if (mine.length) return;
    if (notes.some((one) => one.call && !one.event)) answers.set(event, failed);
  };

  let pause = 1000; // milliseconds, doubled after each failure (backoff)
  let trying = false;
  const lose = async (isLost) => {
    for (const one of notes) if (isLost(one)) one.lost = true;
    tell();
    if (trying || !notes.some((one) => one.lost)) return;
    trying = true;
    await sleep(pause);
    pause = Math.min(2 * pause, MAX_PAUSE_MS);
    await chatfeedback.comeBack();
    trying = false;
    for (const one of notes) if (one.lost) one.waits = true;
    resume();
  };
  const broken = () => lose((one) => one.event);

  use("unsaved", async (resource, options, next) => {
    const feedback = isCall(resource) && options?.body ? read(readCall(options)) : null;
    if (!feedback) return next(resource, options);
    const tooLong = chatfeedback.limits.comment(feedback.parts.comment);
    if (tooLong) {
      drop((one) => one.about === feedback.about && one.part === "comment"); // an older text
      longComments.set(feedback.about, feedback.parts.comment);
      refused({ about: feedback.about, part: "comment" }, tooLong);
      return never();
    }
    if (feedback.parts.comment !== undefined) longComments.delete(feedback.about);
    const call = note(feedback);
    const answer = await next(resource, options).catch(() => null);
    if (!answer || answer.status >= LOST) {
      lose((one) => one.call === call);
      return never();
    }
    if (!answer.ok) {
      drop((one) => one.call === call);
      if (feedback.parts.value !== undefined) return answer; // Gradio reports the error, and the thumb is taken back
      refused({ about: feedback.about, part: Object.keys(feedback.parts)[0] }, await answer.text());
      return never();
    }
    const { event_id: event } = await answer.clone().json();
    for (const one of notes) if (one.call === call) one.event = event;
    if (answers.has(event)) answered(event, answers.get(event));
    answers.delete(event);
    return answer;
  });

  // Keep the text of a refused edit, or of an open edit box. It is not retried automatically, because the message at
  // its place may be another one by then.
  const leave = (call) => {
    const { event: told } = readCall(call);
    const box = editBox();
    const isChanged = box?.value !== box?.dataset.opened;
    const text = told?.previous_value === undefined ? isChanged && box.value : told.value;
    const index = told?.previous_value === undefined ? rows().indexOf(rowOf(box)) : told.index;
    if (text && text.trim() && open()) note({ about: `${open()} ${messageAt(index) ?? ""}`, parts: { edit: text } });
  };

  const wantedOf = (parts) => {
    const all = { age: Math.max(...parts.map(({ at }) => Date.now() - at)) / 1000 };
    for (const { part, wanted } of parts) {
      if (part.startsWith(REASON)) (all.reasons ??= {})[part.slice(REASON.length)] = wanted;
      else all[part] = wanted;
    }
    return all;
  };

  const resume = () => {
    const who = person();
    if (!who) return;
    drop((one) => one.person !== who);
    if (!chatfeedback.bridge.isOpen() || !rows().some((row) => row.dataset.message)) return;
    const due = notes.filter((one) => one.waits && (one.lost || one.about.startsWith(`${open()} `)));
    for (const one of due) one.waits = false;
    for (const about of new Set(due.map((one) => one.about))) {
      const parts = wantedOf(due.filter((one) => one.about === about));
      chatfeedback.bridge.send("unsaved_feedback", { about, ...parts });
    }
  };
  // True for a call whose refusal is a line in the panel.
  const isInPanel = (call) => call.source !== "chatbot" && !call.event?.edit && read(call) !== null;
  const isBusy = () => notes.some((one) => !one.waits);
  // True if the comment in the open panel was typed and is not stored. Otherwise it may be older than the stored one:
  // then it is not sent, and may be overwritten.
  const isTyped = () => typed.has(panel()) || said.get(panel())?.[2] === true;
  const isBeingTyped = () => isTyped() || performance.now() - lastTyped < 1000 * TYPING;
  const type = () => {
    if (isPainting) return false;
    lastTyped = performance.now();
    typed.set(panel(), lastTyped);
    return true;
  };
  chatfeedback.bridge.whenOpen(resume);
  chatfeedback.bridge.on("refusal", () => chatfeedback.bridge.send("click_refused"));
  Object.assign(window.chatfeedback, { unsaved: { answered, broken, isBeingTyped, isBusy, isInPanel, isTyped, leave, resume, type } });
})();
