// Requests to the hub that served the page, and to no other host. The proof of a login is sent once
// and not kept: the hub answers with a cookie that no script can read. A certificate needs nothing here.
// Answers are bounded by the server; a request ends after 15 seconds.
import type { Problem } from './api';

const PATIENCE = 15_000;

/** What a hub answered that is no success. */
export class Refused extends Error {
  constructor(readonly problem: Problem, readonly retryAfter: number | null) {
    super(problem.detail || problem.title);
  }
  get needsLogin(): boolean {
    return this.problem.status === 401;
  }
}

type Proof = { token: string } | { name: string; password: string };

/** Shows the hub who somebody is. */
export async function logIn(proof: Proof): Promise<void> {
  let authorization = '';
  if ('token' in proof) authorization = `Bearer ${proof.token}`;
  else {
    const bytes = new TextEncoder().encode(`${proof.name}:${proof.password}`);
    authorization = `Basic ${btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''))}`;
  }
  await send(address(['login']), { method: 'POST', headers: { authorization }, signal: AbortSignal.timeout(PATIENCE) });
}

/** Has the hub forget it. */
export async function logOut(): Promise<void> {
  await send(address(['login']), { method: 'DELETE', signal: AbortSignal.timeout(PATIENCE) });
}

/** An address below `/v1/mesh` with each segment and each value encoded; what is empty is left out. */
export function address(segments: string[], query: Record<string, string | number | null | undefined> = {}): string {
  const asked = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== '') asked.set(name, String(value));
  }
  const path = ['/v1/mesh', ...segments.map(encodeURIComponent)].join('/');
  const text = asked.toString();
  return text ? `${path}?${text}` : path;
}

async function refused(response: Response): Promise<Refused> {
  const plain: Problem = { title: response.statusText, status: response.status, code: '', detail: '' };
  let problem = plain;
  try {
    const said = (await response.json()) as Partial<Problem>;
    problem = { ...plain, ...said, status: response.status };
  } catch {
    // No problem document: the status says enough.
  }
  if (!problem.detail) problem.detail = `The hub answered ${response.status} ${problem.title}.`.trim();
  const after = Number(response.headers.get('retry-after'));
  return new Refused(problem, after > 0 ? after : null);
}

/** Sends a request and gives back the response where that is a success. */
export async function send(url: string, init: RequestInit = {}): Promise<Response> {
  const response = await fetch(url, { ...init, cache: 'no-store', credentials: 'same-origin', redirect: 'error' });
  if (!response.ok) throw await refused(response);
  return response;
}

/** Gets JSON. */
export async function get<T>(url: string, signal?: AbortSignal): Promise<T> {
  const late = AbortSignal.timeout(PATIENCE);
  const response = await send(url, { signal: signal ? AbortSignal.any([signal, late]) : late });
  return (await response.json()) as T;
}

/** Posts JSON and gets JSON. */
export async function post<T>(url: string, body: unknown): Promise<T> {
  const headers = { 'content-type': 'application/json' };
  const init = { method: 'POST', headers, body: JSON.stringify(body), signal: AbortSignal.timeout(PATIENCE) };
  return (await (await send(url, init)).json()) as T;
}

/** What to tell somebody of an error. */
export function words(error: unknown): string {
  if (error instanceof Refused) {
    const again = error.retryAfter === null ? '' : ` Try again in ${error.retryAfter} s.`;
    return error.message + again;
  }
  if (error instanceof DOMException && error.name === 'TimeoutError') return 'The hub did not answer within 15 s.';
  if (error instanceof TypeError) return 'The hub cannot be reached.';
  return error instanceof Error ? error.message : String(error);
}
