// The transport: the one wrapper of `window.fetch`, and all that the page's scripts know of Gradio's protocol.
//
// Requests pass four layers, whatever the order in which the scripts register them: feedback that is not saved yet
// (unsaved.js), the stream of answers (below), the session (session.js), the outage of the database (outage.js). A layer
// is a function of a resource, its options, and the next layer, and returns a promise of the response, as fetch does.
//
// The stream over which Gradio 6.31 sends all answers to a page, as the page and the server need it.
//
// The server ends the stream when nothing is left to be answered, and says so; the page then opens another one with the
// next thing that it sends. In between, three things would go wrong:
// - The page cuts off the stream that is ending anyway. A server that has not quite ended it takes that for a page that
//   is gone, and forgets what the page has sent meanwhile. So the stream is read to its end.
// - What is sent in that very moment would wait for a stream until something else is sent (the page believes that it
//   has one): so something else is sent.
// - When the answer went out over the stream that is just ending, the page opens another one all the same, which would
//   stay open with nothing to send: so it gets one that ends at once. A server that has forgotten the page answers 404,
//   which the page would take for a lost connection, and load itself again: it gets the same.
// And when the stream breaks, the page tells all that waits for an answer, and then believes for ever that it has a
// stream; when it ends without a word, the page does not even tell. What is sent next would never be answered. So such a
// stream says that the connection is broken, and that it ends.
// And an event that has sent updates repeats the last one when it ends. A busy page draws that when something else is
// there already, such as the beginning of the next reply: so the repetition is taken out.
// And the page shows a click on a thumb by itself. What an earlier click leads to, and comes after it, would take it
// back, and a third click would mean something else than what was seen: so it is taken out too.
(() => {
  const LAYERS = ["unsaved", "stream", "session", "outage"]; // from the page to the network
  const network = window.fetch.bind(window);
  const layers = new Map();
  const through = (index) => (resource, options) => {
    const name = LAYERS[index];
    if (name === undefined) return network(resource, options);
    const next = through(index + 1);
    return layers.has(name) ? layers.get(name)(resource, options, next) : next(resource, options);
  };
  window.fetch = through(0);
  const use = (name, layer) => {
    if (!LAYERS.includes(name)) throw new Error(`The transport has no layer ${name}.`);
    layers.set(name, layer);
  };

  const JOIN = /\/gradio_api\/queue\/join$/, DATA = /\/gradio_api\/queue\/data$/;
  const WORK = /\/gradio_api\/(queue\/|app_id$)/; // by the latter Gradio asks whether a lost server is back
  const HEARTBEAT = /\/gradio_api\/heartbeat\//;
  const url = (resource) => new URL(resource.url ?? String(resource), document.baseURI);
  const isOwn = (resource) => url(resource).origin === window.location.origin;
  const isCall = (resource) => isOwn(resource) && JOIN.test(url(resource).pathname);
  const isWork = (resource) => isOwn(resource) && WORK.test(url(resource).pathname);
  const isHeartbeat = (resource) => isOwn(resource) && HEARTBEAT.test(url(resource).pathname);
  // Return what a call carries: the `elem_id` of the component that it comes from, its inputs and its event.
  const readCall = (options) => {
    const { trigger_id: trigger, data, event_data: event } = JSON.parse(options?.body || "{}");
    const component = window.gradio_config?.components.find(({ id }) => id === trigger);
    return { source: component?.props.elem_id, data, event };
  };
  window.chatfeedback = { transport: { use, network, isOwn, isCall, isWork, isHeartbeat, readCall } };

  const wake = () => document.querySelector("#wake")?.click();
  const LONGEST_END = 5000; // milliseconds that the server may take to end a stream that it has said it ends
  const END = 'data: {"msg": "close_stream"}\n\n';
  const BROKEN = 'data: {"msg": "broken_connection", "message": "Connection errored out."}\n\n';
  const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  const saying = (messages) => new Response(messages, { headers: { "Content-Type": "text/event-stream" } });
  const NO_CHANGE = { __type__: "update" };
  const begun = new Set(); // the events of which the first of several updates has come
  const clicked = new Map(); // of the event of each click on a thumb: which of them it was
  const waiting = new Set(); // the events that were sent and are not answered, as far as is known: some are in vain
  const answered = new Set(); // the events whose answer came before the page was told that they were sent
  const failed = new Set(); // the events of which the server has said that their handler failed
  let clicks = 0;
  let woken = -Infinity;

  const isLate = (told) => {
    const click = clicked.get(told.event_id);
    clicked.delete(told.event_id);
    return click < clicks && told.output.data.some((part) => part?.feedback_value);
  };

  const toDraw = (message) => {
    if (!message.startsWith("data: ")) return message;
    const told = JSON.parse(message.slice("data: ".length));
    if (told.msg === "process_completed" && !waiting.delete(told.event_id)) answered.add(told.event_id);
    if (told.msg === "log" && told.level === "warning") failed.add(told.event_id); // ui/gradio_internals.py
    if (told.msg === "process_completed") {
      chatfeedback.unsaved.answered(told.event_id, failed.delete(told.event_id) || !told.success);
    }
    if (told.msg === "process_generating") begun.add(told.event_id);
    if (told.msg !== "process_completed" || !told.success) return message;
    if (!begun.delete(told.event_id) && !isLate(told)) return message;
    told.output.data = told.output.data.map(() => NO_CHANGE);
    return `data: ${JSON.stringify(told)}`;
  };

  // Messages of the server, each of which ends with an empty line. It says when they end; if it does not, this does.
  const messages = (read) => {
    let rest = "";
    let saidEnd = false;
    return new ReadableStream({
      async pull(page) {
        const piece = await read.read().catch(() => ({ done: true }));
        if (piece.done) {
          if (!saidEnd) {
            await pause(50); // the page takes what has come in its next turn: what is answered is not broken
            chatfeedback.unsaved.broken();
            page.enqueue(BROKEN + END);
          }
          page.close();
          return;
        }
        const whole = (rest + piece.value).split("\n\n");
        rest = whole.pop();
        saidEnd ||= whole.some((message) => /"msg": ?"close_stream"/.test(message));
        page.enqueue(whole.map((message) => `${toDraw(message)}\n\n`).join(""));
      },
    });
  };

  // The answer, without its connection: whoever stops reading it does not cut that off.
  const apart = (answer, left, connection) => {
    const reader = messages(answer.body.pipeThrough(new TextDecoderStream()).getReader()).getReader();
    const body = new ReadableStream({
      async start(page) {
        let here = true;
        const leave = () => {
          here = false;
          page.close();
          setTimeout(() => connection.abort(), LONGEST_END);
        };
        left?.addEventListener("abort", leave, { once: true });
        if (left?.aborted) leave();
        for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
          if (here) page.enqueue(piece.value);
        }
        if (here) page.close();
        left?.removeEventListener("abort", leave);
      },
    });
    return new Response(body.pipeThrough(new TextEncoderStream()), { status: answer.status, headers: answer.headers });
  };

  const open = async (resource, options, next) => {
    const connection = new AbortController();
    const left = options?.signal ?? resource.signal;
    const before = new Set(waiting);
    left?.addEventListener("abort", () => {
      if ([...waiting].some((event) => !before.has(event))) wake();
    });
    if (!waiting.size) return saying(END);
    const answer = await next(resource, { ...options, signal: connection.signal }).catch(() => null);
    if (answer?.ok) return apart(answer, left, connection);
    if (answer?.status !== 404) {
      chatfeedback.unsaved.broken();
      return saying(BROKEN + END);
    }
    if (performance.now() - woken > 1000) {
      woken = performance.now();
      setTimeout(wake, 50); // for what may wait for an answer all the same
    }
    return saying(END);
  };

  // The page gets the answer when it is noted here: what it does next may be to open a stream.
  const join = async (resource, options, next) => {
    const isClick = readCall(options).event?.liked !== undefined;
    const click = isClick ? ++clicks : 0;
    const answer = await next(resource, options);
    const { event_id: event } = await answer.clone().json().catch(() => ({}));
    if (event && isClick) clicked.set(event, click);
    if (event && !answered.delete(event)) waiting.add(event);
    return answer;
  };

  use("stream", (resource, options, next) => {
    if (isOwn(resource) && DATA.test(url(resource).pathname)) return open(resource, options, next);
    if (isCall(resource)) return join(resource, options, next);
    return next(resource, options);
  });
})();
