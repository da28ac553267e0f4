// The world map: land from Natural Earth (public domain), served with the page.
import { geoEqualEarth, geoPath, type GeoPermissibleObjects, type GeoProjection } from 'd3-geo';
import { feature } from 'topojson-client';
import land from 'world-atlas/land-110m.json?url';
import type { Look, Point } from './scene';

let shape: GeoPermissibleObjects | null = null;

/** Gets the land, once. */
export async function fetchLand(): Promise<void> {
  if (shape) return;
  const topology = await (await fetch(land)).json();
  shape = feature(topology, topology.objects.land) as GeoPermissibleObjects;
}

/** The whole world, or the part of it where the hubs are, with some land around them. */
let shown: GeoPermissibleObjects = { type: 'Sphere' };

function choose(places: [number, number][]): void {
  const [north, east] = [places.map(([at]) => at), places.map(([, at]) => at)];
  const [low, high] = [Math.min(...north) - 10, Math.max(...north) + 10];
  const [left, right] = [Math.min(...east) - 15, Math.max(...east) + 15];
  const isPart = places.length > 0 && right - left < 180 && low > -85 && high < 85;
  shown = isPart ? { type: 'MultiPoint', coordinates: [[left, low], [right, low], [left, high], [right, high]] } : { type: 'Sphere' };
}

function projection(width: number, height: number): GeoProjection {
  return geoEqualEarth().fitExtent([[12, 12], [width - 12, height - 12]], shown);
}

export const world: Look = {
  back(context, width, height) {
    if (!shape) return;
    context.beginPath();
    geoPath(projection(width, height), context)(shape);
    context.fill();
  },
  places(mesh, width, height) {
    choose(mesh.hubs.flatMap((hub) => (hub.place ? [hub.place] : [])));
    const project = projection(width, height);
    return mesh.hubs.map((hub) => (hub.place ? (project([hub.place[1], hub.place[0]]) as Point | null) : null));
  },
};
