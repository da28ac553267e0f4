// The SDK of CloudEvents for JavaScript, unchanged.
//
// `exchange HUB` publishes events in each mode to the topic `sdk`, and consumes them: as
// they come, of the stream `sdk`, and by its consumer `sdk`. It prints what each is that
// was sent, and that came, as JSON. `read` takes messages from its input (`[{headers,
// body}]`, bodies in base64) and prints what the SDK reads in them.

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const require = createRequire(process.env.WEFT_SDK_MODULES + "/");
const { CloudEvent, HTTP } = require("cloudevents");

const DATA = [
  ["application/json", { delay: 12, z: [1.5, null, "\u00fc"], a: {} }],
  ["text/plain", "late \u20ac"],
  ["application/octet-stream", new Uint8Array([0, 255, 127])],
];

function normal(event) {
  const { id, source, type, subject, time, datacontenttype, comexampleother, partitionkey } = event;
  const binary = ArrayBuffer.isView(event.data);
  const data = binary ? { base64: Buffer.from(event.data).toString("base64") } : event.data;
  const at = new Date(time).toISOString();
  return { id, source, type, subject, time: at, datacontenttype, comexampleother, partitionkey, data };
}

async function post(url, { headers, body }) {
  const answer = await fetch(url, { method: "POST", headers, body });
  if (answer.status !== 200) throw new Error(`${answer.status}: ${await answer.text()}`);
}

async function publish(url) {
  const sent = [];
  for (const [number, [datacontenttype, data]] of DATA.entries()) {
    for (const mode of ["structured", "binary"]) {
      const event = new CloudEvent({
        id: `${mode}-${number}`,
        source: "/sdk/javascript?a=b#c",
        type: "com.example.departed",
        subject: "Zurich",
        time: "2030-01-02T03:04:05.678Z",
        datacontenttype,
        comexampleother: "value",
        partitionkey: "B6725",
        data,
      });
      await post(url, HTTP[mode](event));
      sent.push(normal(event));
    }
  }
  return sent;
}

// The data of server-sent events, one by one.
async function* listen(url) {
  const answer = await fetch(url, { headers: { accept: "text/event-stream" } });
  if (answer.status !== 200) throw new Error(`${answer.status}: ${await answer.text()}`);
  let text = "";
  const decoder = new TextDecoder();
  for await (const bytes of answer.body) {
    text += decoder.decode(bytes, { stream: true });
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
      const line = text.slice(0, end);
      text = text.slice(end + 1);
      if (line.startsWith("retry: ")) yield null;
      if (line.startsWith("data: ")) yield line.slice(6);
    }
  }
}

const STRUCTURED = { "content-type": "application/cloudevents+json" };
const BATCHED = "application/cloudevents-batch+json";

// What the SDK reads in the next ones.
async function take(events, count) {
  const taken = [];
  while (taken.length < count) {
    const { value, done } = await events.next();
    if (done) break;
    if (value !== null) taken.push(HTTP.toEvent({ headers: STRUCTURED, body: value }));
  }
  return taken;
}

async function exchange(hub) {
  const live = listen(`${hub}/v1/topics/sdk?format=cloudevents`);
  // From here on it hears what is published.
  const first = await live.next();
  if (first.value !== null) throw new Error(`no greeting: ${first.value}`);
  const sent = await publish(`${hub}/v1/topics/sdk`);
  const stream = listen(`${hub}/v1/streams/sdk/events?from=first&format=cloudevents`);
  const base = `${hub}/v1/streams/sdk/consumers/sdk`;
  const polled = [];
  while (polled.length < sent.length) {
    const answer = await fetch(`${base}/messages?wait=5s`, { headers: { accept: BATCHED } });
    const body = await answer.text();
    // The SDK reads the whole batch.
    if (body !== "[]") polled.push(...HTTP.toEvent({ headers: Object.fromEntries(answer.headers), body }));
  }
  const ack = polled.map(({ weftreceipt }) => weftreceipt);
  const answer = await fetch(`${base}/settle`, { method: "POST", body: JSON.stringify({ ack }) });
  const settled = await answer.json();
  const [lived, streamed] = [await take(live, sent.length), await take(stream, sent.length)];
  const [a, b, c] = [lived, streamed, polled].map((events) => events.map(normal));
  return { sent, settled, live: a, stream: b, polled: c };
}

function read(messages) {
  return messages.map(({ headers, body }) => {
    const bytes = Buffer.from(body, "base64");
    const type = headers["content-type"] ?? "";
    const isText = /json|text/.test(type);
    return normal(HTTP.toEvent({ headers, body: isText ? bytes.toString() : bytes }));
  });
}

const [mode, hub] = process.argv.slice(2);
const result = mode === "exchange" ? await exchange(hub) : read(JSON.parse(readFileSync(0, "utf8")));
// What is listened to would go on.
process.stdout.write(JSON.stringify(result), () => process.exit(0));
