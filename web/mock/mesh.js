// A simulated mesh by the contract (../API.md): the same hubs, links, topics and streams at each
// start, rates that move with time. For development and tests; it knows nothing of real events.
const CITIES = [
  ['frankfurt', 'eu-central', 50.1, 8.7], ['virginia', 'us-east', 38.9, -77.4], ['tokyo', 'ap-northeast', 35.7, 139.7],
  ['sao-paulo', 'sa-east', -23.5, -46.6], ['sydney', 'ap-southeast', -33.9, 151.2], ['mumbai', 'ap-south', 19.1, 72.9],
  ['oregon', 'us-west', 45.5, -122.7], ['cape-town', 'af-south', -33.9, 18.4], ['stockholm', 'eu-north', 59.3, 18.1],
  ['singapore', 'ap-southeast', 1.35, 103.8],
];
/** What a browser must never run. */
export const HOSTILE = '<img src=x onerror="window.hacked=1">/"\'&amp;</script>/‮abc';

function random(seed) {
  let state = seed;
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
}

export class Mesh {
  constructor(size, topics) {
    const next = random(7);
    this.hubs = Array.from({ length: size }, (_, at) => {
      const [city, region, latitude, longitude] = CITIES[at % CITIES.length];
      const ring = Math.floor(at / CITIES.length);
      const place = [latitude + (ring ? (next() - 0.5) * 16 : 0), longitude + (ring ? (next() - 0.5) * 24 : 0)];
      return {
        name: ring ? `${city}-${ring + 1}` : city, region, epoch: 3, reachable: at !== 7, draining: at === 5,
        hops: at === 0 ? 0 : 1 + (at % 3), rttMs: at === 0 ? null : 4 + next() * 180, interest: Math.floor(next() * 900), place,
      };
    }).sort((a, b) => (a.name < b.name ? -1 : 1));
    const pairs = new Set();
    for (let at = 0; at < size; at += 1) {
      for (const far of [1, 7, 31]) {
        const other = (at + far) % size;
        if (other !== at) pairs.add([Math.min(at, other), Math.max(at, other)].join());
      }
    }
    this.links = [...pairs].flatMap((pair) => {
      const [a, b] = pair.split(',').map((at) => this.hubs[at]);
      const rttMs = 3 + next() * 160;
      const up = a.reachable && b.reachable;
      const one = (from, to) => ({ from: from.name, to: to.name, rttMs: up ? rttMs : null, cost: Math.ceil(rttMs), up, suspect: false, picked: 'close' });
      return [one(a, b), one(b, a)];
    }).sort((a, b) => (`${a.from} ${a.to}` < `${b.from} ${b.to}` ? -1 : 1));
    this.topics = [HOSTILE, ...Array.from({ length: topics - 1 }, (_, at) => `flights/${CITIES[at % 10][0]}/${String(at).padStart(5, '0')}`)].sort();
    this.me = 'frankfurt';
    this.began = Date.now();
  }

  mesh() {
    return { me: this.me, at: Date.now(), hubs: this.hubs, links: this.links };
  }

  rates() {
    const t = Date.now() / 4000;
    const wave = (at, lane) => Math.max(0, Math.round((1 + Math.sin(t + at * 1.7 + lane)) * 60 * (lane + 1) * ((at + lane) % 3)));
    return {
      at: Date.now(),
      hubs: this.hubs.map((hub, at) => [at, hub.reachable ? wave(at, 2) : 0, hub.reachable ? wave(at, 3) : 0, at % 4 === 0 ? 3 : 0]),
      links: this.links.map((link, at) => {
        const lanes = Array.from({ length: 8 }, (_, lane) => (link.up ? wave(at, lane) : 0));
        return [at, lanes.reduce((a, b) => a + b, 0) * 180, lanes];
      }),
    };
  }

  alerts() {
    const since = this.began - 60_000;
    return [
      { id: 'a1', severity: 'critical', code: 'HUB_UNREACHABLE', hub: 'cape-town', since, text: 'No path leads to hub cape-town.', todo: 'Look at its links: the last one went down 60 s ago.' },
      { id: 'a2', severity: 'warning', code: 'CONSUMER_LAG', hub: 'tokyo', since, text: 'Consumer orders/billing is 12,400 events behind.', todo: 'Add members, or look at why its members are slow.' },
    ];
  }

