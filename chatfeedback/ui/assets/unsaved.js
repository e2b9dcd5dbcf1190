// Feedback that the server has not answered yet. A thumb, a reason and a comment are noted in this tab when they are
// sent, and crossed out when they are answered. What is left when the page is loaded again, because the session ended or
// the connection was lost, is sent again: for the same person only, and when its conversation is on the screen. A page
// that stays sends again by itself what did not reach the server: a part of a rating that is set twice changes nothing.
//
// The line under the comment says "Saved" of what is answered, and something else of what is not.
(() => {
  const KEY = "chatfeedback:unsaved";
  const REASON = "reason "; // a part of a rating for each code
  const { isCall, readCall, use } = chatfeedback.transport;
  const LOST = 500; // from this status on, a call may be sent again
  const NOT_YET = "Not saved yet: the server cannot be reached. This is kept here, and saved as soon as it can.";
  const LONGEST_PAUSE = 30_000;
  const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  const never = () => new Promise(() => {}); // Gradio would cover the panel with an error that takes every click
  const person = () => document.querySelector("#account [data-person]")?.dataset.person;
  const open = () => new URL(window.location.href).searchParams.get("conversation");
  const messageAt = (index) => document.querySelectorAll("#chatbot .message-row")[index]?.dataset.message;

  // Notes of an earlier document wait for `resume`; each is about one part of the rating of one message.
  let notes = JSON.parse(sessionStorage.getItem(KEY) ?? "[]").map((note) => ({ at: Date.now(), ...note, waits: true }));
  const answers = new Map(); // whether they failed, of events that were answered before this page was told that they had been sent
  let sent = 0;
  const TYPING = 3; // seconds after a key
  const typed = new Map(); // for each reply whose comment was changed and is not stored: when it was changed last
  let lastTyped = -Infinity;
  const store = () => {
    const kept = notes.filter((note) => note.person);
    if (!kept.length) return sessionStorage.removeItem(KEY);
    const plain = kept.map(({ person, about, part, wanted, at }) => ({ person, about, part, wanted, at }));
    return sessionStorage.setItem(KEY, JSON.stringify(plain));
  };
  const drop = (gone) => {
    const before = notes.length;
    notes = notes.filter((note) => !gone(note));
    if (notes.length !== before) store();
    tell();
  };

  // What the server said last of each reply, while its panel was open. An answer may come when another panel is open.
  const said = new Map();
  let drawing = "";
  const tell = () => {
    tellAboutOthers();
    const drawn = document.querySelector("#feedback-saved [data-about]");
    if (!drawn) return;
    // Gradio changes the element in place.
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
    const box = document.querySelector("#feedback-comment textarea");
    if (dataset.comment === undefined || dataset.about !== panel() || isBeingTyped() || box.value === dataset.comment) return;
    isPainting = true; // it is no typing
    chatfeedback.draft.put(box, dataset.comment);
    isPainting = false;
  };
  let isPainting = false;
  const panel = () => document.querySelector("#feedback-about :is(textarea, input)")?.value;
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

  // Return what a call of a function says of a reply: which one, and what is wanted of the parts of its rating.
  const read = ({ source, data, event: told }) => {
    switch (source) {
      case "chatbot": {
        const message = told?.liked === undefined ? null : data[2];
        const value = { true: "like", false: "dislike" }[told?.liked] ?? "";
        return message && open() ? { about: `${open()} ${message}`, parts: { value } } : null;
      }
      case "feedback-reasons":
        return { about: data[0], parts: { [REASON + told.value]: told.selected } };
      case "feedback-typed":
      case "feedback-comment":
      case "feedback-close":
        return data[0] && data[1] !== null ? { about: data[0], parts: { comment: data[1] } } : null;
      case "feedback-unsaved": {
        const { about, reasons = {}, age, ...parts } = told;
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
  // `failed`: the handler told nothing of what became of it, because it failed itself.
  const answered = (event, failed) => {
    const mine = notes.filter((one) => one.event === event);
    for (const { about, part, typed: state } of mine) if (part === "comment" && typed.get(about) === state) typed.delete(about);
    pause = 1000;
    drop((one) => one.event === event);
    if (failed && mine.length) refused(mine[0], "Something went wrong here; change it to try again.");
    if (mine.length) return;
    if (notes.some((one) => one.call && !one.event)) answers.set(event, failed);
  };

  let pause = 1000; // milliseconds, doubled each time it is in vain
  let trying = false;
  const lose = async (isLost) => {
    for (const one of notes) if (isLost(one)) one.lost = true;
    tell();
    if (trying || !notes.some((one) => one.lost)) return;
    trying = true;
    await sleep(pause);
    pause = Math.min(2 * pause, LONGEST_PAUSE);
    await chatfeedback.comeBack();
    trying = false;
    for (const one of notes) if (one.lost) one.waits = true;
    resume();
  };
  const broken = () => lose((one) => one.event);

  use("unsaved", async (resource, options, next) => {
    const feedback = isCall(resource) && options?.body ? read(readCall(options)) : null;
    if (!feedback) return next(resource, options);
    const call = note(feedback);
    const answer = await next(resource, options).catch(() => null);
    if (!answer || answer.status >= LOST) {
      lose((one) => one.call === call);
      return never();
    }
    if (!answer.ok) {
      drop((one) => one.call === call);
      if (feedback.parts.value !== undefined) return answer; // Gradio says so, and the thumb is taken back
      refused({ about: feedback.about, part: Object.keys(feedback.parts)[0] }, await answer.text());
      return never();
    }
    const { event_id: event } = await answer.clone().json();
    for (const one of notes) if (one.call === call) one.event = event;
    if (answers.has(event)) answered(event, answers.get(event));
    answers.delete(event);
    return answer;
  });

  // The text of an edit that was refused, or of a box for editing that is left open. It cannot be sent again by itself:
  // what it would replace may be another message by then.
  const leave = (call) => {
    const { event: told } = readCall(call);
    const box = document.querySelector("#chatbot textarea.edit-textarea");
    const isChanged = box?.value !== box?.dataset.opened;
    const text = told?.previous_value === undefined ? isChanged && box.value : told.value;
    const index = told?.previous_value === undefined ? rowOf(box) : told.index;
    if (text && text.trim() && open()) note({ about: `${open()} ${messageAt(index) ?? ""}`, parts: { edit: text } });
  };
  const rowOf = (box) => [...document.querySelectorAll("#chatbot .message-row")].indexOf(box?.closest(".message-row"));

  const wantedOf = (parts) => {
    const all = { age: Math.max(...parts.map(({ at }) => Date.now() - at)) / 1000 };
    for (const { part, wanted } of parts) {
      if (part.startsWith(REASON)) (all.reasons ??= {})[part.slice(REASON.length)] = wanted;
      else all[part] = wanted;
    }
    return all;
  };

  let send = null;
  const resume = () => {
    const who = person();
    if (!who) return;
    drop((one) => one.person !== who);
    if (!send || !document.querySelector("#chatbot .message-row[data-message]")) return;
    const due = notes.filter((one) => one.waits && (one.lost || one.about.startsWith(`${open()} `)));
    for (const one of due) one.waits = false;
    for (const about of new Set(due.map((one) => one.about))) {
      send({ about, ...wantedOf(due.filter((one) => one.about === about)) });
    }
  };
  const isBusy = () => notes.some((one) => !one.waits);
  // Whether the comment in the open panel was changed by hand and is not stored. Otherwise it may be older than what is
  // stored: then it is not to be sent, and may be painted over.
  const isTyped = () => typed.has(panel()) || said.get(panel())?.[2] === true;
  const isBeingTyped = () => isTyped() || performance.now() - lastTyped < 1000 * TYPING;
  const type = () => {
    if (isPainting) return false;
    lastTyped = performance.now();
    typed.set(panel(), lastTyped);
    return true;
  };
  const ready = (sender) => {
    send = sender;
    resume();
  };
  Object.assign(window.chatfeedback, { unsaved: { answered, broken, isBeingTyped, isBusy, isTyped, leave, ready, resume, type } });
})();
