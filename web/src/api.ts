// The contract between the page and a hub: what is served below `/v1/mesh`. In words, with
// bounds, in ../API.md; a change here is a change there and in ../mock. Types only.

/** Lanes of a link, 0 the most urgent. */
export const LANES = 8;

/** A part of a list. `next` goes into `after` of the next request; none: that was all. */
export interface Page<T> {
  items: T[];
  next: string | null;
  total: number | null;
}

/** RFC 9457. */
export interface Problem {
  title: string;
  status: number;
  code: string;
  detail: string;
}

export interface Principal {
  tenant: string | null;
  name: string;
  roles: string[];
}

export interface Me {
  principal: Principal;
  administrator: boolean;
  /** How it was shown: `anonymous`, `certificate`, `token`, `password`, `administrator`. */
  method: string;
  hub: string;
  version: number;
}

export interface Hub {
  name: string;
  region: string;
  epoch: number;
  reachable: boolean;
  draining: boolean;
  hops: number;
  rttMs: number | null;
  interest: number;
  /** Latitude and longitude in degrees, from the hub's configuration. */
  place: [number, number] | null;
}

/** In one direction. */
export interface Link {
  from: string;
  to: string;
  rttMs: number | null;
  cost: number;
  up: boolean;
  suspect: boolean;
}

/** Of the hub that answers; hubs in order of name, links in order of both names. */
export interface Mesh {
  me: string;
  at: number;
  hubs: Hub[];
  links: Link[];
}

/** A second's rates, of what flows, by index in the last `Mesh`. */
export interface Rates {
  at: number;
  /** Index; published, delivered, dropped, in events a second. */
  hubs: [number, number, number, number][];
  /** Index; bytes a second; events a second by lane. */
  links: [number, number, number[]][];
}

/** What a viewer has seen, by numbers that grow. */
export interface Told {
  mesh: number;
  look: number;
  turn: number;
}

/** The mesh now; what is as it was when the viewer saw it last is `null`. */
export interface Now {
  seen: Told;
  mesh: Mesh | null;
  rates: Rates;
  alerts: Alert[] | null;
}

export interface Stage {
  name: string;
  depth: number;
  waitUs: number;
  serviceNs: number;
  batch: number;
  busyPermille: number;
  shards: number;
  ownThread: boolean;
}

export interface HubDetail {
  hub: Hub;
  answered: boolean;
  counters: Record<string, number>;
  stages: Stage[];
  ledger: LedgerRow[];
}

export interface LinkDetail {
  link: Link;
  /** `link.PEER.*` of the hub at `from`, without the beginning. */
  counters: Record<string, number>;
  crossings: Crossing[];
}

export interface LedgerRow {
  /** `(all)`, a class, or `other`. */
  class: string;
  /** Empty: all hubs together. */
  hub: string;
  published: number;
  received: number;
  copies: number;
  delivered: number;
  stored: number;
  forwarded: number;
  inFlight: number;
  /** Copies that it is off by; 0: balanced. */
  imbalance: number;
  dropped: Record<string, number>;
}

export interface Crossing {
  from: string;
  to: string;
  class: string;
  sent: number;
  came: number;
  off: number;
  unsure: number;
}

export interface Ledger {
  classes: LedgerRow[];
  hubs: LedgerRow[];
  crossings: Crossing[];
  silent: string[];
  /** A sentence for each reason to drop that is named above. */
  reasons: Record<string, string>;
}

export interface History {
  hub: string;
  /** Unix seconds, growing. */
  times: number[];
  series: { name: string; unit: string; values: (number | null)[] }[];
}

/** Where an event of a topic would go if it were published at the hub that answers. */
/** A session that publishes a topic. */
export interface Publisher {
  hub: string;
  /** What the client calls itself. */
  client: string;
  /** `TENANT/NAME` or the name alone; `null` where nobody asked. */
  principal: string | null;
  /** Events of the topic that it published, and when last. */
  events: number;
  last: number;
}

/** A topic that is published now, and by whom: who published most first. */
export interface TopicRow {
  topic: string;
  publishers: Publisher[];
  /** So many more sessions do. */
  more: number;
}

/** Topics that are published now, of all hubs that answered. */
export interface TopicPage extends Page<TopicRow> {
  /** Hubs that did not answer. */
  silent: string[];
  /** Sessions of which hubs do not know all topics. */
  untold: number;
}

export interface TopicDetail {
  topic: string;
  publishers: Publisher[];
  /** So many more sessions publish it. */
  more: number;
  /** Hubs that did not say who publishes it. */
  silent: string[];
  at: string | null;
  /** What the hub's rules make of the topic. */
  mapped: string | null;
  hubs: {
    hub: string;
    answered: boolean;
    /** Live subscriptions there that would get it. */
    subscriptions: number;
    streams: string[];
    groups: { name: string; members: number }[];
  }[];
  /** Hubs that it would go to, and over which; no way: no path leads there. */
  to: { hub: string; toStore: boolean; way: string[] }[];
}

export interface StreamRow {
  name: string;
  tenant: string | null;
  filters: string[];
  mirrorOf: string | null;
  retention: string;
  homes: {
    hub: string;
    role: 'home' | 'mirror';
    first: number;
    next: number;
    synced: number;
    bytes: number;
    state: string;
  }[];
}

export interface Consumer {
  stream: string;
  name: string;
  filters: string[];
  predicate: string;
  mode: string;
  floor: number;
  next: number;
  lag: number;
  inFlight: number;
  redelivered: number;
  dead: number;
  expired: number;
  pausedUntil: number | null;
  seat: string;
  members: { name: string; token: string; inFlight: number }[];
}

export interface Payload {
  kind: 'json' | 'text' | 'hex';
  text: string;
  /** Of the whole payload, in bytes. */
  length: number;
  /** `text` is not all of it. */
  cut: boolean;
  /** `SUBJECT/VERSION`, or `schema ID`, by which it was decoded. */
  schema: string | null;
}

export interface SeenEvent {
  /** `HUB/EPOCH/SEQUENCE`, as `where` takes it. */
  id: string;
  /** In a stream: its sequence there. */
  sequence: number | null;
  topic: string;
  at: number;
  lane: number;
  key: string | null;
  headers: [string, string][];
  payload: Payload;
}

export interface Fact {
  name: string;
  text?: string;
  value: number;
}

/** As `weft mesh where --json` prints it. */
export interface Seen {
  hubs: { hub: string; answered: boolean; tookUs: number; aheadNs: number; facts: Fact[] }[];
}

export interface Alert {
  id: string;
  severity: 'warning' | 'critical';
  code: string;
  hub: string;
  since: number;
  text: string;
  todo: string;
}

export type Kind =
  | 'tenant' | 'identity' | 'issuer' | 'policy' | 'export' | 'import' | 'subject' | 'schema' | 'reader' | 'stream' | 'registry';

/** A document of the control state, as `crates/govern/src/document` reads it. */
export interface Document {
  kind: Kind;
  name: string;
  changed: number;
  document: Record<string, unknown>;
}

/** `weft_govern::api::Explained`. */
export interface Explained {
  allowed: boolean;
  version: number;
  enforced: boolean;
  reason: string;
  rules: string[];
  steps: {
    what: string;
    effect: string | null;
    line: number | null;
    result: string;
    words: string;
    needs: string[];
  }[];
  untold: number;
}

/** `weft_govern::api::Explain`, without `at`. */
export interface Explain {
  who: { identity: string } | null;
  action: string;
  resource: { topic: string } | { stream: string } | { schema: string } | { tenant: string } | 'mesh';
  lane: number | null;
}
