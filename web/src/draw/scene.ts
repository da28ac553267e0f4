// Draws hubs, links and what flows: what stands still once for each mesh and size into a canvas of its
// own, the moving dots on each frame over it. A dot is a share of a lane's rate, on a scale of tens; at most
// MOST_DOTS are drawn, evenly thinned. With reduced motion nothing moves and width says the rate.
import type { Mesh } from '../api';
import type { Live } from '../live.svelte';
import { COLOURS } from './colours';

const MOST_DOTS = 3_000;
/** With more dots than this they are squares, which cost less. */
const MOST_ROUND = 500;
export type Point = [number, number];

export interface Look {
  back: (context: CanvasRenderingContext2D, width: number, height: number) => void;
  /** Places of hubs by index, in pixels; none: not shown. */
  places: (mesh: Mesh, width: number, height: number) => (Point | null)[];
}

interface Way {
  from: Point;
  to: Point;
  bend: Point;
  up: boolean;
  suspect: boolean;
}

interface Dot {
  way: Way;
  colour: string;
  phase: number;
  speed: number;
}

type Box = [left: number, top: number, right: number, bottom: number];

/** Where a hub's name is written: beside, below or above it, where it covers no other if that can be. */
function label(place: Point, long: number, width: number, taken: Box[]): Point {
  const [x, y] = place;
  const ways: Point[] = [[x + 11, y + 4], [x - 11 - long, y + 4], [x - long / 2, y + 22], [x - long / 2, y - 13]];
  const box = ([left, base]: Point): Box => [left - 2, base - 12, left + long + 2, base + 4];
  const hits = ([left, top, right, bottom]: Box): boolean => left < 0 || right > width || taken.some((other) => left < other[2] && right > other[0] && top < other[3] && bottom > other[1]);
  const best = ways.find((way) => !hits(box(way))) ?? ways[0]!;
  taken.push(box(best));
  return best;
}

export class Scene {
  places: (Point | null)[] = [];
  #still = document.createElement('canvas');
  #ways: (Way | null)[] = [];
  #dots: Dot[] = [];
  /** Hubs that are drawn over the dots too, where they are few. */
  #marks: { place: Point; size: number; colour: string }[] = [];
  #frame = 0;
  #count = 0;
  #since = 0;
  #scale = 1;

  constructor(readonly canvas: HTMLCanvasElement, readonly live: Live, readonly look: Look, readonly still: boolean) {}