  ledgerRow(name, hub, factor) {
    const published = Math.floor(1000 * factor);
    const dropped = { no_interest: Math.floor(40 * factor), expired: Math.floor(3 * factor) };
    const copies = published * 3;
    const delivered = copies - published - dropped.no_interest - dropped.expired - 5;
    return { class: name, hub, published, received: published, copies, delivered, stored: 500 * factor, forwarded: 500 * factor, inFlight: 5, imbalance: hub === 'tokyo' ? 2 : 0, dropped };
  }

  ledger(of) {
    return {
      classes: ['(all)', 'orders', 'other'].map((name, at) => this.ledgerRow(name, '', 12 - at * 4)),
      hubs: this.hubs.filter((hub) => hub.reachable).map((hub, at) => this.ledgerRow(of, hub.name, 1 + (at % 9))),
      crossings: this.links.slice(0, 200).map((link, at) => ({ from: link.from, to: link.to, class: of, sent: 1000 + at, came: 1000 + at - (at % 5), off: 0, unsure: at % 5 })),
      silent: this.hubs.filter((hub) => !hub.reachable).map((hub) => hub.name),
      reasons: { no_interest: 'Nobody wants the event, here or at the hub it was sent to.', expired: "The event's deadline passed before it was delivered." },
    };
  }

  stages() {
    return ['net', 'route', 'append', 'links'].map((name, at) => ({ name, depth: at * 3, waitUs: 12 + at * 9, serviceNs: 400 + at * 90, batch: 16, busyPermille: 120 + at * 60, shards: 1, ownThread: at < 2 }));
  }

  history(what, hub) {
    const now = Math.floor(Date.now() / 5000) * 5;
    const times = Array.from({ length: 180 }, (_, at) => now - (180 - at) * 5);
    const names = { rates: ['published', 'delivered', 'dropped'], waits: ['net', 'route', 'append', 'links'], stages: ['append', 'links', 'net', 'route'], trips: ['tokyo', 'sydney'] }[what] ?? ['lane 0', 'lane 4', 'lane 7'];
    const unit = { rates: '/s', trips: 'ms' }[what] ?? 'µs';
    return { hub, times, series: names.map((name, at) => ({ name, unit, values: times.map((t) => (at === 2 && t % 300 < 20 ? null : 40 * 2 ** at + 9 * at * (1 + Math.sin(t / 90)))) })) };
  }

  publisher(hub, n) {
    return { hub, client: `gate-${n} <b>screen</b>`, principal: n % 3 ? `air/gate-${n}` : null, events: 1000 + n, last: this.began - 1000 * n };
  }

  published() {
    return this.topics.map((topic, at) => ({ topic, publishers: [this.publisher('frankfurt', at % 40), ...(at % 7 ? [] : [this.publisher('tokyo', 2)])], more: at % 50 ? 0 : 12 }));
  }

  topic(topic) {
    const hub = (name, more) => ({ hub: name, answered: true, subscriptions: 0, streams: [], groups: [], ...more });
    return {
      topic, at: this.me, mapped: null,
      publishers: [this.publisher('frankfurt', 1), this.publisher('tokyo', 3)], more: 5, silent: ['cape-town'],
      hubs: [hub('frankfurt', { streams: ['orders'] }), hub('tokyo', { subscriptions: 2, groups: [{ name: '<b>screens</b>', members: 3 }] }), { ...hub('cape-town', {}), answered: false }],
      to: [{ hub: 'tokyo', toStore: false, way: ['frankfurt', 'sydney', 'tokyo'] }, { hub: 'cape-town', toStore: true, way: [] }],
    };
  }

  streams() {
    return ['orders', 'positions', 'audit'].map((name, at) => ({
      name, tenant: at ? 'air' : null, filters: [`${name}/#`], mirrorOf: null, retention: 'limits',
      homes: ['frankfurt', 'tokyo'].map((hub, n) => ({ hub, role: n ? 'mirror' : 'home', first: 1, next: 5001, synced: 5001 - n * 12, bytes: 9_400_000, state: n ? 'copying: 12 behind' : '' })),
    }));
  }

