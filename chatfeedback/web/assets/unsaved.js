// Feedback that the server has not answered yet. A thumb, a reason and a comment are noted in this tab when they are
// sent, and crossed out when they are answered. What is left when the page is loaded again, because the session ended or
// the connection was lost, is sent again: for the same person only, and when its conversation is on the screen.
(() => {
  const KEY = "chatfeedback:unsaved";
  const JOIN = /\/gradio_api\/queue\/join$/, LOST = 500; // from this status on, a call may be sent again
  const fetchAsEver = window.fetch;
  const person = () => document.querySelector("#account [data-person]")?.dataset.person;
  const open = () => new URL(window.location.href).searchParams.get("conversation");
  const messageAt = (index) => document.querySelectorAll("#chatbot .message-row")[index]?.dataset.message;

  // Notes of an earlier document wait for `resume`; each is about one part of the rating of one message.
  let notes = JSON.parse(sessionStorage.getItem(KEY) ?? "[]").map((note) => ({ ...note, waits: true }));
  const answers = new Set(); // events that were answered before this page was told that they had been sent
  let sent = 0;
  const store = () => {
    const kept = notes.filter((note) => note.person);
    if (!kept.length) return sessionStorage.removeItem(KEY);
    const plain = kept.map(({ person, about, part, wanted }) => ({ person, about, part, wanted }));
    return sessionStorage.setItem(KEY, JSON.stringify(plain));
  };
  const drop = (gone) => {
    const before = notes.length;
    notes = notes.filter((note) => !gone(note));
    if (notes.length !== before) store();
  };

  // Return what a call of a function says of a reply: which one, and what is wanted of the parts of its rating.
  const read = ({ trigger_id: trigger, data, event_data: told }) => {
    const component = window.gradio_config?.components.find(({ id }) => id === trigger);
    switch (component?.props.elem_id) {
      case "chatbot": {
        const message = told?.liked === undefined ? null : messageAt(told.index);
        const value = { true: "like", false: "dislike" }[told?.liked] ?? "";
        return message && open() ? { about: `${open()} ${message}`, parts: { value } } : null;
      }
      case "feedback-reasons":
        return { about: data[0], parts: { reasons: data[1] } };
      case "feedback-typed":
      case "feedback-comment":
      case "feedback-close":
        return data[0] ? { about: data[0], parts: { comment: data[1] ?? "" } } : null;
      case "feedback-unsaved": {
        const { about, ...parts } = told;
        return { about, parts };
      }
      default:
        return null;
    }
  };
  const note = ({ about, parts }) => {
    const call = ++sent;
    for (const [part, wanted] of Object.entries(parts)) {
      drop((one) => one.about === about && one.part === part);
      notes.push({ person: person(), about, part, wanted, call });
    }
    store();
    return call;
  };
  const finish = (call) => drop((one) => one.call === call);
  const answered = (event) => {
    if (notes.some((one) => one.event === event)) drop((one) => one.event === event);
    else if (notes.some((one) => one.call && !one.event)) answers.add(event);
  };

  window.fetch = async (resource, options) => {
    const url = new URL(resource.url ?? String(resource), document.baseURI);
    const said = JOIN.test(url.pathname) && options?.body ? read(JSON.parse(options.body)) : null;
    if (!said) return fetchAsEver(resource, options);
    const call = note(said);
    const answer = await fetchAsEver(resource, options);
    const { event_id: event } = answer.ok ? await answer.clone().json() : {};
    if (answers.delete(event) || (!answer.ok && answer.status < LOST)) finish(call);
    else if (event) for (const one of notes) if (one.call === call) one.event = event;
    return answer;
  };

  // The text of an edit that was refused, or of a box for editing that is left open. It cannot be sent again by itself:
  // what it would replace may be another message by then.
  const leave = (body) => {
    const { event_data: told } = JSON.parse(body || "{}");
    const box = document.querySelector("#chatbot textarea.edit-textarea");
    const text = told?.previous_value === undefined ? box?.value : told.value;
    const index = told?.previous_value === undefined ? rowOf(box) : told.index;
    if (text?.trim() && open()) note({ about: `${open()} ${messageAt(index) ?? ""}`, parts: { edit: text } });
  };
  const rowOf = (box) => [...document.querySelectorAll("#chatbot .message-row")].indexOf(box?.closest(".message-row"));

  let send = null;
  const resume = () => {
    const who = person();
    if (!who) return;
    drop((one) => one.person !== who);
    if (!send || !document.querySelector("#chatbot .message-row[data-message]")) return;
    const due = notes.filter((one) => one.waits && one.about.startsWith(`${open()} `));
    for (const one of due) one.waits = false;
    for (const about of new Set(due.map((one) => one.about))) {
      const parts = due.filter((one) => one.about === about).map(({ part, wanted }) => [part, wanted]);
      send({ about, ...Object.fromEntries(parts) });
    }
  };
  const ready = (sender) => {
    send = sender;
    resume();
  };
  Object.assign(window.chatfeedback, { unsaved: { answered, leave, ready, resume } });
})();
