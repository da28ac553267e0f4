// Numbers and times as the page writes them.
const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

export const count = (value: number): string => whole.format(value);
export const rate = (value: number): string => `${short.format(value)}/s`;
export const millis = (value: number | null): string => (value === null ? '–' : `${value.toFixed(value < 10 ? 3 : 1)} ms`);
/** A count of something: `1 hop`, `2 hops`. */
export const plural = (value: number, one: string, many = `${one}s`): string => `${count(value)} ${value === 1 ? one : many}`;
/** Microseconds in the unit that suits them. */
export const micros = (value: number): string => (value > 0 && value < 1 ? `${whole.format(value * 1_000)} ns` : value < 1_000 ? `${short.format(value)} µs` : value < 1_000_000 ? `${short.format(value / 1_000)} ms` : `${short.format(value / 1_000_000)} s`);
/** A value of a chart in its unit, short enough for an axis. */
export const measured = (value: number, unit: string): string => (unit === 'µs' ? micros(value) : unit === '/s' ? `${short.format(value)}/s` : `${short.format(value)} ${unit}`);
export const clock = (at: number): string => new Date(at).toISOString().replace('T', ' ').slice(0, 23);

export function bytes(value: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let at = 0;
  for (; value >= 1000 && at < units.length - 1; at += 1) value /= 1000;
  return `${value.toFixed(at === 0 || value >= 100 ? 0 : 1)} ${units[at]}`;
}

/** JSON with line breaks. Not parsed: numbers stay as exact as they came, and what is cut is shown too. */
export function indent(text: string): string {
  let [depth, quoted, out] = [0, false, ''];
  for (let at = 0; at < text.length; at += 1) {
    const sign = text[at]!;
    if (quoted) {
      out += sign;
      if (sign === '\\') out += text[++at] ?? '';
      else if (sign === '"') quoted = false;
    } else if (sign === '"') [quoted, out] = [true, out + sign];
    else if ('{['.includes(sign)) out += `${sign}\n${'  '.repeat(Math.min(++depth, 40))}`;
    else if ('}]'.includes(sign)) out += `\n${'  '.repeat(Math.min(Math.max(--depth, 0), 40))}${sign}`;
    else if (sign === ',') out += `,\n${'  '.repeat(Math.min(depth, 40))}`;
    else if (sign === ':') out += ': ';
    else if (!/\s/.test(sign)) out += sign;
  }
  return out;
}
