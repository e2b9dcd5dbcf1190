// Retries during an outage of the database. The server answers 503 and has done nothing of the call. So calls are
// queued here until the database is back, and then sent again one by one, in the order of the clicks; an alert tells
// the person. A repeated call, such as a second press of Enter, is sent once.
(() => {
  const { network, isCall, isWork, isHeartbeat } = chatfeedback.transport;
  const AWAY = 503;
  const SENTENCE = "The database is unavailable. What you have sent is kept here, and stored as soon as it is back.";
  const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  const isBack = () => network(new URL("readyz", document.baseURI)).then((answer) => answer.ok, () => false);
  let comingBack = null; // shared by all waiting calls, so that only one of them polls
  const comeBack = () => comingBack ??= (async () => {
    do await pause(1000); while (!(await isBack()));
    comingBack = null;
  })();
  Object.assign(window.chatfeedback, { comeBack });
  const calls = []; // calls without an answer, in the order of the clicks
  let away = null; // promise from the first 503 until the last queued call is answered

  const tell = () => {
    const said = document.createElement("p");
    said.id = "cf-away";
    said.setAttribute("role", "alert");
    document.body.append(said);
    said.textContent = SENTENCE; // screen readers announce text that is added to an alert, not its initial text
    return said;
  };
  const answered = (call, settle, answer) => {
    calls.splice(calls.indexOf(call), 1);
    settle(answer);
  };
  const wait = async () => {
    const said = tell();
    await comeBack();
    while (calls.length) {
      const call = calls[0];
      if (!(await call.refused)) continue; // it was in flight, and is answered
      try {
        const answer = await network(call.resource, call.options);
        if (answer.status === AWAY) await comeBack();
        else answered(call, call.resolve, answer);
      } catch (error) {
        answered(call, call.reject, error);
      }
    }
    said.remove();
    away = null;
  };
  const send = async (call) => {
    try {
      const answer = await network(call.resource, call.options);
      if (answer.status === AWAY) {
        away ??= wait();
        return true;
      }
      answered(call, call.resolve, answer);
    } catch (error) {
      answered(call, call.reject, error);
    }
    return false;
  };
  const called = (resource, options) => {
    if (away && calls.at(-1)?.options?.body === options?.body) return new Promise(() => {});
    const call = { resource, options };
    const answer = new Promise((resolve, reject) => Object.assign(call, { resolve, reject }));
    const before = calls.at(-1)?.refused;
    calls.push(call);
    const sent = () => (away ? true : send(call));
    // Send one call at a time: concurrent requests may overtake each other, so that a vote on an edit would count for
    // the message before the edit.
    call.refused = before ? before.then(sent) : Promise.resolve(sent());
    return answer;
  };
  chatfeedback.transport.use("outage", async (resource, options, next) => {
    // A request without a body can be sent again; Gradio opens the event stream with such a Request.
    const again = !(resource instanceof Request) || resource.method === "GET";
    const waits = isWork(resource) || isHeartbeat(resource);
    if (isCall(resource) && again) return called(resource, options);
    for (;;) {
      const answer = await next(resource, options);
      if (answer.status !== AWAY || !waits || !again) return answer;
      away ??= wait();
      await comeBack();
    }
  });
})();
