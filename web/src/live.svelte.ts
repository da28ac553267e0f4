// The mesh as it is now: asked for again as soon as it was answered, and the hub answers when there is
// something new, once a second. What came is applied in place; a view reads `mesh` and `tick`. The
// drawing reads the rates without signals.
import type { Alert, Mesh, Now, Told } from './api';
import { address, get, Refused, words } from './call';

const AGAIN = 2_000;

export class Live {
  mesh = $state.raw<Mesh | null>(null);
  alerts = $state.raw<Alert[]>([]);
  /** Counts up whenever rates have changed. */
  tick = $state(0);
  state = $state('connecting');
  problem = $state('');
  hubRates = new Map<number, [number, number, number]>();
  linkRates = new Map<number, { bytes: number; lanes: number[] }>();
  #seen: Told = { mesh: 0, look: 0, turn: 0 };
  #stop: AbortController | null = null;

  start(): void {
    this.stop();
    this.#seen = { mesh: 0, look: 0, turn: 0 };
    this.#stop = new AbortController();
    void this.#run(this.#stop.signal);
  }

  stop(): void {
    this.#stop?.abort();
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      let pause = 0;
      try {
        this.take(await get<Now>(address(['live'], { ...this.#seen }), signal));
        [this.state, this.problem] = ['open', ''];
        // Who has several pages open waits for what he looks at.
        if (document.hidden) pause = AGAIN;
      } catch (error) {
        if (signal.aborted) return;
        [this.state, this.problem] = ['lost', words(error)];
        pause = (error instanceof Refused && error.retryAfter ? error.retryAfter * 1_000 : AGAIN) + Math.random() * 500;
        if (error instanceof Refused && error.needsLogin) return;
      }
      if (pause > 0) await new Promise((resume) => setTimeout(resume, pause));
    }
  }

  take(now: Now): void {
    this.#seen = now.seen;
    if (now.mesh) this.mesh = now.mesh;
    if (now.alerts) this.alerts = now.alerts;
    this.hubRates.clear();
    this.linkRates.clear();
    for (const [at, ...values] of now.rates.hubs) this.hubRates.set(at, values);
    for (const [at, bytes, lanes] of now.rates.links) this.linkRates.set(at, { bytes, lanes });
    this.tick += 1;
  }
}

export const live = new Live();
export const sum = (lanes: number[]): number => lanes.reduce((all, one) => all + one, 0);
