// While the database is away the server answers 503, and has done nothing of what it was asked. So what the page calls
// waits here until the database is back, and is then sent again, one call after the other in the order of the clicks;
// the person is told meanwhile. The same call twice in a row, because somebody pressed Enter again, is sent once.
(() => {
  const fetchAsEver = window.fetch;
  const AWAY = 503, WORK = /\/gradio_api\/(queue\/|heartbeat\/|app_id$)/, CALL = /\/gradio_api\/queue\/join$/;
  const SENTENCE = "The database is away. What you have sent is kept here, and stored as soon as it is back.";
  const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  const isBack = () => fetchAsEver(new URL("readyz", document.baseURI)).then((answer) => answer.ok, () => false);
  let comingBack = null; // all who wait for it share the questions
  const comeBack = () => comingBack ??= (async () => {
    do await pause(1000); while (!(await isBack()));
    comingBack = null;
  })();
  window.chatfeedback = { comeBack };
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
        const answer = await fetchAsEver(call.resource, call.options);
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
      const answer = await fetchAsEver(call.resource, call.options);
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
  window.fetch = async (resource, options) => {
    const url = new URL(resource.url ?? String(resource), document.baseURI);
    // What has no body can be sent again as it is; Gradio opens the stream of answers by such a Request.
    const again = !(resource instanceof Request) || resource.method === "GET";
    const ours = url.origin === window.location.origin && WORK.test(url.pathname) && again;
    if (ours && CALL.test(url.pathname)) return called(resource, options);
    for (;;) {
      const answer = await fetchAsEver(resource, options);
      if (answer.status !== AWAY || !ours) return answer;
      away ??= wait();
      await comeBack();
    }
  };
})();
