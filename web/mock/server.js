// Serves the built page and a simulated mesh (mesh.js) on loopback, with the content security policy
// that a hub sends. `node mock/server.js [HUBS] [TOPICS] [PORT]`, or `serve` from a test.
// With `login` it answers 401 without the cookie of a login. It holds no state of its callers but open streams.
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { extname, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Mesh } from './mesh.js';

export const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.json': 'application/json', '.svg': 'image/svg+xml' };
const dist = fileURLToPath(new URL('../dist', import.meta.url));

function problem(response, status, code, detail) {
  response.writeHead(status, { 'content-type': 'application/problem+json' });
  response.end(JSON.stringify({ type: 'about:blank', title: code, status, code, detail }));
}

function json(response, value) {
  response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(JSON.stringify(value));
}

function page(items, query, name) {
  const limit = Math.min(Number(query.get('limit') ?? 100), 200);
  const search = query.get('search') ?? '';
  const after = query.get('after');
  const found = items.filter((item) => name(item).includes(search));
  const start = after === null ? 0 : found.findIndex((item) => name(item) > after);
  const part = start < 0 ? [] : found.slice(start, start + limit);
  const more = start >= 0 && start + limit < found.length;
  return { items: part, next: more ? name(part.at(-1)) : null, total: found.length };
}

function stream(request, response, every, first, next) {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  const write = (messages) => messages.forEach(([event, data]) => response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`));
  write(first());
  const timer = setInterval(() => write(next()), every);
  request.on('close', () => clearInterval(timer));
}

function answer(mesh, request, response, url) {
  const parts = url.pathname.split('/').slice(3).map(decodeURIComponent);
  const [area, one, two, three] = parts;
  const query = url.searchParams;
  if (!area) return json(response, mesh.mesh());
  const unknown = () => problem(response, 404, 'NOT_FOUND', `there is no ${area} of that name: look at the list`);
  if (area === 'me') return json(response, { principal: { tenant: null, name: 'operator', roles: ['admin'] }, administrator: true, method: 'password', hub: mesh.me, version: 9 });
  if (area === 'live') {
    const look = Number(query.get('look'));
    const seen = { mesh: 1, look: look + 1, turn: 1 };
    const first = look === 0;
    const now = () => json(response, { seen, mesh: first ? mesh.mesh() : null, rates: mesh.rates(), alerts: first ? mesh.alerts() : null });
    return first ? now() : void setTimeout(now, 1_000);
  }
  if (area === 'hubs') {
    const hub = mesh.hubs.find((hub) => hub.name === one);
    if (!hub) return unknown();
    const counters = { 'sessions.clients': 42, 'duplicates.mesh_blocks': 7 };
    return json(response, { hub, answered: hub.reachable, counters, stages: mesh.stages(), ledger: [mesh.ledgerRow('(all)', hub.name, 2)] });
  }
  if (area === 'links') {
    const link = mesh.links.find((link) => link.from === one && link.to === two);
    if (!link) return unknown();
    const crossings = mesh.ledger('orders').crossings.filter((c) => c.from === one && c.to === two);
    return json(response, { link, counters: { events_out: 120_000, missing_out: 0, connections: 2 }, crossings });
  }
  if (area === 'ledger') return json(response, mesh.ledger(query.get('class') ?? '(all)'));
  if (area === 'history') return json(response, mesh.history(query.get('what'), query.get('hub')));
  if (area === 'topics' && one === undefined) return json(response, { ...page(mesh.published(), query, (row) => row.topic), silent: ['cape-town'], untold: 0 });
  if (area === 'topics') return json(response, mesh.topic(one));
  if (area === 'streams' && one === undefined) return json(response, page(mesh.streams(), query, (row) => row.name));
  if (area === 'streams') {
    const row = mesh.streams().find((row) => row.name === one);
    if (!row) return unknown();
    if (two === undefined) return json(response, row);
    if (two === 'consumers' && three !== undefined) {
      const found = mesh.consumers(one).find((consumer) => consumer.name === three);
      return found ? json(response, found) : unknown();
    }
    if (two === 'consumers') return json(response, { items: mesh.consumers(one), next: null, total: 1 });
    let at = Math.max(1, Number(query.get('from') ?? 1));
    if (two === 'replay') return stream(request, response, 50, () => [], () => (at <= 5000 ? [['event', mesh.event(at++)]] : []));
    if (two === 'events' && three === undefined) {
      const items = Array.from({ length: Math.min(20, 5001 - at) }, (_, n) => mesh.event(at + n));
      return json(response, { items, next: at + 20 <= 5000 ? String(at + 20) : null, total: null });
    }
  }
  if (area === 'tail') {
    let at = 1;
    return stream(request, response, 100, () => [['event', mesh.event(3)]], () => [['event', mesh.event(at++)]]);
  }
  if (area === 'documents' && two === undefined) return json(response, page(mesh.documents(one), query, (document) => document.name));
  if (area === 'documents') {
    const found = mesh.documents(one).find((document) => document.name === two);
    return found ? json(response, found) : unknown();
  }
  if (area === 'explain' && request.method === 'POST') {
    let body = '';
    request.on('data', (piece) => (body += body.length < 16_384 ? piece : ''));
    return request.on('end', () => json(response, mesh.explained(JSON.parse(body))));
  }
  if (area === 'where') {
    const sequence = Number((query.get('event') ?? '').split('/').at(-1));
    return sequence > 0 ? json(response, mesh.seen(sequence)) : problem(response, 400, 'BAD_EVENT', 'write HUB/SEQUENCE, HUB/EPOCH/SEQUENCE or producer:HEX/SEQUENCE');
  }
  return unknown();
}

/** Starts; `close` ends it. */
export async function serve({ hubs = 12, topics = 10_000, port = 0, login = false } = {}) {
  const mesh = new Mesh(hubs, topics);
  const server = createServer(async (request, response) => {
    const url = new URL(request.url, 'http://localhost');
    response.setHeader('content-security-policy', POLICY);
    response.setHeader('x-content-type-options', 'nosniff');
    try {
      if (url.pathname === '/v1/mesh' || url.pathname.startsWith('/v1/mesh/')) {
        if (url.pathname === '/v1/mesh/login') {
          response.setHeader('set-cookie', 'weft-page=word; Path=/v1/mesh; HttpOnly; SameSite=Strict');
          return json(response, {});
        }
        if (login && request.headers.cookie !== 'weft-page=word') return problem(response, 401, 'NOT_LOGGED_IN', 'nothing was shown to log in: send a password (Basic) or a token (Bearer)');
        return answer(mesh, request, response, url);
      }
      const path = normalize(url.pathname.replace(/^\/ui\/$/, '/ui/index.html').replace(/^\/ui/, ''));
      const bytes = await readFile(dist + path);
      response.writeHead(200, { 'content-type': TYPES[extname(path)] ?? 'application/octet-stream' });
      response.end(bytes);
    } catch {
      problem(response, 404, 'NOT_FOUND', 'no such file: build the page with `npm run build`');
    }
  });
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  const close = () => new Promise((resolve) => {
    server.close(resolve);
    server.closeAllConnections();
  });
  return { mesh, url: `http://127.0.0.1:${server.address().port}/ui/`, close };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [hubs = 12, topics = 10_000, port = 4180] = process.argv.slice(2).map(Number);
  console.log((await serve({ hubs, topics, port })).url);
}