  consumers(stream) {
    return [{ stream, name: 'billing', filters: [], predicate: 'len > 3', mode: 'shared', floor: 4000, next: 4100, lag: 1001, inFlight: 100, redelivered: 4, dead: 1, expired: 0, pausedUntil: null, seat: 'frankfurt', members: [{ name: 'billing-1', token: '77', inFlight: 60 }, { name: 'billing-2', token: '78', inFlight: 40 }] }];
  }

  event(sequence) {
    const hostile = sequence % 10 === 3;
    const payload = sequence % 5 === 4
      ? { kind: 'hex', text: '00ff10a2 7e', length: 5, cut: false, schema: null }
      : { kind: 'json', text: hostile ? '{"name":"<script>window.hacked=1</script>"}' : `{"flight":"LH${sequence}","altitude":9007199254740993}`, length: 46, cut: false, schema: 'position-value/2' };
    return { id: `frankfurt/3/${sequence}`, sequence, topic: hostile ? HOSTILE : `flights/frankfurt/${sequence}`, at: this.began + sequence, lane: sequence % 8, key: null, headers: [['source', 'radar']], payload };
  }

  seen(sequence) {
    const t = Date.now() * 1e6;
    const fact = (name, value, text) => ({ name, value, ...(text ? { text } : {}) });
    return {
      hubs: [
        { hub: 'frankfurt', answered: true, tookUs: 0, aheadNs: 0, facts: [fact('found', 1), fact('origin', sequence, 'frankfurt'), fact('events', 4), fact('ingested', t), fact('came_at', t), fact('routed_at', t + 20_000), fact('sent_at', t + 60_000), fact('sent_to', 0, 'tokyo'), fact('forwarded', 4)] },
        { hub: 'tokyo', answered: true, tookUs: 800, aheadNs: 5000, facts: [fact('found', 1), fact('from', 0, 'frankfurt'), fact('came_at', t + 9_000_000), fact('routed_at', t + 9_030_000), fact('delivered_at', t + 9_090_000), fact('delivered', 3), fact('dropped.expired', 1)] },
        { hub: 'cape-town', answered: false, tookUs: 0, aheadNs: 0, facts: [] },
      ],
    };
  }

  documents(kind) {
    const text = (fields) => JSON.stringify({ type: 'object', properties: Object.fromEntries(fields.map((name) => [name, { type: 'string' }])) });
    const all = {
      tenant: [['air', { description: 'Flights', topics: ['flights/#', 'positions/#'], quota: { publish_events: 5000, storage_bytes: 10_000_000_000 } }]],
      export: [['positions', { tenant: 'air', topics: 'positions/#', to: ['sea'], actions: ['subscribe'] }]],
      import: [],
      policy: [['operators', { description: 'Who runs the mesh <b>may</b> all', rules: 'permit (principal in Role::"operator", action, resource);' }]],
      subject: [['position-value', { topics: ['flights/#'], check: 'reject', level: 'backward', versions: { 1: { id: 41 }, 2: { id: 42 } } }]],
      schema: [['41', { format: 'json', text: text(['flight', 'height']) }], ['42', { format: 'json', text: text(['flight', 'altitude']) }]],
      reader: [['screen', { subject: 'position-value', version: 1, consumer: 'screen-of-tower', region: 'eu-central' }]],
    };
    return (all[kind] ?? []).map(([name, document]) => ({ kind, name, changed: 4, document }));
  }

  explained({ action, resource }) {
    return {
      allowed: action !== 'administer', version: 9, enforced: true, reason: action === 'administer' ? 'no rule permits it' : 'the rule operators/0 permits it',
      rules: action === 'administer' ? [] : ['operators/0'], untold: 0,
      steps: [
        { what: 'fence', effect: null, line: null, result: 'passed', words: `${JSON.stringify(resource)} is of the tenant`, needs: [] },
        { what: 'operators/0', effect: 'permit', line: 1, result: action === 'administer' ? 'not met' : 'met', words: 'the principal is in the role', needs: ['principal in Role::"operator"'] },
      ],
    };
  }
}
