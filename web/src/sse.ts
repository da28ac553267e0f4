// Server-sent events over `fetch`, since `EventSource` tells nothing of a refusal. One message
// has at most 4 MiB; what is longer ends the stream. A lost stream is opened again after 1 to
// 15 seconds; a refusal (4xx) is not.
import { Refused, send } from './call';

const MOST = 4 << 20;

export interface Message {
  event: string;
  data: string;
  id: string;
}

/** Splits a text into messages, whatever pieces it comes in. */
export class Splitter {
  #rest = '';

  *take(piece: string): Generator<Message> {
    this.#rest += piece;
    if (this.#rest.length > MOST) throw new Error('The hub sent a message that is too long.');
    for (;;) {
      const end = /\r\n\r\n|\n\n|\r\r/.exec(this.#rest);
      if (!end) return;
      const block = this.#rest.slice(0, end.index);
      this.#rest = this.#rest.slice(end.index + end[0].length);
      const message: Message = { event: 'message', data: '', id: '' };
      const data: string[] = [];
      for (const line of block.split(/\r\n|\n|\r/)) {
        const colon = line.indexOf(':');
        if (colon === 0) continue;
        const name = colon < 0 ? line : line.slice(0, colon);
        const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
        if (name === 'event') message.event = value;
        else if (name === 'id') message.id = value;
        else if (name === 'data') data.push(value);
      }
      if (data.length > 0) yield { ...message, data: data.join('\n') };
    }
  }
}

export interface Listener {
  message: (message: Message) => void;
  state: (state: 'open' | 'lost' | 'ended', error: unknown) => void;
  /** Whether an end is the end: true for a replay. */
  once?: boolean;
}

/** Listens until it is told to stop. */
export function listen(url: string, listener: Listener): () => void {
  const stop = new AbortController();
  void run(url, listener, stop.signal);
  return () => stop.abort();
}

async function run(url: string, listener: Listener, signal: AbortSignal): Promise<void> {
  let last = '';
  let pause = 1_000;
  while (!signal.aborted) {
    let error: unknown = null;
    try {
      const headers: Record<string, string> = { accept: 'text/event-stream' };
      if (last) headers['last-event-id'] = last;
      const response = await send(url, { headers, signal });
      listener.state('open', null);
      pause = 1_000;
      const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
      const splitter = new Splitter();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        for (const message of splitter.take(value)) {
          if (message.id) last = message.id;
          listener.message(message);
        }
      }
    } catch (thrown) {
      error = thrown;
    }
    if (signal.aborted) return;
    const final = error instanceof Refused && error.problem.status < 500 && error.problem.status !== 429;
    if (final || listener.once) return listener.state('ended', error);
    listener.state('lost', error);
    await new Promise((resume) => setTimeout(resume, pause + Math.random() * 500));
    pause = Math.min(pause * 2, 15_000);
  }
}
