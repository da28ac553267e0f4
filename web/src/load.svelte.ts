// What a view has asked the hub for: the newest answer, or why there is none. An answer to a
// question that was asked before the newest one is thrown away.
import { get, words } from './call';

export class Load<T> {
  value = $state.raw<T | null>(null);
  problem = $state('');
  loading = $state(false);
  #under: AbortController | null = null;

  async ask(url: string): Promise<void> {
    this.#under?.abort();
    const mine = (this.#under = new AbortController());
    this.loading = true;
    try {
      const value = await get<T>(url, mine.signal);
      if (mine.signal.aborted) return;
      this.value = value;
      this.problem = '';
    } catch (error) {
      if (!mine.signal.aborted) this.problem = words(error);
    }
    if (this.#under === mine) this.loading = false;
  }

  stop(): void {
    this.#under?.abort();
  }
}

/**
 * Asks now, whenever the address changes, and again after so many milliseconds; an
 * empty address asks nothing. For use in a component. */
export function asked<T>(url: () => string, every = 0): Load<T> {
  const load = new Load<T>();
  $effect(() => {
    const now = url();
    load.value = null;
    if (now === '') return;
    void load.ask(now);
    const timer = every > 0 ? setInterval(() => void load.ask(now), every) : 0;
    return () => {
      clearInterval(timer);
      load.stop();
    };
  });
  return load;
}
