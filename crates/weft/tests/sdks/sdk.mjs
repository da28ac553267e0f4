// The SDK of CloudEvents for JavaScript, unchanged.
//
// `publish URL` publishes events in each mode and prints what each is, as JSON;
// `read` takes messages from its input (`[{headers, body}]`, bodies in base64) and
// prints what the SDK reads in them.

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

function read(messages) {
  return messages.map(({ headers, body }) => {
    const bytes = Buffer.from(body, "base64");
    const type = headers["content-type"] ?? "";
    const isText = /json|text/.test(type);
    return normal(HTTP.toEvent({ headers, body: isText ? bytes.toString() : bytes }));
  });
}

const [mode, url] = process.argv.slice(2);
const result = mode === "publish" ? await publish(url) : read(JSON.parse(readFileSync(0, "utf8")));
process.stdout.write(JSON.stringify(result));