  /** What stands still has changed: the mesh, the size or the colours. */
  lay(): void {
    const mesh = this.live.mesh;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!mesh || width === 0) return;
    this.#scale = Math.min(devicePixelRatio || 1, 2);
    for (const canvas of [this.canvas, this.#still]) {
      canvas.width = width * this.#scale;
      canvas.height = height * this.#scale;
    }
    this.places = this.look.places(mesh, width, height);
    const index = new Map(mesh.hubs.map((hub, at) => [hub.name, at]));
    this.#ways = mesh.links.map((link) => {
      const from = this.places[index.get(link.from) ?? -1];
      const to = this.places[index.get(link.to) ?? -1];
      if (!from || !to) return null;
      const bend: Point = [(from[0] + to[0]) / 2 + (to[1] - from[1]) * 0.08, (from[1] + to[1]) / 2 - (to[0] - from[0]) * 0.08];
      return { from, to, bend, up: link.up, suspect: link.suspect };
    });
    this.#drawStill();
    this.flow();
  }

  /** Rates have changed. */
  flow(): void {
    const dots: Dot[] = [];
    this.#ways.forEach((way, at) => {
      const lanes = this.live.linkRates.get(at)?.lanes;
      if (!way || !way.up || !lanes) return;
      lanes.forEach((events, lane) => {
        const many = events > 0 ? Math.min(8, 1 + Math.floor(Math.log10(events + 1) * 1.6)) : 0;
        const length = Math.hypot(way.to[0] - way.from[0], way.to[1] - way.from[1]) + 1;
        for (let n = 0; n < many; n += 1) {
          const phase = n / many + ((at * 31 + lane * 17) % 97) / 97;
          dots.push({ way, colour: COLOURS[lane] ?? '#7a7a7a', phase, speed: 70 / length });
        }
      });
    });
    const keep = Math.min(1, MOST_DOTS / dots.length);
    this.#dots = dots.filter((_, at) => Math.floor((at + 1) * keep) > Math.floor(at * keep));
    this.#dots.sort((a, b) => (a.colour < b.colour ? -1 : a.colour > b.colour ? 1 : 0));
    if (!this.still) return;
    // Widths say the rates.
    this.#drawStill();
    this.#show();
  }

  #drawStill(): void {
    const mesh = this.live.mesh;
    const context = this.#still.getContext('2d');
    if (!mesh || !context) return;
    const style = getComputedStyle(document.documentElement);
    const colour = (name: string): string => style.getPropertyValue(name).trim();
    context.setTransform(this.#scale, 0, 0, this.#scale, 0, 0);
    const { clientWidth: width, clientHeight: height } = this.canvas;
    context.fillStyle = colour('--water');
    context.fillRect(0, 0, width, height);
    context.fillStyle = colour('--land');
    this.look.back(context, width, height);
    const [dim, bad, text, good] = ['--way', '--bad', '--text', '--good'].map(colour) as [string, string, string, string];
    const panel = colour('--water');
    this.#ways.forEach((way, at) => {
      if (!way) return;
      const bytes = this.live.linkRates.get(at)?.bytes ?? 0;
      context.strokeStyle = way.up && !way.suspect ? dim : bad;
      context.globalAlpha = way.up ? 0.55 : 0.95;
      context.lineWidth = this.still ? 0.6 + Math.log10(bytes + 1) / 2 : way.up ? 1.1 : 2;
      context.setLineDash(way.up ? [] : [5, 4]);
      context.beginPath();
      context.moveTo(...way.from);
      context.quadraticCurveTo(...way.bend, ...way.to);
      context.stroke();
    });
    context.setLineDash([]);
    context.globalAlpha = 1;
    context.font = '600 12px system-ui, sans-serif';
    context.lineJoin = 'round';
    this.#marks = [];
    const taken: Box[] = this.places.flatMap((place) => (place ? [[place[0] - 7, place[1] - 7, place[0] + 7, place[1] + 7] as Box] : []));
    mesh.hubs.forEach((hub, at) => {
      const place = this.places[at];
      if (!place) return;
      const size = hub.name === mesh.me ? 7 : 5.5;
      context.strokeStyle = panel;
      context.lineWidth = 3;
      const shown = !hub.reachable ? bad : hub.draining ? dim : good;
      if (hub.reachable && mesh.hubs.length <= 40) this.#marks.push({ place, size, colour: shown });
      context.fillStyle = shown;
      context.beginPath();
      if (hub.reachable) context.arc(...place, size, 0, 7);
      else context.rect(place[0] - 7, place[1] - 7, 14, 14);
      if (mesh.hubs.length <= 40) context.stroke();
      context.fill();
      if (mesh.hubs.length <= 40) {
        const [x, y] = label(place, context.measureText(hub.name).width, width, taken);
        context.strokeText(hub.name, x, y);
        context.fillStyle = hub.reachable ? text : bad;
        context.fillText(hub.name, x, y);
      }
    });
  }

  #show(time = 0): void {
    // Nothing shines through: the picture is whole, which is cheaper to put on the page.
    const context = this.canvas.getContext('2d', { alpha: false });
    if (!context) return;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.drawImage(this.#still, 0, 0);
    if (this.still) return;
    context.setTransform(this.#scale, 0, 0, this.#scale, 0, 0);
    const isRound = this.#dots.length <= MOST_ROUND;
    for (const dot of this.#dots) {
      const t = (dot.phase + (time / 1000) * dot.speed) % 1;
      const u = 1 - t;
      const { from, bend, to } = dot.way;
      if (context.fillStyle !== dot.colour) context.fillStyle = dot.colour;
      const x = u * u * from[0] + 2 * u * t * bend[0] + t * t * to[0];
      const y = u * u * from[1] + 2 * u * t * bend[1] + t * t * to[1];
      if (isRound) {
        context.beginPath();
        context.arc(x, y, 2.6, 0, 7);
        context.fill();
      } else context.fillRect(x - 1.5, y - 1.5, 3, 3);
    }
    for (const { place, size, colour } of this.#marks) {
      context.fillStyle = colour;
      context.beginPath();
      context.arc(...place, size, 0, 7);
      context.fill();
    }
  }

  start(): () => void {
    const watch = new ResizeObserver(() => this.lay());
    watch.observe(this.canvas);
    const scheme = matchMedia('(prefers-color-scheme: dark)');
    const relay = (): void => this.lay();
    scheme.addEventListener('change', relay);
    const turn = (time: number): void => {
      this.#show(time);
      this.#count += 1;
      if (time - this.#since >= 1000) {
        // Frames drawn in the last second, for tests and for whoever wonders.
        this.canvas.dataset.frames = String(Math.round((this.#count * 1000) / (time - this.#since)));
        this.#count = 0;
        this.#since = time;
      }
      this.#frame = requestAnimationFrame(turn);
    };
    if (!this.still) this.#frame = requestAnimationFrame(turn);
    return () => {
      watch.disconnect();
      scheme.removeEventListener('change', relay);
      cancelAnimationFrame(this.#frame);
    };
  }

  /** The hub nearest to a point, within 14 pixels. */
  hubAt(x: number, y: number): number | null {
    let best: number | null = null;
    let least = 14;
    this.places.forEach((place, at) => {
      const far = place ? Math.hypot(place[0] - x, place[1] - y) : Infinity;
      if (far < least) [best, least] = [at, far];
    });
    return best;
  }
}
