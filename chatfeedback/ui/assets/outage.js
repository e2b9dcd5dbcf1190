// While the database is away the server answers 503, and has done nothing of what it was asked. So what the page calls
// waits here until the database is back, and is then sent again, one call after the other in the order of the clicks;
// the person is told meanwhile. The same call twice in a row, because somebody pressed Enter again, is sent once.
(() => {
  const { network, isCall, isWork, isHeartbeat } = chatfeedback.transport;
  const AWAY = 503;
  const SENTENCE = "The database is away. What you have sent is kept here, and stored as soon as it is back.";
  const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  const isBack = () => network(new URL("readyz", document.baseURI)).then((answer) => answer.ok, () => false);
  let comingBack = null; // all who wait for it share the questions
  const comeBack = () => comingBack ??= (async () => {
    do await pause(1000); while (!(await isBack()));
    comingBack = null;
  })();
  Object.assign(window.chatfeedback, { comeBack });
  const calls = []; // that are not answered yet, in the order of the clicks
  let away = null; // from the first refusal until the last call that was held is answered

  const tell = () => {
    const said = document.createElement("p");
    said.id = "cf-away";
    said.setAttribute("role", "alert");
    document.body.append(said);
    said.textContent = SENTENCE; // what is put into an alert is read out, not what is there from the start
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
      if (!(await call.refused)) continue; // it was on its way, and is answered
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
    // Two requests at once may overtake each other: a vote on an edit would be one on the message before it.
    call.refused = before ? before.then(sent) : Promise.resolve(sent());
    return answer;
  };
  chatfeedback.transport.use("outage", async (resource, options, next) => {
    // What has no body can be sent again as it is; Gradio opens the stream of answers by such a Request.
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
